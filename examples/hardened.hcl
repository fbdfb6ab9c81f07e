# When to use it: the machine is shared or exposed, and every program you use speaks
# unix sockets (the vault command and Go programs do; Terraform, hvac and Ruby do
# not). There is no TCP port for others to try, a request has to carry
# X-Vault-Request, and a "no" holds for a while.

vault "corp" {
  address       = "https://vault.example.com:8200"
  max_kept_body = "64KiB" # larger bodies are asked about before they are sent
}

# export VAULT_ADDR=unix://$XDG_RUNTIME_DIR/stepup/vault.sock
listener "unix" {
  address                = "${runtime_dir}/vault.sock"
  require_request_header = true
}

mfa_method "corp_totp" {
  type = "totp"
}

step_up "production" {
  paths   = ["kv/data/prod/*"]
  methods = ["corp_totp"]
  grant "header" {}
}

prompt {
  use         = ["attached"] # only where you ran "stepup attach"
  attempts    = 2
  cooldown    = "2m"
  max_pending = 8
}

cache {
  store   = "memory" # nothing on disk, nothing in the keyring
  max_ttl = "5m"
}

audit {
  file = "${state_dir}/audit.jsonl"
}
