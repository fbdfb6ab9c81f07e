#!/usr/bin/env bash
# HashiCorp Vault 1.21.0: creating a method of Login MFA under a method_name that is taken is neither an error nor a
# second method. The write to identity/mfa/method/TYPE changes the method of this namespace that has the name, also into
# another type. It keeps its ID, so all enforcements that name it want the new factor from the next login on. The
# answer is 200 without a warning, as that to a new method would be; it has the old ID. The documentation calls the
# name unique, and has another path, with the ID, for changes. A script that creates "corp" for a second team
# changes the first team's.
#
# Seen with Go 1.26 on Linux, dev server in memory:
#   totp "corp" created:  a login wants totp
#   okta "corp" created:  the same ID, 0 warnings, 1 method; a login wants okta
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
GOFLAGS=-mod=mod go mod init method >/dev/null 2>&1
go get -tool github.com/hashicorp/vault@v1.21.0 >get.log 2>&1
go build -o vault github.com/hashicorp/vault
export HOME=$dir VAULT_ADDR=http://127.0.0.1:18245 VAULT_TOKEN=root
./vault server -dev -dev-root-token-id=root -dev-no-store-token -dev-listen-address=127.0.0.1:18245 >server.log 2>&1 &
server=$!
for _ in $(seq 100); do
	if ./vault status >/dev/null 2>&1; then break; fi
	sleep 0.2
done

create() { # TYPE FIELD=VALUE...: the ID and the number of warnings in the answer to a new method "corp"
	local type=$1
	shift
	./vault write -format=json "identity/mfa/method/$type" method_name=corp "$@" |
		python3 -c 'import json, sys; a = json.load(sys.stdin); print(a["data"]["method_id"], len(a["warnings"] or []))'
}
wanted() { # the types of factor that the answer to a login names
	curl -s --data '{"password":"pw"}' "$VAULT_ADDR/v1/auth/userpass/login/alice" | python3 -c '
import json, sys
for constraint in json.load(sys.stdin)["auth"]["mfa_requirement"]["mfa_constraints"].values():
    print(*(method["type"] for method in constraint["any"]))'
}
{
	./vault auth enable userpass
	./vault write auth/userpass/users/alice password=pw
} >/dev/null
read -r first _ <<<"$(create totp issuer=Corp)"
./vault write identity/mfa/login-enforcement/users "mfa_method_ids=$first" auth_method_types=userpass >/dev/null
before=$(wanted)
read -r second warnings <<<"$(create okta org_name=corp api_token=any)"
after=$(wanted)
methods=$(./vault list -format=json identity/mfa/method | python3 -c 'import json, sys; print(len(json.load(sys.stdin)))')
if [ "$second" = "$first" ]; then id="the same ID"; else id="another ID"; fi

./vault version
echo "totp \"corp\" created:  a login wants $before"
echo "okta \"corp\" created:  $id, $warnings warnings, $methods method; a login wants $after"
if [ "$before, $id, $warnings, $methods, $after" != "totp, the same ID, 0, 1, okta" ]; then
	echo "CHANGED"
	exit 1
fi
