vault "corp" {
  address         = ["https://vault.example:8200"]
  tls_skip_verify = "yes"
  max_kept_body   = "lots"
  timeout         = 150
}
listener "tcp" {
  address = 8100
  vault   = null
}
mfa_method "totp" {
  type   = totp
  digits = "6"
}
step_up "r" {
  paths   = "kv/data/*"
  methods = [["totp"]]
  grant "header" {}
}
prompt { command = { program = "x" } }
login_mfa { enabled = 1 }
