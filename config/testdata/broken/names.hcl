vault "corp" { address = "https://vault.example:8200" }
vault "corp" { address = "https://other.example:8200" }
vault "" { address = "https://other.example:8200" }
listener "tcp" {
  address = "127.0.0.1:8100"
  vault   = "crop"
}
listener "tcp" { address = "127.0.0.1:8101" }
mfa_method "a:b" { type = "totp" }
mfa_method "corp_totp" { type = "topt" }
mfa_method "corp_totp" { type = "totp" }
step_up "r" {
  vault   = "corb"
  paths   = ["kv/*"]
  methods = ["corp_totpp", "corp_totp", "corp_totp"]
  grant "header" {}
}
step_up "r" {
  paths   = ["kv/*"]
  methods = ["something-else"]
  grant "header" {}
}
step_up {}
log "x" {}
log {}
