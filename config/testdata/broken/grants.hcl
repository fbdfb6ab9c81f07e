vault "corp" { address = "https://vault.example:8200" }
listener "tcp" { address = "127.0.0.1:8100" }
mfa_method "m" { type = "totp" }
step_up "token" {
  paths   = ["kv/*"]
  methods = ["m"]
  grant "token" {
    path     = "v1/auth/token/create"
    ttl      = "soon"
    num_uses = -1
    max_ttl  = "0s"
    password = "prompt"
  }
}
step_up "login" {
  paths = ["x"]
  grant "login" {
    path     = "auth/userpass/alice"
    password = "correct horse"
    max_ttl  = "1000h"
  }
}
step_up "both" {
  paths = ["y"]
  grant "login" {
    path     = "auth/userpass/login/alice"
    password = "keyring"
    command  = []
  }
}
step_up "no auth" {
  paths = ["z", "kv/data/{{identity.entity.name}}/*"]
  grant "login" {
    path = "userpass/login/alice"
  }
}
step_up "no mount" {
  paths = ["w"]
  grant "login" {
    path = "auth/login/alice"
  }
}
step_up "scoped" {
  paths = ["v"]
  grant "login" {
    path  = "auth/stepup/login/alice"
    scope = "tab"
  }
}
step_up "header" {
  paths   = ["u"]
  methods = ["m"]
  grant "header" {
    scope = "terminal"
  }
}
