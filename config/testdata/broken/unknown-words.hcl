vault "corp" {
  adress  = "https://vault.example:8200"
  address = "https://vault.example:8200"
  colour  = "blue"
}
listner "tcp" { address = "127.0.0.1:8101" }
listener "tpc" { address = "127.0.0.1:8100" }
cache = "memory"
prompt {
  use = ["attached", "comand"]
  timeout { }
}
log {
  level  = "warning"
  format = "yaml"
}
include = "rules.hcl"
vault "other" {
  addresses   = ["https://vault.example:8200"]
  skip_verify = true
}
mfa_method "corp_totp" { type = "totp" }
step_up "singular" {
  path   = ["kv/data/*"]
  method = ["totp"]
  grant  = "header"
}
