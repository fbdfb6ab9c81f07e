package stepup_test

import (
	"cmp"
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
)

// singlePhase takes these methods along with every login.
func singlePhase(methods ...string) func(*stepup.Config) {
	return func(c *stepup.Config) {
		c.SinglePhase = stepup.SinglePhase{Methods: methods}
		for _, name := range methods {
			if _, ok := c.Methods[name]; !ok {
				c.Methods[name] = mfa.Method{Name: name, Type: "totp", UsesPasscode: true}
			}
		}
	}
}

// refusing takes a login with the right factors, and refuses any other one by body.
func refusing(right string, delay time.Duration, status int, body string) serve {
	return after(delay, func(_ context.Context, line string) (*http.Response, error) {
		if line == right {
			return answer(200, approvedText), nil
		}
		return answer(status, body), nil
	})
}

func TestLoginWith(t *testing.T) {
	const byID = "820997b3-110e-c251-7e8b-ff4aa428a6e1"
	type test struct {
		methods  []string
		right    string
		delay    time.Duration
		refusal  string
		codes    []string
		noReplay bool
		want     want
	}
	run(t, map[string]test{
		"right at once": {
			methods: []string{"totp"}, right: "totp:111111", codes: []string{"111111"},
			want: want{outcome: mfa.Approved, status: 200, sent: []string{"totp:111111"},
				asked: []string{"passcode totp 1/3 "}},
		},
		"an id": {
			methods: []string{byID}, right: byID + ":111111", codes: []string{"111111"},
			want: want{outcome: mfa.Approved, status: 200},
		},
		"a name with its namespace": {
			methods: []string{"ns1/totp"}, right: "ns1/totp:111111", codes: []string{"111111"},
			want: want{outcome: mfa.Approved, status: 200},
		},
		"wrong, then right": {
			methods: []string{"totp"}, right: "totp:222222", codes: []string{"111111", "222222"},
			want: want{outcome: mfa.Approved, status: 200, sent: []string{"totp:111111", "totp:222222"},
				asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 " + wrongCode}},
		},
		"always wrong": {
			methods: []string{"totp"}, right: "-", codes: []string{"111111", "222222", "333333"},
			want: want{outcome: mfa.Rejected, text: "did not accept", status: 403,
				sent: []string{"totp:111111", "totp:222222", "totp:333333"}},
		},
		"can be sent once only": {
			methods: []string{"totp"}, right: "-", codes: []string{"111111"}, noReplay: true,
			want: want{outcome: mfa.Rejected, status: 403, sent: []string{"totp:111111"}},
		},
		"two methods": {
			methods: []string{"totp", "second"}, right: "totp:111111,second:x", codes: []string{"111111", "x"},
			want: want{outcome: mfa.Approved, status: 200},
		},
		"a push": {
			methods: []string{"okta"}, right: "okta", delay: 10 * time.Second,
			want: want{outcome: mfa.Approved, status: 200, sent: []string{"okta"}, asked: []string{"push okta 1/3 "}},
		},
		"a push is refused": {
			methods: []string{"okta"}, right: "-", delay: 10 * time.Second,
			want: want{outcome: mfa.Denied, text: "refused on the phone", status: 403, sent: []string{"okta"}},
		},
		"a push is refused quickly": {
			methods: []string{"okta"}, right: "-", delay: 2 * time.Second,
			want: want{outcome: mfa.Denied, status: 403, sent: []string{"okta"}},
		},
		"a push that is not named": {
			methods: []string{"totp"}, right: "-", delay: 10 * time.Second, codes: []string{"111111"},
			want: want{outcome: mfa.Unavailable, status: 403, sent: []string{"totp:111111"}},
		},
		"the password is wrong": {
			methods: []string{"totp"}, right: "-", refusal: wrongLogin, codes: []string{"111111"},
			want: want{outcome: mfa.Approved, status: 400},
		},
		"denied":        {methods: []string{"totp"}, codes: []string{"no"}, want: want{outcome: mfa.Denied}},
		"not answered":  {methods: []string{"totp"}, codes: []string{"never"}, want: want{outcome: mfa.Timeout}},
		"a wrong digit": {methods: []string{"totp"}, codes: []string{"1", "no"}, want: want{outcome: mfa.Denied, asked: []string{"passcode totp 1/3 ", "passcode totp 1/3 a code of this method has 6 digits"}}},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, singlePhase(tt.methods...))
		f.person.codes(tt.codes...)
		f.up.serve = refusing(tt.right, tt.delay, 403, bareDenied)
		if tt.refusal != "" {
			f.up.serve = refusing(tt.right, tt.delay, 400, tt.refusal)
		}
		tt.want.status = cmp.Or(tt.want.status, none)
		f.of(f.resolver.LoginWith(t.Context(), loginRequest, tt.noReplay, f.up.send), nil).check(t, tt.want)
	})
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

// No prompt is shown for a program that the configuration never prompts for.
func TestLoginWithoutAPrompt(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.change(singlePhase("totp"))
		f.change(func(c *stepup.Config) { c.NeverPrompt.Detached = true })
		ctx := peer.NewContext(t.Context(), func() peer.Peer { return peer.Peer{PID: 7, Detached: true} })
		f.of(f.resolver.LoginWith(ctx, loginRequest, false, f.up.send), nil).check(t, want{
			outcome: mfa.Unavailable, text: "detached", status: none, asked: nothing,
		})
	})
}
