# When to use it: Vault Community 1.10 or later, or OpenBao, with Login MFA.
# "vault login" and other logins are held until the second factor is there.
# Nothing else is touched: no rule is needed, and no method has to be named.

vault "main" {
  address = "https://vault.example.com:8200"
}

# export VAULT_ADDR=http://127.0.0.1:8100
listener "tcp" {
  address = "127.0.0.1:8100"
}

login_mfa {
  enabled = true
  prefer  = ["corp_totp"] # its name in Vault, where one of several methods is enough; without it you are asked
}
