vault "corp" {
  adress  = "https://vault.example:8200"
  address = "https://vault.example:8200"
  colour  = "blue"
}
listner "tcp" { address = "127.0.0.1:8101" }
listener "tpc" { address = "127.0.0.1:8100" }
cache = "memory"
prompt {
  use = ["attached", "comand"]
  timeout { }
}
log {
  level  = "warning"
  format = "yaml"
}
