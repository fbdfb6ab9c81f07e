#!/usr/bin/env bash
# sops 3.13.3 with a key of Vault's transit engine: which server it asks to decrypt. The file names one
# (vault_address), and VAULT_ADDR does not change that. VAULT_AGENT_ADDR does: it beats the file. So a file
# that was encrypted through a local agent has that agent's address for all who get the file, and
# a shell that sets only VAULT_ADDR to an agent is passed by.
#
# Seen with Go 1.26 on Linux; two stubs answer as the transit engine:
#   nothing set:       the server of the file
#   VAULT_ADDR:        the server of the file
#   VAULT_AGENT_ADDR:  the server of the variable
#
# It builds sops from its Go module in a temporary folder (2 minutes without a build cache). It needs go and
# python3.
set -euo pipefail
dir=$(mktemp -d)
# shellcheck disable=SC2317
cleanup() {
	if [ -n "${stubs:-}" ]; then kill "$stubs" 2>/dev/null || true; fi
	rm -rf "$dir"
}
trap cleanup EXIT
cd "$dir"
GOFLAGS=-mod=mod go mod init address >/dev/null 2>&1
go get -tool github.com/getsops/sops/v3/cmd/sops@v3.13.3 >get.log 2>&1
go build -o sops github.com/getsops/sops/v3/cmd/sops

# Two servers that "encrypt" a key as vault:v1:BASE64, and write down who was asked.
cat >stubs.py <<'PY'
import http.server, json, sys, threading

class Transit(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "/encrypt/" in self.path:
            data = {"ciphertext": "vault:v1:" + body["plaintext"]}
        else:
            data = {"plaintext": body["ciphertext"].split(":", 2)[2]}
        with open("asked", "a") as asked:
            print(self.server.name, file=asked)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"data": data}).encode())

    do_POST = do_PUT

    def log_message(self, *_):
        pass

ports = []
for name in ("file", "variable"):
    server = http.server.HTTPServer(("127.0.0.1", 0), Transit)
    server.name = name
    ports.append(str(server.server_port))
    threading.Thread(target=server.serve_forever).start()
with open("ports", "w") as f:
    f.write(" ".join(ports) + "\n")
PY
python3 stubs.py &
stubs=$!
for _ in $(seq 100); do
	if [ -s ports ]; then break; fi
	sleep 0.1
done
read -r of_file of_variable <ports

export HOME=$dir VAULT_TOKEN=any
unset VAULT_ADDR VAULT_AGENT_ADDR
echo 'key: value' >plain.yaml
./sops encrypt --hc-vault-transit "http://127.0.0.1:$of_file/v1/transit/keys/k" --output sealed.yaml plain.yaml

asks() { # VARIABLE=VALUE…: the server that a decryption asks
	: >asked
	env "$@" ./sops decrypt --extract '["key"]' sealed.yaml >value
	[ "$(cat value)" = value ]
	cat asked
}
nothing=$(asks LANG=C)
addr=$(asks "VAULT_ADDR=http://127.0.0.1:$of_variable")
agent=$(asks "VAULT_AGENT_ADDR=http://127.0.0.1:$of_variable")

./sops --version --disable-version-check | sed -n 1p
echo "nothing set:       the server of the $nothing"
echo "VAULT_ADDR:        the server of the $addr"
echo "VAULT_AGENT_ADDR:  the server of the $agent"
if [ "$nothing $addr $agent" != "file file variable" ]; then
	echo "CHANGED"
	exit 1
fi
