vault "corp" { address = "https://vault.corp.example:8200" }
listener "tcp" { address = "127.0.0.1:8100" }
mfa_method "corp_totp" { type = "totp" }
login_mfa {
  single_phase         = true
  single_phase_methods = ["corp_totp", "corp_totp", "corp_dou"]
}
