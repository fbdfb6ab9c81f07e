package agent_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/prompt"
)

const peopleLogin = "/v1/auth/people/login/alice"

// people makes a login at auth/people that wants one of methods.
func people(t *testing.T, r *fixture, methods ...string) {
	t.Helper()
	r.vault.AddUser("people", "alice", "pw", "prod")
	must(t, r.vault.AddLoginEnforcement("people", methods, []string{"people"}))
}

// peopleIn makes users with a secret for the method corp1, whose login wants it, in a
// namespace ns1. It returns the ID of the method.
func peopleIn(t *testing.T, r *fixture, users ...string) (ns *devvault.Namespace, id string) {
	t.Helper()
	ns = r.vault.AddNamespace("ns1")
	id = ns.AddTOTPMethod("corp1")
	for _, user := range users {
		ns.AddUser("people", user, "pw")
		enrol(t, ns, "corp1", user)
	}
	must(t, ns.AddLoginEnforcement("people", []string{"corp1"}, []string{"people"}))
	return ns, id
}

// The phone rings while a code can be typed, and whichever comes first logs in.
func TestPushOrCode(t *testing.T) {
	t.Parallel()
	const first, second = "type a code, or approve the push on your phone (phone, okta)", "the push was refused on the phone: type a code instead"
	for name, tt := range map[string]struct {
		decide   func(r *fixture) // while the question is open; nil types the code then
		messages []string
	}{
		"code":               {nil, []string{first}},
		"push":               {func(r *fixture) { r.push.Approve() }, []string{first}},
		"refused, then code": {func(r *fixture) { r.push.Deny() }, []string{first, second}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newFixture(t)
			people(t, r, "corp", "phone")
			r.person = func(ctx context.Context, q prompt.Request) (string, error) {
				if q.Message != first {
					return r.code(ctx, q)
				}
				if err := r.push.Wait(ctx); err != nil {
					return "", err
				}
				if tt.decide == nil {
					return r.code(ctx, q)
				}
				tt.decide(r)
				<-ctx.Done() // the question is closed by the phone
				return "", ctx.Err()
			}
			check(t, r.do(t, "POST", peopleLogin, pw), reply{200, `"client_token":"hvs.`, "approved"})
			r.wantMessages(t, tt.messages...)
			if n := r.push.Sent(); n != 1 || r.push.Pending() != 0 || r.vault.HeldLogins() != 0 {
				t.Errorf("%d pushes, %d ring, %d logins held", n, r.push.Pending(), r.vault.HeldLogins())
			}
		})
	}
}

// Duo with use_passcode takes a bare code, and a wrong one is told from a push that
// was refused.
func TestDuoPasscodeAtLogin(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	duo := r.vault.AddPushMethod("duo", "duo")
	duo.UsePasscode()
	duo.AcceptPasscodes("1234567")
	people(t, r, "duo")
	r.person = types("7654321", "1234567")
	check(t, r.do(t, "POST", peopleLogin, pw), reply{200, "", "approved"})
	wantPushes(t, duo, 0)
	r.wantSent(t, "/sys/mfa/validate", 2)
	r.wantMessages(t, "", "wrong code, or one that was used: wait for the next one")
}

// wantMessages checks the questions that the person was asked.
func (r *fixture) wantMessages(t *testing.T, messages ...string) {
	t.Helper()
	var got []string
	for _, q := range r.asked.Requests() {
		got = append(got, q.Message)
		if q.Kind != prompt.Passcode {
			t.Errorf("asked %+v", q)
		}
	}
	if diff := cmp.Diff(messages, got); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// The service behind a push is down: its own outcome, and Vault's words.
func TestOutageAtLogin(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	people(t, r, "phone")
	r.push.Outage(`Get "https://corp.okta.com/api/v1/users": dial tcp: lookup corp.okta.com: no such host`, 0)
	got := r.do(t, "POST", peopleLogin, pw)
	if got.status != 403 || got.outcome != "unavailable" || !strings.Contains(got.body, `stepup: vault cannot use the service behind the second factor: Get `) ||
		strings.Contains(got.body[strings.Index(got.body, "stepup:"):], "methodID") {
		t.Errorf("login: %+v", got)
	}
}

// An app that knows the single phase is left alone, however it names the method.
func TestAppsOwnFactor(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.person = func(context.Context, prompt.Request) (string, error) { return "", errors.New("nobody is asked") }
	people(t, r, "corp")
	ns, id := peopleIn(t, r, "bob", "carol") // each has two codes, whatever the clock does in between
	login := func(user, line string) reply {
		return r.do(t, "POST", "/v1/auth/people/login/"+user, pw, "X-Vault-Namespace", "ns1", "X-Vault-Mfa", line)
	}
	for what, got := range map[string]reply{
		"name":                       r.do(t, "POST", peopleLogin, pw, "X-Vault-Mfa", "corp:"+r.vault.UnusedCode("corp", "alice")),
		"name with its namespace":    login("bob", "ns1/corp1:"+ns.UnusedCode("corp1", "bob")),
		"id":                         login("bob", id+":"+ns.UnusedCode("corp1", "bob")),
		"id, in the longer spelling": login("carol", id+":passcode="+ns.UnusedCode("corp1", "carol")),
	} {
		t.Run(what, func(t *testing.T) { check(t, got, reply{200, `"client_token":"hvs.`, ""}) })
	}
	if got := login("bob", "corp1:000000"); got != (reply{403, `{"errors":["permission denied"]}` + "\n", ""}) {
		t.Errorf("a name without its namespace: %+v", got)
	}
}

// With single_phase the person is asked before the login is sent.
func TestSinglePhaseLogin(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	people(t, r, "corp")
	ns, id := peopleIn(t, r, "bob")
	for _, method := range []string{"corp", "ns1/corp1", id} {
		r.change(t, func(c *agent.Config) {
			c.Methods = append(c.Methods, agent.Method{Name: method, Type: "totp"})
			c.LoginMFA.SinglePhaseMethods, c.LoginMFA.SinglePhaseMounts = []string{method}, []string{"auth/people"}
		})
		wrong := true
		r.person = func(_ context.Context, q prompt.Request) (string, error) {
			if q.Kind != prompt.Passcode || q.Method != method {
				return "", prompt.ErrDenied
			}
			defer func() { wrong = false }()
			switch {
			case wrong:
				return "00000", nil // too short for Vault
			case method == "corp":
				return r.vault.UnusedCode("corp", "alice"), nil
			}
			return ns.UnusedCode("corp1", "bob"), nil
		}
		user, header := "alice", []string{}
		if method != "corp" {
			user, header = "bob", []string{"X-Vault-Namespace", "ns1"}
		}
		got := r.do(t, "POST", "/v1/auth/people/login/"+user, pw, header...)
		check(t, got, reply{200, `"client_token":"hvs.`, "approved"})
	}
	r.wantSent(t, "/sys/mfa/validate", 0)
	// There is no way to ask: Vault holds the login, and the app may know what to do.
	r.person = types()
	got := r.do(t, "POST", peopleLogin, pw)
	check(t, got, reply{200, "mfa_request_id", "unavailable"})
	check(t, got, reply{200, "stepup: there is no way to ask", "unavailable"})
}

// OpenBao says of every wrong code that it is missing or incorrect, and names the method that
// a person has no secret for.
func TestLoginAtOpenBao(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		method string
		asked  []string // messages of the questions
		status int
		says   string
	}{
		"a wrong code, then the right one": {"corp", []string{"", "wrong code, or one that was used: wait for the next one"}, 200, `"client_token":"`},
		"no secret":                        {"other", []string{""}, 403, "not present in entity"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newFixtureAt(t, devvault.OpenBao, nil)
			r.vault.AddTOTPMethod("other")
			people(t, r, tt.method)
			var asked []string
			r.person = func(ctx context.Context, q prompt.Request) (string, error) {
				if asked = append(asked, q.Message); len(asked) == 1 {
					return "000000", nil // which is the right one once in 300,000 times
				}
				return r.code(ctx, q)
			}
			got := r.do(t, "POST", peopleLogin, `{"password":"pw"}`)
			if d := cmp.Diff(tt.asked, asked); d != "" || got.status != tt.status || !strings.Contains(got.body, tt.says) {
				t.Errorf("%d %s, asked (-want +got):\n%s", got.status, got.body, d)
			}
		})
	}
}
