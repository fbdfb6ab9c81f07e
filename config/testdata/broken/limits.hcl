vault "corp" {
  address       = "https://vault.example:8200"
  timeout       = "1h"
  max_kept_body = "1GiB"
}
listener "tcp" { address = "127.0.0.1:8100" }
mfa_method "m" {
  type             = "totp"
  digits           = 3
  passcode_command = []
  passcode_source  = "file"
}
prompt {
  use         = []
  timeout     = "5m1s"
  attempts    = 0
  cooldown    = "-1s"
  max_pending = 1.5
}
cache {
  store   = "disk"
  max_ttl = "fifteen minutes"
  lock_on = ["sleep", "sleep"]
}
login_mfa {
  legacy_mounts = ["ldap", "auth/*", "auth/team/ldap/", "auth/team/ldap", "auth/ldap/login/alice"]
  okta_mounts   = ["auth/", "auth/../okta", "auth/team/ldap"]
}
relay { max_kept_bodies = "2GiB" }
