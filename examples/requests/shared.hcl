# Requests for `stepup config test --shared shared.hcl requests/shared.hcl`: which rule each
# comes under, and what the person reads.

request "a secret of production" {
  path  = "kv/data/prod/db"
  rule  = "prod"
  words = ["password for auth/stepup/login/", "read kv/data/prod/db"]
}

request "writing one" {
  method = "POST"
  path   = "kv/data/prod/db"
  rule   = "prod"
  words  = ["update kv/data/prod/db"]
}

request "the look that vault kv takes before it" {
  path = "sys/internal/ui/mounts/kv/prod/db"
  rule = "prod"
}

request "everything else" {
  path  = "kv/data/dev/db"
  rule  = ""
  words = []
}

request "a path that leads elsewhere" {
  path  = "kv/data/prod/../dev/db"
  rule  = ""
  words = []
}

request "the login of the day" {
  path  = "auth/userpass/login/alice"
  login = ["totp"]
  rule  = ""
  words = ["passcode for totp", "log in at auth/userpass/login/alice"]
}

request "the same with a phone" {
  path  = "auth/oidc/login/alice"
  login = ["duo"]
  rule  = ""
  words = ["approve it on your phone"]
}
