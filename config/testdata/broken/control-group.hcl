vault "corp" { address = "https://vault.example:8200" }
listener "tcp" { address = "127.0.0.1:8100" }
mfa_method "totp" { type = "totp" }
step_up "methods without a grant" {
  paths   = ["kv/data/a/*"]
  methods = ["totp"]
  control_group {}
}
step_up "neither" { paths = ["kv/data/b/*"] }
step_up "twice" {
  paths = ["kv/data/c/*"]
  control_group {}
  control_group { timeout = "10m" }
}
step_up "wrong words" {
  paths = ["kv/data/d/*"]
  control_group {
    timeout   = "25h"
    approver  = "x"
    approvers = "a text that nobody reads to its end, because it does not fit into the notification that it is shown in"
  }
}
step_up "a name" {
  paths = ["kv/data/e/*"]
  control_group "x" {}
}
