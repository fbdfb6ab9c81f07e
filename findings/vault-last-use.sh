#!/usr/bin/env bash
# HashiCorp Vault 1.21.0 and its Go library api v1.23.0: what is left of a token with num_uses. The lookup-self
# that takes the last use is answered with num_uses -1 (and 200: the token is alive for that request only), while 0
# means no limit. Secret.TokenRemainingUses of the library returns -1 without an error as well where an answer has no
# num_uses at all. A client that reads "not above zero" as no limit, or -1 as unknown, takes a token that has
# just ended for one that lives.
#
# Seen with Go 1.26 on Linux, dev server in memory:
#   token of two uses:     first look-up 1, second -1, third 403
#   token without a limit: 0
#   library, no num_uses:  -1 <nil>
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
GOFLAGS=-mod=mod go mod init uses >/dev/null 2>&1
go get -tool github.com/hashicorp/vault@v1.21.0 >get.log 2>&1
go build -o vault github.com/hashicorp/vault
mkdir library
cat >library/main.go <<'GO'
package main

import (
	"fmt"
	"strings"

	"github.com/hashicorp/vault/api"
)

func main() {
	s, err := api.ParseSecret(strings.NewReader(`{"data":{"accessor":"a"}}`))
	if err != nil {
		panic(err)
	}
	fmt.Println(s.TokenRemainingUses())
}
GO
(
	cd library
	GOFLAGS=-mod=mod go mod init library >/dev/null 2>&1
	go get github.com/hashicorp/vault/api@v1.23.0 >get.log 2>&1
	go build -o ../remaining .
)
export HOME=$dir VAULT_ADDR=http://127.0.0.1:18244 VAULT_TOKEN=root
./vault server -dev -dev-root-token-id=root -dev-no-store-token -dev-listen-address=127.0.0.1:18244 >server.log 2>&1 &
server=$!
for _ in $(seq 100); do
	if ./vault status >/dev/null 2>&1; then break; fi
	sleep 0.2
done

look() { # TOKEN: its num_uses in lookup-self, or the status of a refusal
	status=$(curl -s -o answer -w '%{http_code}' -H "X-Vault-Token: $1" "$VAULT_ADDR/v1/auth/token/lookup-self")
	if [ "$status" != 200 ]; then
		echo "$status"
		return
	fi
	python3 -c 'import json; print(json.load(open("answer"))["data"]["num_uses"])'
}
few=$(./vault token create -policy=default -use-limit=2 -field=token)
first=$(look "$few")
second=$(look "$few")
sleep 1 # the token ends in the background
third=$(look "$few")
many=$(look "$(./vault token create -policy=default -field=token)")
library=$(./remaining)

./vault version
echo "token of two uses:     first look-up $first, second $second, third $third"
echo "token without a limit: $many"
echo "library, no num_uses:  $library"
if [ "$first $second $third $many $library" != "1 -1 403 0 -1 <nil>" ]; then
	echo "CHANGED"
	exit 1
fi
