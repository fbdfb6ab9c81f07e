package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent"
)

// parsed reads a configuration that must be good.
func parsed(t testing.TB, src string) *agent.Config {
	t.Helper()
	c, diags := Parse("stepup.hcl", []byte(src), fixed())
	if c == nil {
		t.Fatalf("%v in\n%s", diags.Err(), src)
	}
	return c
}

const whole = `vault "corp" {
  address = "https://vault.example:8200"
}
listener "tcp" {
  address = "127.0.0.1:8100"
}
listener "unix" { address = "/run/user/1000/stepup/vault.sock" }
mfa_method "m" {
  type = "totp"
}
step_up "a" {
  paths = ["a/*"]
  methods = ["m"]
  grant "header" {}
}
step_up "b" {
  paths = ["b/*"]
  methods = ["m"]
  grant "header" {}
}
prompt {
  use     = ["command"]
  command = ["/bin/ask", "--password=hunter2"]
}
`

func TestChanges(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, from, to string // replaced in whole
		want           string
	}{
		{"nothing", "", "", "nothing changed"},
		{"spelling only", `"a/*"]`, "\"a/*\", ] # the same", "nothing changed"},
		{"rule", `"a/*"`, `"c/*"`, `rule "a" changed`},
		{"rules", `step_up "a" {`, `step_up "x" {`, `rule "x" added, rule "a" removed`},
		{"grant", `grant "header" {}` + "\n}\nstep_up \"b\"", "grant \"login\" {\n    path = \"auth/x/login/y\"\n    password = \"prompt\"\n  }\n}\nstep_up \"b\"", `rule "a" changed`},
		{"vault", `8200"`, `8200"` + "\n  timeout = \"10s\"", `vault "corp" changed`},
		{"vault's name", `vault "corp"`, `vault "new"`, `vault "new" added, vault "corp" removed, listener tcp 127.0.0.1:8100 changed, listener unix /run/user/1000/stepup/vault.sock changed`},
		{"method", `"totp"`, `"totp"` + "\n  digits = 8", `mfa_method "m" changed`},
		{"a method's program", `"totp"`, `"totp"` + "\n  passcode_command = [\"/bin/code\", \"hunter2\"]", `mfa_method "m" changed`},
		{"listener moved", "8100", "8101", "listener tcp 127.0.0.1:8101 opened, listener tcp 127.0.0.1:8100 closed"},
		{"listener spelled otherwise", "127.0.0.1:8100", "localhost:8100", "nothing changed"},
		{"listener stricter", `8100"`, `8100"` + "\n  require_request_header = true", "listener tcp 127.0.0.1:8100 changed"},
		{"prompt", "prompt {", "prompt {\n  timeout = \"40s\"\n  never = [\"my cron\", \"x\"]", `prompt timeout 55s -> 40s, prompt never none -> ["my cron" x]`},
		{"a program's password", "hunter2", "hunter3", "prompt command changed"},
		{"prompters", `["command"]`, `["attached", "command"]`, "prompt use [command] -> [attached command]"},
		{"whole minutes", "prompt {", "prompt {\n  cooldown = \"1h\"\n  timeout = \"2m\"", "prompt timeout 55s -> 2m, prompt cooldown 30s -> 1h"},
		{"cache", "prompt {", "cache {\n  store = \"memory\"\n  max_ttl = \"90m\"\n  lock_on = []\n}\nprompt {", "cache store keyring -> memory, cache max_ttl 15m -> 1h30m, cache lock_on [sleep] -> none"},
		{"login_mfa", "prompt {", "login_mfa {\n  enabled = false\n  prefer = [\"m\"]\n}\nprompt {", "login_mfa enabled true -> false, login_mfa prefer none -> [m]"},
		{"relay", "prompt {", "relay {\n  max_kept_bodies = \"1MiB\"\n  express = false\n}\nprompt {", "relay max_kept_bodies 64MiB -> 1MiB, relay express true -> false"},
		{"audit", "prompt {", "audit { file = \"/tmp/a b\" }\nprompt {", `audit file none -> "/tmp/a b"`},
		{"telemetry", "prompt {", "telemetry {\n  address = \"127.0.0.1:9108\"\n  other_users = true\n}\nprompt {", "telemetry address none -> 127.0.0.1:9108, telemetry other_users false -> true"},
		{"log", "prompt {", "log {\n  level = \"debug\"\n  format = \"json\"\n}\nprompt {", "log level info -> debug, log format text -> json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			old, next := parsed(t, whole), parsed(t, strings.Replace(whole, tt.from, tt.to, 1))
			if got := Changes(old, next); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := Changes(next, next); got != "nothing changed" {
				t.Errorf("to itself: %s", got)
			}
		})
	}
}

func TestChangesOfOrder(t *testing.T) {
	t.Parallel()
	old, next := parsed(t, whole), parsed(t, whole)
	slices.Reverse(next.Rules)
	if got := Changes(old, next); got != "rules in another order" {
		t.Error(got)
	}
	next.Rules[1].Silent = true
	if got := Changes(old, next); got != `rule "a" changed, rules in another order` {
		t.Error(got)
	}
}

// However much changes, it is one line.
func TestChangesAreOneLine(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, "step_up \"r%d\" {\n  paths = [\"r/%d\"]\n  methods = [\"m\"]\n  grant \"header\" {}\n}\n", i, i)
	}
	got := Changes(parsed(t, whole), parsed(t, whole+many.String()))
	if !strings.HasPrefix(got, `rule "r0" added, rule "r1" added, `) || !strings.HasSuffix(got, `rule "r29" added, and 70 more`) || strings.Contains(got, "\n") {
		t.Error(got)
	}
}
