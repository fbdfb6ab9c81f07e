# When to use it: Vault Enterprise whose policies have a control_group on some
# paths (OpenBao's development version has them, too). Vault then answers with a
# wrapping token until other people have approved the request; stepup tells you
# what to send them, waits, and gives your program the data.

vault "corp" {
  address = "https://vault.example.com:8200"
}

# export VAULT_ADDR=http://127.0.0.1:8100 VAULT_CLIENT_TIMEOUT=600
listener "tcp" {
  address = "127.0.0.1:8100"
}

mfa_method "corp_totp" {
  type = "totp"
}

# Other people alone. After ten minutes your program gets the wrapping token; the
# same command goes on waiting for the same approval.
step_up "payroll" {
  paths = ["kv/data/payroll/*"]
  control_group {
    timeout   = "10m"
    approvers = "the payroll leads"
  }
}

# A code of yours, and then other people.
step_up "signing keys" {
  paths        = ["transit/keys/release/config"]
  capabilities = ["update"]
  methods      = ["corp_totp"]
  grant "header" {}
  control_group {
    timeout = "10m"
  }
}
