package terminal_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

func TestLayout(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	passcode := prompttest.Request(prompt.Passcode)
	passcode.Deadline, passcode.Path = now.Add(55*time.Second), "kv/data/team/payments/prod/database"
	push := prompttest.Request(prompt.Push)
	push.Number, push.Method, push.MethodType = "42", "okta", "okta"
	for _, tt := range []struct {
		name   string
		r      prompt.Request
		screen terminal.Screen
		want   string
	}{
		{"of unknown width", passcode, terminal.Screen{}, `
stepup: terraform (pid 4711) wants to read kv/data/team/payments/prod/database
  Vault: corp; rule: prod-kv; started by: make, zsh
  Passcode for corp_totp (6 digits, 55 s, ctrl-c to deny): `},
		{"wide", passcode, terminal.Screen{Columns: 120}, `
stepup: terraform (pid 4711) wants to read kv/data/team/payments/prod/database
  Vault: corp; rule: prod-kv; started by: make, zsh
  Passcode for corp_totp (6 digits, 55 s, ctrl-c to deny): `},
		{"narrow", passcode, terminal.Screen{Columns: 44}, `
stepup: terraform (pid 4711) wants to read
    kv/data/team/payments/prod/database
  Vault: corp; rule: prod-kv; started by:
    make, zsh
  Passcode for corp_totp (6
    digits, 55 s, ctrl-c to deny): `},
		{"framed", passcode, terminal.Screen{Columns: 60, Framed: true}, `
╭ stepup: terraform (pid 4711) wants to read
│   kv/data/team/payments/prod/database
│ Vault: corp; rule: prod-kv; started by: make, zsh
│ Passcode for corp_totp (6 digits, 55 s, ctrl-c
╰   to deny): `},
		{"coloured", passcode, terminal.Screen{Columns: 80, Framed: true, Colour: true}, "\n" +
			"\x1b[33m╭\x1b[0m \x1b[1mstepup: terraform (pid 4711) wants to read kv/data/team/payments/prod/database\x1b[0m\n" +
			"\x1b[33m│\x1b[0m Vault: corp; rule: prod-kv; started by: make, zsh\n" +
			"\x1b[33m╰\x1b[0m Passcode for corp_totp (6 digits, 55 s, ctrl-c to deny): "},
		{"a number", push, terminal.Screen{Columns: 80, Framed: true}, `
╭ stepup: terraform (pid 4711) wants to read kv/data/prod/db
│ Vault: corp; rule: prod-kv; started by: make, zsh
│
│     #   #   ####
│     #   #       #
│     #####    ###
│         #   #
│         #   #####
│
╰ Tap 42 in Okta Verify (okta)
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, "\n"+terminal.Layout(tt.r, now, tt.screen)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Law: no word is lost, no line is wider than the screen, and none but the first begins
// where lines of ours do.
func FuzzWrap(f *testing.F) {
	f.Add("  vault corp, rule prod-kv, asked by terraform <- make", 20)
	f.Add("stepup: /home/alice/bin/vault (pid 7, not installed by the system) wants to read kv/data/prod/db", 30)
	f.Add(strings.Repeat("x", 99), 7)
	f.Add("          ", 5)
	f.Add("a b", -1)
	f.Fuzz(func(t *testing.T, line string, columns int) {
		const inset = "    "
		if strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Skip("the sanitiser lets only ASCII through")
		}
		parts := terminal.Wrap(line, columns, inset)
		for i, part := range parts {
			if columns > len(inset) && len(part) > columns {
				t.Errorf("%q has more than %d columns", part, columns)
			}
			if i > 0 && !strings.HasPrefix(part, inset) {
				t.Errorf("%q begins a line", part)
			}
		}
		squeeze := func(s string) string { return strings.ReplaceAll(s, " ", "") }
		if got := squeeze(strings.Join(parts, "")); got != squeeze(line) {
			t.Errorf("%q became %q", line, parts)
		}
	})
}
