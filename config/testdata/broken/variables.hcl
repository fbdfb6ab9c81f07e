vault "corp" { address = "https://${env.NOWHERE}:8200" }
listener "unix" { address = "${runtimedir}/vault.sock" }
listener "tcp" { address = upper("127.0.0.1:8100") }
audit { file = "${env.HIDDEN}/audit.jsonl" }
log { level = env.HIDDEN }
cache { max_ttl = "${env.EMPTY}" }
prompt {
  timeout  = env
  cooldown = "${home.x}"
  use      = [for x in ["attached"] : x]
}
login_mfa { prefer = ["${1 + 1}"] }
