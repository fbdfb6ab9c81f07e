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

func TestRender(t *testing.T) {
	t.Parallel()
	now := time.Now()
	with := func(kind prompt.Kind, change func(*prompt.Request)) prompt.Request {
		r := prompttest.Request(kind)
		r.Deadline = now.Add(55 * time.Second)
		change(&r)
		return r
	}
	for _, c := range []struct {
		name string
		r    prompt.Request
		want string
	}{
		{"first try", with(prompt.Passcode, func(*prompt.Request) {}), `
stepup: terraform (pid 4711) wants to read kv/data/prod/db
  Vault: corp; rule: prod-kv; started by: make, zsh
  Passcode for corp_totp (6 digits, 55 s, ctrl-c to deny): `},
		{"retry with others waiting", with(prompt.Passcode, func(r *prompt.Request) {
			r.Attempt, r.Message, r.Queued, r.Digits, r.Namespace = 2, "wrong code: wait for the next one", 2, 0, "team-a"
		}), `
stepup: terraform (pid 4711) wants to read kv/data/prod/db
  Vault: corp; namespace: team-a; rule: prod-kv; started by: make, zsh
  Attempt 2 of 3: wrong code: wait for the next one
  2 more questions are waiting
  Passcode for corp_totp (55 s, ctrl-c to deny): `},
		{"login by an unknown program", with(prompt.Choose, func(r *prompt.Request) {
			r.Rule, r.Path, r.Requester, r.Queued, r.Method = "", "auth/userpass/login/alice", prompt.Requester{UID: -1}, 1, ""
		}), `
stepup: an unknown program wants to log in at auth/userpass/login/alice
  Vault: corp
  1 more question is waiting
  1) corp_totp
  2) corp_duo
  Choose how to confirm it (1 to 2, 55 s, ctrl-c to deny): `},
		{"password without a deadline", with(prompt.Password, func(r *prompt.Request) {
			r.Deadline, r.Method, r.Requester = time.Time{}, "", prompt.Requester{PID: 7, Chain: []string{"vault"}}
		}), `
stepup: vault (pid 7) wants to read kv/data/prod/db
  Vault: corp; rule: prod-kv; no parents: started by the system or by a program that has ended
  Password (not shown, ctrl-c to deny): `},
		{"confirm", with(prompt.Confirm, func(r *prompt.Request) { r.Message = "a push will be sent to your phone"; r.Requester.PID = 0 }), `
stepup: terraform wants to read kv/data/prod/db
  Vault: corp; rule: prod-kv; started by: make, zsh
  A push will be sent to your phone
  Allow it? (y/N, 55 s, ctrl-c to deny): `},
		{"push", with(prompt.Push, func(r *prompt.Request) { r.Method, r.MethodType = "corp_duo", "duo" }), `
stepup: terraform (pid 4711) wants to read kv/data/prod/db
  Vault: corp; rule: prod-kv; started by: make, zsh
  Approve it on your phone (corp_duo, duo)
`},
		{"a number to tap", with(prompt.Push, func(r *prompt.Request) {
			r.Rule, r.Method, r.MethodType, r.Number, r.Message = "", "okta", "okta", "42", "tap 42 in Okta Verify"
		}), `
stepup: terraform (pid 4711) wants to log in at kv/data/prod/db
  Vault: corp; started by: make, zsh

      #   #   ####
      #   #       #
      #####    ###
          #   #
          #   #####

  Tap 42 in Okta Verify (okta)
`},
		{"no number but a stranger's text", with(prompt.Push, func(r *prompt.Request) { r.Method, r.Number = "", "42\x1b[2J" }), `
stepup: terraform (pid 4711) wants to read kv/data/prod/db
  Vault: corp; rule: prod-kv; started by: make, zsh
  Approve it on your phone (totp)
`},
		{"hidden", with(prompt.Confirm, func(r *prompt.Request) {
			r.Requester = prompt.Requester{UID: 1000, Hidden: true, MayBe: []prompt.Candidate{
				{PID: 123, Name: "vault"}, {PID: 9, Name: "a (pid 1), b"}, {PID: 8, Name: "it\x1b[2J"},
				{PID: 7, Name: "c"}, {PID: 6, Name: "d"}, {PID: 5, Name: "e"},
			}}
		}), `
stepup: a program that hides itself from you wants to read kv/data/prod/db
  Vault: corp; rule: prod-kv
  May be (a guess): vault (pid 123), a ?pid 1?? b (pid 9), it??2J (pid 8), c (pid 7), d (pid 6)
  Allow it? (y/N, 55 s, ctrl-c to deny): `},
		{"hidden, on a unix socket", with(prompt.Confirm, func(r *prompt.Request) {
			r.Requester = prompt.Requester{PID: 123, UID: 1000, Hidden: true, Chain: []string{"vault", "zsh"}, Claim: "vault kv"}
		}), `
stepup: a program that hides itself from you and calls itself vault (pid 123) wants to read kv/data/prod/db
  Vault: corp; rule: prod-kv; started by: zsh
  Calls itself: vault kv
  Allow it? (y/N, 55 s, ctrl-c to deny): `},
		{"not installed by the system", with(prompt.Confirm, func(r *prompt.Request) {
			r.Requester = prompt.Requester{PID: 123, UID: 1000, Exe: "/tmp/x/vault", Origin: prompt.OriginUser, Chain: []string{"vault"}}
		}), `
stepup: /tmp/x/vault (pid 123, not installed by the system) wants to read kv/data/prod/db
  Vault: corp; rule: prod-kv; no parents: started by the system or by a program that has ended
  Allow it? (y/N, 55 s, ctrl-c to deny): `},
		{"nothing known", prompt.Request{Kind: prompt.Push, Rule: "r", Requester: prompt.Requester{PID: 9}}, `
stepup: an unknown program (pid 9) wants to step up for rule r
  Rule: r
  Approve it on your phone
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := "\n" + terminal.Block(c.r, now)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzRender(f *testing.F) {
	f.Add(prompttest.Hostile()[:200], 0)
	f.Add("kv/data/prod", -3)
	f.Fuzz(func(t *testing.T, s string, n int) {
		r := prompt.Request{
			Kind: prompt.Choose, Rule: s, Vault: s, Namespace: s, Path: s, Operation: s, Method: s, MethodType: s, Message: s,
			Choices: []string{s, s}, Attempt: n, Attempts: n, Digits: n, Queued: n, Requester: prompt.Requester{PID: n, Exe: s, Chain: []string{s, s}},
		}
		got := terminal.Block(r, time.Now())
		if i := strings.IndexFunc(got, func(c rune) bool { return c != '\n' && (c < ' ' || c > '~') }); i >= 0 {
			t.Errorf("%q reaches the screen", got[i:])
		}
		if lines := strings.Count(got, "\n"); lines > 7 {
			t.Errorf("%d lines: a stranger can add lines\n%s", lines, got)
		}
	})
}
