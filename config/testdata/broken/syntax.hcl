vault "corp" {
  address = "https://vault.example:8200
}
listener "tcp" { address = "127.0.0.1:8100" }
