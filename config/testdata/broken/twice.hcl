vault "corp" { address = "https://vault.example:8200" }
listener "tcp" { address = "127.0.0.1:8100" }
prompt { attempts = 3 }
cache {}
prompt { attempts = 2 }
cache {}
audit { file = "audit.jsonl" }
