vault "corp" { address = "https://vault.example:8200" }
listener "tcp" { address = "127.0.0.1:8100" }
prompt {
  command = ["a\u0000b"]
  use = ["command"]
}
audit {
  file = <<X
/var/log/x
X
}
log { level = "‮[31m" }
