vault "scheme" { address = "vault.example:8200" }
vault "ftp" { address = "ftp://vault.example" }
vault "host" { address = "https://" }
vault "user" { address = "https://alice:s3cr/et@vault.example:8200" }
vault "query" { address = "https://vault.example:8200?a=b" }
vault "path" { address = "https://vault.example:8200/v1" }
vault "encoded" { address = "https://vault.example/a%2fb" }
vault "dots" { address = "https://vault.example/a/../b" }
vault "port" { address = "https://vault.example:99999" }
vault "socket" { address = "unix://run/vault.sock" }
vault "space" { address = "https://vault example" }
vault "empty" { address = "" }
listener "tcp" {
  address = "127.0.0.1:8100"
  vault   = "scheme"
}
