# When to use it: one file for all users of a machine, /etc/stepup/stepup.hcl, owned by
# root. Users may add rules and settings of their own in ~/.config/stepup/stepup.hcl, and
# cannot weaken what is locked. `stepup config check --shared FILE` checks such a file.

vault "corp" {
  address = "https://vault.example.com:8200"
}

listener "tcp" {
  address = "127.0.0.1:8100"
}

step_up "prod" {
  paths  = ["kv/data/prod/*"]
  locked = true # no rule of a user comes before this one
  grant "login" {
    path    = "auth/stepup/login/${user}" # variables { user = "…" } where it is another name
    max_ttl = "10m"
  }
}

cache {
  max_ttl = "15m" # a user may have less
  lock_on = ["sleep", "screen_lock"]
  locked  = true
}

prompt {
  notify = "first" # of each program that uses a step-up; a user may have "each"
  locked = true
}

audit {
  file   = "${state_dir}/audit.jsonl"
  locked = true
}
