# When to use it: Vault Enterprise whose policies have mfa_methods on some paths.
# A request for such a path is answered 403; stepup asks for the code and sends
# the same request again with X-Vault-MFA.

vault "corp" {
  address = "https://vault.example.com:8200"
}

# export VAULT_ADDR=http://127.0.0.1:8100
listener "tcp" {
  address = "127.0.0.1:8100"
}

# The name is that of sys/mfa/method/totp/corp_totp.
mfa_method "corp_totp" {
  type   = "totp"
  digits = 6
}

# Name the same paths as the policy. The first rule that matches wins.
step_up "production-writes" {
  paths        = ["kv/data/prod/*", "kv/metadata/prod/*"]
  capabilities = ["create", "update", "patch", "delete"]
  methods      = ["corp_totp"]
  grant "header" {}
}

step_up "signing" {
  paths   = ["transit/sign/+"]
  methods = ["corp_totp"]
  grant "header" {}
}

prompt {
  use      = ["attached", "terminal"] # "stepup attach" in a terminal, or the agent's own
  attempts = 3
}

audit {
  file = "${state_dir}/audit.jsonl"
}
