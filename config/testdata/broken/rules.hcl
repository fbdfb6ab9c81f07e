vault "corp" { address = "https://vault.example:8200" }
listener "tcp" { address = "127.0.0.1:8100" }
mfa_method "m" { type = "totp" }
step_up "paths" {
  paths        = ["v1/kv/data/x", "", "kv/+*", "kv/*/data", "/"]
  capabilities = ["reed", "sudo", "write", "list", "list"]
  methods      = ["m"]
  grant "header" { ttl = "5m" }
}
step_up "two" {
  paths   = ["kv/*"]
  methods = []
  grant "header" {}
  grant "token" { path = "auth/token/create" }
}
step_up "none" {
  paths   = []
  methods = ["m"]
}
step_up "odd" {
  paths   = ["x"]
  methods = ["m"]
  grant "heading" {}
}
step_up "nowhere" {
  paths     = ["x"]
  methods   = ["m"]
  namespace = "team//sub"
  grant "header" {}
}
step_up "never" {
  paths     = ["x"]
  methods   = ["m"]
  namespace = "team/sys"
  grant "header" {}
}
