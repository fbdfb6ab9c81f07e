vault "corp" { address = "https://vault.corp.example:8200" }
listener "tcp" { address = "127.0.0.1:8100" }
mfa_method "corp_totp" { type = "totp" }
mfa_method "corp_duo" { type = "duo" }
login_mfa {
  enabled      = false
  single_phase = true
  okta_mounts         = ["auth/okta"]
  single_phase_mounts = ["userpass", "auth/okta"]
}
