package stepup_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
)

const bareDenied = `{"errors":["permission denied"]}`

// A loginVault is a Vault that takes a login with the right line of X-Vault-MFA.
type loginVault struct {
	right, refusal string
	delay          time.Duration
	lines          []string
}

func (l *loginVault) send(_ context.Context, credentials []mfa.Credential, _ cache.Token) (*http.Response, error) {
	var lines []string
	for _, c := range credentials {
		lines = append(lines, c.Header())
	}
	line := strings.Join(lines, ",")
	l.lines = append(l.lines, line)
	time.Sleep(l.delay)
	switch {
	case line == l.right:
		return answer(200, approvedText), nil
	case l.refusal == "":
		return answer(403, bareDenied), nil
	}
	return answer(400, l.refusal), nil
}

func TestLoginWith(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		methods []string
		vault   loginVault
		codes   []string
		once    bool
		outcome mfa.Outcome
		text    string
		status  int
		sent    []string
		asked   []string
	}{
		"right at once": {
			methods: []string{"totp"}, vault: loginVault{right: "totp:111111"}, codes: []string{"111111"}, outcome: mfa.Approved, status: 200,
			sent: []string{"totp:111111"}, asked: []string{"passcode totp 1/3 "},
		},
		"an id": {
			methods: []string{"820997b3-110e-c251-7e8b-ff4aa428a6e1"}, vault: loginVault{right: "820997b3-110e-c251-7e8b-ff4aa428a6e1:111111"}, codes: []string{"111111"},
			outcome: mfa.Approved, status: 200,
		},
		"a name with its namespace": {
			methods: []string{"ns1/totp"}, vault: loginVault{right: "ns1/totp:111111"}, codes: []string{"111111"}, outcome: mfa.Approved, status: 200,
		},
		"wrong, then right": {
			methods: []string{"totp"}, vault: loginVault{right: "totp:222222"}, codes: []string{"111111", "222222"}, outcome: mfa.Approved, status: 200,
			sent:  []string{"totp:111111", "totp:222222"},
			asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 wrong code, or one that was used: wait for the next one"},
		},
		"always wrong": {
			methods: []string{"totp"}, vault: loginVault{right: "-"}, codes: []string{"111111", "222222", "333333"}, outcome: mfa.Rejected, text: "did not accept", status: 403,
			sent: []string{"totp:111111", "totp:222222", "totp:333333"},
		},
		"can be sent once only": {
			methods: []string{"totp"}, vault: loginVault{right: "-"}, codes: []string{"111111"}, once: true, outcome: mfa.Rejected, status: 403, sent: []string{"totp:111111"},
		},
		"two methods": {
			methods: []string{"totp", "second"}, vault: loginVault{right: "totp:111111,second:x"}, codes: []string{"111111", "x"}, outcome: mfa.Approved, status: 200,
		},
		"a push": {
			methods: []string{"okta"}, vault: loginVault{right: "okta", delay: 10 * time.Second}, outcome: mfa.Approved, status: 200,
			sent: []string{"okta"}, asked: []string{"push okta 1/3 "},
		},
		"a push is refused": {
			methods: []string{"okta"}, vault: loginVault{right: "-", delay: 10 * time.Second}, outcome: mfa.Denied, text: "refused on the phone", status: 403, sent: []string{"okta"},
		},
		"a push is refused quickly": {
			methods: []string{"okta"}, vault: loginVault{right: "-", delay: 2 * time.Second}, outcome: mfa.Denied, status: 403, sent: []string{"okta"},
		},
		"a push that nobody named": {
			methods: []string{"totp"}, vault: loginVault{right: "-", delay: 10 * time.Second}, codes: []string{"111111"}, outcome: mfa.Unavailable, status: 403, sent: []string{"totp:111111"},
		},
		"the password is wrong": {
			methods: []string{"totp"}, vault: loginVault{right: "-", refusal: `{"errors":["invalid username or password"]}`}, codes: []string{"111111"}, outcome: mfa.Approved, status: 400,
		},
		"denied":        {methods: []string{"totp"}, codes: []string{"no"}, outcome: mfa.Denied},
		"not answered":  {methods: []string{"totp"}, codes: []string{"never"}, outcome: mfa.Timeout},
		"a wrong digit": {methods: []string{"totp"}, codes: []string{"1", "no"}, outcome: mfa.Denied, asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 a code of this method has 6 digits"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFixture(t, func(c *stepup.Config) {
					c.SinglePhase = stepup.SinglePhase{Methods: tt.methods}
					for _, name := range tt.methods {
						if _, ok := c.Methods[name]; !ok {
							c.Methods[name] = mfa.Method{Name: name, Type: "totp", UsesPasscode: true}
						}
					}
				})
				s.person.codes(tt.codes...)
				resp, v := s.resolver.LoginWith(t.Context(), loginRequest, tt.once, tt.vault.send)
				if v.Outcome != tt.outcome || !strings.Contains(v.Message, tt.text) {
					t.Errorf("verdict %+v, want %s %q", v, tt.outcome, tt.text)
				}
				if resp == nil && tt.status != 0 || resp != nil && resp.StatusCode != tt.status {
					t.Errorf("answer %+v, want %d", resp, tt.status)
				}
				if d := cmp.Diff(tt.sent, tt.vault.lines); tt.sent != nil && d != "" {
					t.Errorf("sent: %s", d)
				}
				if d := cmp.Diff(tt.asked, s.person.messages()); tt.asked != nil && d != "" {
					t.Errorf("asked: %s", d)
				}
			})
		})
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	off := stepup.New(stepup.Config{})
	on := stepup.New(stepup.Config{SinglePhase: stepup.SinglePhase{Methods: []string{"totp"}}})
	some := stepup.New(stepup.Config{SinglePhase: stepup.SinglePhase{Methods: []string{"totp"}, Mounts: []string{"auth/ldap"}}})
	if off.Covers(loginRequest) || !on.Covers(loginRequest) || some.Covers(loginRequest) {
		t.Error("a login at auth/userpass")
	}
	ldap := rule.Request{Path: "auth/ldap/login/alice", Operation: rule.Update}
	if off.Covers(ldap) || !on.Covers(ldap) || !some.Covers(ldap) {
		t.Error("a login at auth/ldap")
	}
}

// Nobody is asked for a program on which the configuration is silent.
func TestLoginWithNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, func(c *stepup.Config) {
			c.SinglePhase = stepup.SinglePhase{Methods: []string{"totp"}}
			c.NeverPrompt.Detached = true
		})
		s.person.codes()
		resp, v := s.resolver.LoginWith(
			peer.NewContext(t.Context(), func() peer.Peer { return peer.Peer{PID: 7, Detached: true} }), loginRequest, false, (&loginVault{}).send)
		if resp != nil || v.Outcome != mfa.Unavailable || !strings.Contains(v.Message, "detached") {
			t.Errorf("answer %v, verdict %+v", resp, v)
		}
	})
}
