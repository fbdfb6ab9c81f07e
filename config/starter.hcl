# stepup: the second factor between your programs and Vault.
# Check this file with "stepup config check"; a running agent picks up changes.

# The Vault server itself. VAULT_ADDR of your programs points at the listener below.
vault "main" {
  address = "ADDRESS"
  # ARGUMENTS
  # namespace = "team-a"                 # for requests that name none
  # ca_cert   = "/etc/ssl/company-ca.pem"
}

# Where programs connect: export VAULT_ADDR=http://127.0.0.1:8100
listener "tcp" {
  address = "127.0.0.1:8100"
}

# The same for programs that speak unix sockets: export VAULT_ADDR=unix://…/vault.sock
listener "unix" {
  address = "${runtime_dir}/vault.sock"
}

# A login that Vault answers with a demand for a second factor is completed
# here; your program gets its token. No more than this is needed for it.
login_mfa {
  enabled = true
  # PROPOSALS
}

# Vault Enterprise: paths whose policy has mfa_methods. Take the # away and put
# your own names in.
#
# mfa_method "my_totp" {                  # the method's name in Vault
#   type = "totp"                         # totp, duo, okta or pingid
# }
#
# step_up "production" {
#   paths   = ["kv/data/prod/*"]          # as in a policy: * at the end, + for one segment
#   methods = ["my_totp"]
#   grant "header" {}
# }
#
# step_up "secure" {                      # any Vault, OpenBao: a code once, then nothing for a while
#   paths = ["kv/data/secure/*"]
#   grant "login" {
#     path  = "auth/stepup/login/you"     # a second login, which wants the factor
#     scope = "terminal"                  # or "program", or "caller": all that have your token
#   }
# }
