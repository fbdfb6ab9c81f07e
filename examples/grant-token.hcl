# When to use it: Vault Enterprise, or any Vault where minting is guarded. One code
# buys a few minutes of silence.
#
# The policy of your everyday token wants a second factor on one path only, the
# one that creates short tokens:
#
#   path "auth/token/create/prod-stepup" {
#     capabilities = ["update"]
#     mfa_methods  = ["corp_totp"]
#   }
#
# and the role prod-stepup may give out the policy prod-stepup, which reads
# kv/data/deploy/*. Your everyday token may not. On the first 403 stepup asks for
# a code, mints the short token with your own token and X-Vault-MFA, keeps it in
# the keyring of your desktop, and uses it for the paths below and nothing else.
#
# What it costs: leases that are made with the short token (dynamic database
# passwords, for example) end with it.

vault "corp" {
  address = "https://vault.corp.example:8200"
}

listener "tcp" {
  address = "127.0.0.1:8100"
}

mfa_method "corp_totp" {
  type   = "totp"
  digits = 6
}

step_up "prod-deploy" {
  paths   = ["kv/data/deploy/*"]
  methods = ["corp_totp"]

  grant "token" {
    path     = "auth/token/create/prod-stepup"
    policies = ["prod-stepup"]
    ttl      = "5m"
    scope    = "terminal" # serves the programs of the terminal that was asked about
  }
}

cache {
  store   = "keyring"
  max_ttl = "15m"
  lock_on = ["sleep", "screen_lock"]
}
