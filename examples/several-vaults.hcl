# When to use it: you work with more than one Vault server. Each has a listener of
# its own, so that VAULT_ADDR says which server is meant.

vault "production" {
  address   = "https://vault.example.com:8200"
  namespace = "platform" # for requests that carry no X-Vault-Namespace
}

vault "staging" {
  address = "https://vault.staging.example.com:8200"
}

# export VAULT_ADDR=http://127.0.0.1:8100
listener "tcp" {
  address = "127.0.0.1:8100"
  vault   = "production"
}

# export VAULT_ADDR=http://127.0.0.1:8101
listener "tcp" {
  address = "127.0.0.1:8101"
  vault   = "staging"
}

mfa_method "corp_totp" {
  type = "totp"
}

# Without the vault argument a rule is for every server.
step_up "production-secrets" {
  vault   = "production"
  paths   = ["kv/data/*"]
  methods = ["corp_totp"]
  grant "header" {}
}
