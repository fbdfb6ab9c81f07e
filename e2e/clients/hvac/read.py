"""Reads STEPUP_PATHS with hvac, all at once, and prints their different values.

Without a token in VAULT_TOKEN it logs in first. Its own time-out is 30 seconds.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import hvac


def main():
    env = os.environ
    client = hvac.Client(url=env["VAULT_ADDR"], token=env.get("VAULT_TOKEN"), timeout=120)
    if not client.token:
        client.auth.userpass.login(env["STEPUP_USER"], env["STEPUP_PASSWORD"])

    def read(path):
        name = path[len("secret/data/"):]
        return client.secrets.kv.v2.read_secret_version(path=name, mount_point="secret")["data"]["data"]["key"]

    with ThreadPoolExecutor(50) as pool:
        values = set(pool.map(read, env["STEPUP_PATHS"].split()))
    sys.stdout.write("\n".join(values))


main()
