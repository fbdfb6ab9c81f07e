package dialog

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

func TestDialogText(t *testing.T) {
	t.Parallel()
	now := time.Now()
	with := func(kind prompt.Kind, change func(*prompt.Request)) prompt.Request {
		r := prompttest.Request(kind)
		r.Deadline = now.Add(54500 * time.Millisecond)
		change(&r)
		return r
	}
	for _, c := range []struct {
		name    string
		r       prompt.Request
		canDeny bool
		want    string
	}{
		{"first try", with(prompt.Passcode, func(*prompt.Request) {}), true, `
terraform (pid 4711) wants to read kv/data/prod/db

Vault: corp
Rule: prod-kv
Started by: make, zsh

Passcode for corp_totp (6 digits)
This window closes after 55 s
`},
		{"last try, others wait, no button", with(prompt.Password, func(r *prompt.Request) {
			r.Attempt, r.Message, r.Queued, r.Namespace, r.Requester.Claim = 3, "wrong password", 2, "team-a", "terraform apply"
		}), false, `
terraform (pid 4711) wants to read kv/data/prod/db

Vault: corp
Namespace: team-a
Rule: prod-kv
Started by: make, zsh
Calls itself: terraform apply

Attempt 3 of 3, the last one: wrong password

Password for corp_totp
2 more questions are waiting
This window closes after 55 s
To deny: stepup deny abc234
`},
		{"login by an unknown program", with(prompt.Choose, func(r *prompt.Request) {
			r.Rule, r.Path, r.Requester, r.Deadline = "", "auth/userpass/login/alice", prompt.Requester{UID: -1}, time.Time{}
		}), true, `
An unknown program wants to log in at auth/userpass/login/alice

Vault: corp

Choose how to confirm it
`},
		{"hidden program", with(prompt.Confirm, func(r *prompt.Request) {
			r.Deadline = time.Time{}
			r.Requester = prompt.Requester{UID: 1000, Hidden: true, MayBe: []prompt.Candidate{{PID: 123, Name: "vault"}, {PID: 9, Name: "gpg-agent"}}}
		}), true, `
A program that hides itself from you wants to read
    kv/data/prod/db

Vault: corp
Rule: prod-kv
May be (a guess): vault (pid 123), gpg-agent (pid 9)

Allow it?
`},
		{"not installed by the system", with(prompt.Confirm, func(r *prompt.Request) {
			r.Deadline = time.Time{}
			r.Requester = prompt.Requester{PID: 7, UID: 1000, Exe: "/tmp/" + strings.Repeat("bin/", 20) + "vault", Origin: prompt.OriginUser, Chain: []string{"vault"}, Claim: "vault kv"}
		}), true, `
/tmp/bin/bin/bin/bin/bin/bin/bin/bin/bin/bin/bin/bin/bin/bin/
    bin/bin/bin/bin/bin/bin/vault (pid 7, not installed by the
    system) wants to read kv/data/prod/db

Vault: corp
Rule: prod-kv
No parents: started by the system or by a program that has ended
Calls itself: vault kv

Allow it?
`},
		{"push to come", with(prompt.Confirm, func(r *prompt.Request) { r.Message = "a push will be sent to your phone" }), true, `
terraform (pid 4711) wants to read kv/data/prod/db

Vault: corp
Rule: prod-kv
Started by: make, zsh

A push will be sent to your phone

Allow it?
This window closes after 55 s
`},
		{"number to tap", with(prompt.Push, func(r *prompt.Request) {
			r.Rule, r.Method, r.MethodType, r.Number, r.Message = "", "okta", "okta", "42", "tap 42 in Okta Verify"
		}), true, `
terraform (pid 4711) wants to log in at kv/data/prod/db

Vault: corp
Started by: make, zsh

Tap 42 in Okta Verify (okta)
This window closes after 55 s
`},
		{"long path", with(prompt.Confirm, func(r *prompt.Request) {
			r.Path = "kv/data/" + strings.Repeat("team/", 20) + strings.Repeat("x", 60)
			r.Deadline = now.Add(-time.Second)
		}), true, `
terraform (pid 4711) wants to read
    kv/data/team/team/team/team/team/team/team/team/team/team/
    team/team/team/team/team/team/team/team/team/team/
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx

Vault: corp
Rule: prod-kv
Started by: make, zsh

Allow it?
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := "\n" + newDialogText(c.r, now).text(c.canDeny) + "\n"
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzDialogText: a stranger's text never begins a line of its own but the one of
// the message, and the window stays of a size.
func FuzzDialogText(f *testing.F) {
	f.Add(prompttest.Hostile()[:300], "vault: other")
	f.Add("kv/data/prod "+strings.Repeat("Rule: harmless ", 30), "x\nThis window closes after 9 s")
	for _, origin := range []prompt.Origin{prompt.OriginUser, prompt.OriginReplaced, prompt.OriginSandbox, prompt.OriginEnded, prompt.OriginUnknown} {
		f.Add(string(origin), "")
	}
	f.Fuzz(func(t *testing.T, s, message string) {
		r := prompt.Request{
			ID: s, Kind: prompt.Choose, Rule: s, Vault: s, Namespace: s, Path: s, Operation: s, Method: s, MethodType: s, Message: message, Allows: s,
			Choices: []string{s, s}, Attempt: 2, Attempts: 3, Queued: 1, Deadline: time.Now().Add(time.Minute),
			Requester: prompt.Requester{PID: 1, Exe: "/bin/app", Chain: []string{s, s, s, s, s, s, s, s}, Claim: s,
				Origin: prompt.Origin(s),
				MayBe:  []prompt.Candidate{{PID: 1, Name: s}, {PID: 2, Name: s}}},
		}
		got := newDialogText(r, time.Now()).text(false)
		lines := strings.Split(got, "\n")
		if len(lines) > maxLines {
			t.Errorf("%d lines in\n%s", len(lines), got)
		}
		begins := "app (pid 1) wants to "
		if r.Sanitized().Requester.Origin != "" {
			begins = "/bin/app (pid 1, "
		}
		known := []string{
			begins, "A yes allows ", "Vault: ", "Namespace: ", "Rule: ", "Started by: ", "Calls itself: ", "May be (a guess): ", "Attempt 2 of 3: ",
			"Choose how to confirm it", "1 more question is waiting", "This window closes after ", "To deny: stepup deny ", "    ",
		}
		seen := map[string]bool{}
		for _, line := range lines {
			if len(line) > 110 || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("line %q", line)
			}
			begin := ""
			for _, k := range known {
				if strings.HasPrefix(line, k) {
					begin = k
				}
			}
			if begin == "" && line != "" || begin != "    " && begin != "" && seen[begin] {
				t.Errorf("a stranger's line %q in\n%s", line, got)
			}
			seen[begin] = true
		}
	})
}

// Nothing that the sanitiser lets through needs it; it must hold without.
func TestMarkup(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, pango, qt string }{
		{"a heading and the rest", "a\n\nb\n\nc", "<b>a</b>\n\nb\n\nc", "<b>a</b><br><br>b<br><br>c"},
		{"a heading of two lines", "a\n    b\n\nc", "<b>a\n    b</b>\n\nc", "<b>a<br>&nbsp;&nbsp;&nbsp;&nbsp;b</b><br><br>c"},
		{"a long heading", "a\n    b\n    c\n\nd", "a\n    b\n    c\n\nd", "a<br>&nbsp;&nbsp;&nbsp;&nbsp;b<br>&nbsp;&nbsp;&nbsp;&nbsp;c<br><br>d"},
		{"tags", "</b><b>a\n\n<a href='x'>b</a><br>", "<b>&lt;/b&gt;&lt;b&gt;a</b>\n\n&lt;a href='x'&gt;b&lt;/a&gt;&lt;br&gt;", "<b>&lt;/b&gt;&lt;b&gt;a</b><br><br>&lt;a href='x'&gt;b&lt;/a&gt;&lt;br&gt;"},
		{"entities", "&amp; &#60;b&#62;\n\n&lt;b&gt;", "<b>&amp;amp; &amp;#60;b&amp;#62;</b>\n\n&amp;lt;b&amp;gt;", "<b>&amp;amp; &amp;#60;b&amp;#62;</b><br><br>&amp;lt;b&amp;gt;"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := markup(tt.text)
			if diff := cmp.Diff([]string{tt.pango, `<qt><div align="left">` + tt.qt + "</div></qt>"}, []string{got, richText(got)}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
