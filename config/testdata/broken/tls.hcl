vault "corp" {
  address     = "https://vault.example:8200"
  ca_cert     = "/nonexistent/ca.pem"
  ca_path     = "/nonexistent/certs"
  client_cert = "/nonexistent/client.pem"
}
vault "relative" {
  address    = "https://vault.example:8200"
  ca_cert    = "certs/ca.pem"
  client_key = "~/key.pem"
}
vault "plain" {
  address         = "http://127.0.0.1:8200"
  tls_skip_verify = true
}
listener "tcp" {
  address = "127.0.0.1:8100"
  vault   = "corp"
}
