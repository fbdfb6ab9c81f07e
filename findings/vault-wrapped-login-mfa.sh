#!/usr/bin/env bash
# HashiCorp Vault 1.21.0: response wrapping (-wrap-ttl) and Login MFA. A login that still needs its factor is wrapped
# like a finished one: the write ends with 0 and prints a wrapping token, without the warning that an unwrapped one
# has. What comes out of it is no token but the question (client_token "" and mfa_requirement), so who logs in to
# hand the wrapped token on hands on a question that the receiver cannot answer. Only an empty
# wrapped_accessor tells the two apart from outside. "vault login" unwraps it by itself, does not look for the question,
# and ends with 2.
#
# Seen with Go 1.26 on Linux, dev server in memory:
#   no factor needed:  exit 0, wrapped_accessor there, token there
#   factor needed:     exit 0, wrapped_accessor empty, token empty, asks for totp
#   vault login:       exit 2, "Error extracting token: wrapped response does not contain a token"
#
# It builds Vault from its Go module in a temporary folder (10 to 15 minutes without a build cache). It
# needs go and python3.
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
GOFLAGS=-mod=mod go mod init wrapped >/dev/null 2>&1
go get -tool github.com/hashicorp/vault@v1.21.0 >get.log 2>&1
go build -o vault github.com/hashicorp/vault
export HOME=$dir VAULT_ADDR=http://127.0.0.1:18246 VAULT_TOKEN=root
./vault server -dev -dev-root-token-id=root -dev-no-store-token -dev-listen-address=127.0.0.1:18246 >server.log 2>&1 &
server=$!
for _ in $(seq 100); do
	if ./vault status >/dev/null 2>&1; then break; fi
	sleep 0.2
done

wrapped() { # a wrapped login, from outside and from inside
	local code=0 token
	./vault write -format=json -wrap-ttl=60s auth/userpass/login/alice password=pw >outside 2>warnings || code=$?
	token=$(python3 -c 'import json; print(json.load(open("outside"))["wrap_info"]["token"])')
	env -u VAULT_TOKEN ./vault unwrap -format=json "$token" >inside 2>/dev/null
	python3 - "$code" <<'P'
import json, os, sys
outside, inside = json.load(open("outside")), json.load(open("inside"))
there = lambda value: "there" if value else "empty"
seen = [f"exit {sys.argv[1]}", "wrapped_accessor " + there(outside["wrap_info"]["wrapped_accessor"]), "token " + there(inside["auth"]["client_token"])]
for constraint in ((inside["auth"].get("mfa_requirement") or {}).get("mfa_constraints") or {}).values():
    seen += ["asks for " + method["type"] for method in constraint["any"]]
if outside["warnings"] or os.path.getsize("warnings"):
    seen.append("warnings")
print(", ".join(seen))
P
}
{
	./vault auth enable userpass
	./vault write auth/userpass/users/alice password=pw
} >/dev/null
free=$(wrapped)
id=$(./vault write -field=method_id identity/mfa/method/totp method_name=corp issuer=Corp)
./vault write identity/mfa/login-enforcement/users "mfa_method_ids=$id" auth_method_types=userpass >/dev/null
held=$(wrapped)
code=0
text=$(./vault login -no-store -wrap-ttl=60s -method=userpass username=alice password=pw 2>&1 >/dev/null) || code=$?
login="exit $code, \"$(head -n 1 <<<"$text")\""

./vault version
echo "no factor needed:  $free"
echo "factor needed:     $held"
echo "vault login:       $login"
if [ "$free" != "exit 0, wrapped_accessor there, token there" ] ||
	[ "$held" != "exit 0, wrapped_accessor empty, token empty, asks for totp" ] ||
	[ "$login" != 'exit 2, "Error extracting token: wrapped response does not contain a token"' ]; then
	echo "CHANGED"
	exit 1
fi
