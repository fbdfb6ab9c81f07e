# When to use it: community Vault 1.10 and later and OpenBao, which have no step-up
# of their own: a second login, with Login MFA, stands in for it.
#
# A userpass (ldap, radius, okta) mount of its own, here "stepup", has a login
# enforcement with your TOTP method, and only its users get the policy that reads
# secret/data/secure/*. Your everyday token may not. On the first 403 stepup asks
# for your password and a code, logs in there, keeps the token in the keyring of
# your desktop, and uses it for the paths below and nothing else. `vault kv get`
# works as well, although your everyday token does not even see the mount.
#
# What it costs: you type a password and a code, and leases that are made with the
# short token end with it.

vault "corp" {
  address = "https://vault.corp.example:8200"
}

listener "tcp" {
  address = "127.0.0.1:8100"
}

mfa_method "corp_totp" {
  type = "totp"
}

step_up "secure" {
  paths   = ["secret/data/secure/*", "secret/metadata/secure/*"]
  methods = ["corp_totp"] # asked for with the password; without it, when Vault asks

  grant "login" {
    path     = "auth/stepup/login/alice"
    password = "prompt" # or "keyring", or command = ["pass", "show", "vault"]
    max_ttl  = "10m"
    scope    = "terminal" # serves the programs of the terminal that was asked about
  }
}

cache {
  store   = "keyring"
  max_ttl = "15m"
  lock_on = ["sleep", "screen_lock"]
}
