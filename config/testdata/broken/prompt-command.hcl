vault "corp" { address = "https://vault.example:8200" }
listener "tcp" { address = "127.0.0.1:8100" }
prompt { use = ["command"] }
mfa_method "m" {
  type             = "totp"
  passcode_command = ["a"]
  passcode_source  = "keyring"
}
