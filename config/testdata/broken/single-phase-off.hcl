vault "corp" { address = "https://vault.corp.example:8200" }
listener "tcp" { address = "127.0.0.1:8100" }
login_mfa {
  single_phase_mounts = ["auth/userpass"]
}
