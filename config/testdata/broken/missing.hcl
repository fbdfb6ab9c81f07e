# Neither a vault nor a listener, and much that is left out.
mfa_method "totp" {}
step_up "empty" {}
step_up "no-methods" {
  paths = ["kv/*"]
  grant "header" {}
}
step_up "no-path" {
  paths   = ["kv/*"]
  methods = ["totp"]
  grant "token" {}
}
audit {}
telemetry {}
