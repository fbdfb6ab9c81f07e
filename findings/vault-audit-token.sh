#!/usr/bin/env bash
# HashiCorp Vault 1.21.0: an entry of an audit log without hashing (log_raw) writes one token in two ways.
# auth.client_token is the long one that the login answered and the client sends ("hvs.CAES...");
# request.client_token of the same entry is a short one, which the server also takes as a token by itself.
# A search of the log for what clients hold has to look at auth, or at the accessor.
#
# Seen with Go 1.26 on Linux, dev server in memory:
#   auth.client_token:    the client's (95 characters)
#   request.client_token: another (28 characters), answered 200 by itself
#
# It builds Vault from its Go module in a temporary folder (10 to 15 minutes without a build cache). It
# needs go, curl and python3.
set -euo pipefail
dir=$(mktemp -d)
# shellcheck disable=SC2317
cleanup() {
	if [ -n "${server:-}" ]; then kill "$server" 2>/dev/null || true; fi
	rm -rf "$dir"
}
trap cleanup EXIT
cd "$dir"
export DBUS_SESSION_BUS_ADDRESS=disabled:
GOFLAGS=-mod=mod go mod init audit >/dev/null 2>&1
go get -tool github.com/hashicorp/vault@v1.21.0 >get.log 2>&1
go build -o vault github.com/hashicorp/vault
export HOME=$dir VAULT_ADDR=http://127.0.0.1:18243 VAULT_TOKEN=root
./vault server -dev -dev-root-token-id=root -dev-no-store-token -dev-listen-address=127.0.0.1:18243 >server.log 2>&1 &
server=$!
for _ in $(seq 100); do
	if ./vault status >/dev/null 2>&1; then break; fi
	sleep 0.2
done
{
	./vault audit enable file file_path="$dir/audit.log" log_raw=true
	./vault auth enable userpass
	./vault write auth/userpass/users/alice password=pw
} >/dev/null
token=$(./vault write -field=token auth/userpass/login/alice password=pw)
VAULT_TOKEN=$token ./vault token capabilities secret/data/x >/dev/null

field() { # SECTION: its client_token in the entry of that request
	python3 - "$1" <<'P'
import json, sys
for line in open("audit.log"):
    entry = json.loads(line)
    if entry["type"] == "request" and entry["request"]["path"] == "sys/capabilities-self":
        print(entry[sys.argv[1]]["client_token"])
P
}
auth=$(field auth)
request=$(field request)
status=$(curl -s -o answer -w '%{http_code}' -H "X-Vault-Token: $request" "$VAULT_ADDR/v1/auth/token/lookup-self")

./vault version
if [ "$auth" = "$token" ]; then echo "auth.client_token:    the client's (${#auth} characters)"; fi
if [ "$request" != "$token" ]; then echo "request.client_token: another (${#request} characters), answered $status by itself"; fi
if [ "$auth" != "$token" ] || [ "$request" = "$token" ] || [ "$status" != 200 ]; then
	echo "CHANGED"
	exit 1
fi
