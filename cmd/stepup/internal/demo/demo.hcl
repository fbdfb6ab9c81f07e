# The configuration of "stepup demo": written for one run, removed at its end.

vault "demo" {
  address = "ADDRESS"
}

listener "tcp" { address = "127.0.0.1:0" }
listener "unix" { address = "${runtime_dir}/vault.sock" }

# One method for each thing to see: a code counts once, and nobody wants to
# wait half a minute for the next.
mfa_method "corp_totp" { type = "totp" }
mfa_method "payroll_totp" { type = "totp" }
mfa_method "signing_totp" { type = "totp" }
mfa_method "corp_okta" { type = "okta" }

step_up "prod-payroll" {
  paths   = ["kv/data/prod/payroll"]
  methods = ["payroll_totp"]
  grant "header" {}
}
step_up "prod-signing" {
  paths   = ["kv/data/prod/signing"]
  methods = ["signing_totp"]
  grant "header" {}
}
step_up "prod-deploy" {
  paths   = ["kv/data/prod/deploy"]
  methods = ["corp_okta"]
  grant "header" {}
}
step_up "prod" {
  paths   = ["kv/data/prod/*"]
  methods = ["corp_totp"]
  grant "header" {}
}

prompt {
  use      = ["terminal", "attached"]
  cooldown = "15s"
}
cache { store = "memory" }
