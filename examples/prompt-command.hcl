# When to use it: no terminal is at hand and you want to be asked by a program of
# your own. It gets one JSON object on standard input and prints the answer; exit
# code 0 means answered, 1 denied, 2 cannot ask now. prompt-command.sh, next to
# this file, is such a program: copy it to ~/.config/stepup.

vault "main" {
  address = "https://vault.example.com:8200"
}

listener "tcp" {
  address = "127.0.0.1:8100"
}

prompt {
  use     = ["command", "attached"] # both at once: the first answer wins
  command = ["${home}/.config/stepup/prompt-command.sh"]
  timeout = "55s"
}
