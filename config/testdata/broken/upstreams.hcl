vault "v1" { address = "http://127.0.0.1:8100" }
vault "v2" { address = "http://LOCALHOST:8100/" }
vault "v3" { address = "http://0.0.0.0:8100" }
vault "v4" { address = "http://[::]:8100" }
vault "v5" { address = "http://[::ffff:127.0.0.1]:8100" }
vault "v6" { address = "http://me.example:8100" }
vault "v7" { address = "unix:///run/user/1000/stepup/../stepup/vault.sock" }
vault "ok1" { address = "http://[::1]:8100" }
vault "ok2" { address = "http://127.0.0.1:8200" }
vault "ok3" { address = "http://vault.example:8100" }
listener "tcp" {
  address = "127.0.0.1:8100"
  vault   = "ok2"
}
listener "unix" {
  address = "${runtime_dir}/vault.sock"
  vault   = "ok2"
}
