vault "corp" {                                   # one or more
  address         = "https://vault.corp.example:8200"
  namespace       = ""                           # used when a request carries no X-Vault-Namespace
  ca_cert         = "${home}/corp-ca.pem"        # also: ca_path, client_cert, client_key, tls_server_name, tls_skip_verify
}
listener "tcp"  { address = "127.0.0.1:8100" }   # loopback addresses only; also: vault = "corp", require_request_header = false
listener "unix" { address = "${runtime_dir}/vault.sock" }   # always mode 0600

mfa_method "corp_totp" {                         # the name or the ID of the method in Vault
  type             = "totp"                      # totp, duo, okta, pingid
  digits           = 6
  passcode_command = ["ykman", "oath", "accounts", "code", "-s", "Vault"]   # optional; or passcode_source = "keyring"
}

step_up "prod-kv" {                              # first matching rule wins, in file order
  paths        = ["kv/data/prod/*", "transit/sign/+"]   # Vault's own policy path syntax: trailing *, + for one segment
  capabilities = ["read", "update"]              # default: all. create, read, update, patch, delete, list
  namespace    = ""                              # default: any
  methods      = ["corp_totp"]                   # every one must be satisfied
  grant "header" {}                              # Enterprise step-up: the same request again, with X-Vault-MFA
}
step_up "prod-deploy" {
  paths   = ["kv/data/deploy/*"]
  methods = ["corp_totp"]
  grant "token" {                                # mint a short token on an MFA-guarded path, then use that
    path     = "auth/token/create/prod-stepup"
    policies = ["prod-stepup"]
    ttl      = "5m"
  }
}
step_up "secure" {
  paths = ["kv/data/secure/*"]
  grant "login" {                                # Login MFA (Vault 1.10+ community, OpenBao): log in again, use that token
    path     = "auth/stepup/login/alice"
    password = "prompt"                          # prompt, keyring, or command = [...]
    max_ttl  = "10m"
  }
}

login_mfa {                                      # logins that pass through the agent; on by default
  enabled       = true
  prefer        = ["corp_totp"]                  # which method of an `any` list; default: ask
  legacy_mounts = ["auth/ldap"]                  # Vault <= 1.10 legacy MFA: passcode / method=push go into the login body
  okta_mounts   = ["auth/okta"]                  # Okta auth method: number challenge is shown
}
prompt {
  use          = ["attached", "desktop", "terminal"]   # also "command"; all that can, at once; the first answer wins
  command      = ["/usr/local/bin/my-askpass"]
  timeout      = "55s"
  attempts     = 3
  cooldown     = "30s"                           # after a denial or timeout, no new prompt for the same rule and caller
  confirm_push = false                           # ask before a push is sent
}
cache {
  store   = "keyring"                            # keyring or memory
  max_ttl = "15m"                                # a cached token is never used longer, whatever its own TTL
  lock_on = ["sleep", "screen_lock"]             # forget step-up tokens then; default: sleep
}
audit     { file = "${state_dir}/audit.jsonl" }
telemetry { address = "127.0.0.1:9108" }         # Prometheus /metrics; off when absent
log {
  level  = "info"                                # debug, info, warn, error
  format = "text"                                # text or json
}
