"""Reads STEPUP_PATHS with Python's own library, and prints their different values.

Without a token in VAULT_TOKEN it logs in first. The requests are those of hvac, but also
over a unix socket, which hvac does not speak.
"""

import http.client
import json
import os
import socket
import sys
from urllib.parse import urlsplit


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def connect():
    path = os.environ.get("STEPUP_SOCKET")
    if path:
        return Unix(path)
    return http.client.HTTPConnection(urlsplit(os.environ["VAULT_ADDR"]).netloc)


def call(connection, method, path, token=None, body=None):
    headers = {"X-Vault-Request": "true", "Accept-Encoding": "gzip, deflate", "Accept": "*/*", "Connection": "keep-alive"}
    if token:
        headers["X-Vault-Token"] = token
    if body is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(body)
    connection.request(method, "/v1/" + path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        sys.exit("%d %s" % (answer.status, text.decode()))
    return json.loads(text)


def main():
    env = os.environ
    connection = connect()
    token = env.get("VAULT_TOKEN")
    if not token:
        login = call(connection, "POST", "auth/userpass/login/" + env["STEPUP_USER"], body={"password": env["STEPUP_PASSWORD"]})
        token = login["auth"]["client_token"]
    values = {call(connection, "GET", path, token)["data"]["data"]["key"] for path in env["STEPUP_PATHS"].split()}
    sys.stdout.write("\n".join(values))


main()
