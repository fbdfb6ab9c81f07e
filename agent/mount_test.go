package agent_test

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/prompt"
)

// A mountFixture is a fixture with an Okta mount and an LDAP mount with legacy Duo.
type mountFixture struct {
	*fixture
	okta *devvault.Okta
	duo  *devvault.LegacyDuo
	told chan prompt.Request
}

// newMountFixture has a person who types answers, one after the other, and is told of
// pushes.
func newMountFixture(t *testing.T, answers ...string) *mountFixture {
	t.Helper()
	r := &mountFixture{fixture: newFixture(t), told: make(chan prompt.Request, 16)}
	r.okta, r.duo = r.vault.AddOkta("team/okta"), r.vault.AddLegacyDuo("ldap")
	r.duo.Codes("135790")
	r.vault.AddUser("team/okta", "alice", "pw", "prod")
	r.vault.AddUser("ldap", "alice", "pw", "prod")
	told, typed := sees(r.told), types(answers...)
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		if q.Kind == prompt.Push {
			return told(ctx, q)
		}
		return typed(ctx, q)
	}
	r.config.LoginMFA.OktaMounts, r.config.LoginMFA.LegacyMounts = []string{"auth/team/okta"}, []string{"auth/ldap"}
	r.reload(t, r.config)
	return r
}

// later does a request beside the test.
func (r *mountFixture) later(t *testing.T, path, body string, header ...string) <-chan reply {
	return later(func() reply { return r.do(t, "PUT", path, body, header...) })
}

// tells waits for what the person is told that is meant, however much else they are told.
func (r *mountFixture) tells(t *testing.T, meant func(prompt.Request) bool) prompt.Request {
	t.Helper()
	for {
		if q := wait(t, r.told); meant(q) {
			return q
		}
	}
}

// number is a prompt with what the person is to tap.
func number(q prompt.Request) bool { return q.Number != "" }

// ringing waits until a phone rings.
func ringing(t *testing.T, p interface{ Wait(context.Context) error }) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must(t, p.Wait(ctx))
}

const (
	oktaLogin = "/v1/auth/team/okta/login/alice"
	ldapLogin = "/v1/auth/ldap/login/alice"
)

// A mountLogin is a login whose factor is in its body.
type mountLogin struct {
	body    string // pw if it is ""; a form where it is no JSON
	answers []string
	set     func(*mountFixture)
	want    reply // the outcome "*" depends on how fast the machine is
	asked   int   // how often for an answer
}

func (l mountLogin) run(t *testing.T, path string) {
	t.Parallel()
	r := newMountFixture(t, l.answers...)
	if l.set != nil {
		l.set(r)
	}
	header := []string{"Content-Type", "application/json"}
	if strings.HasPrefix(l.body, "password=") {
		header[1] = "application/x-www-form-urlencoded"
	}
	got := r.do(t, "POST", path, cmp.Or(l.body, pw), header...)
	if l.want.outcome == "*" {
		got.outcome = "*"
	}
	check(t, got, l.want)
	asked := slices.DeleteFunc(r.asked.Requests(), func(q prompt.Request) bool { return q.Kind == prompt.Push })
	if len(asked) != l.asked {
		t.Errorf("asked %d times, want %d", len(asked), l.asked)
	}
}

func TestOktaNumberChallenge(t *testing.T) {
	t.Parallel()
	r := newMountFixture(t)
	r.okta.Challenge(42)
	done := r.later(t, oktaLogin, pw)
	q := r.tells(t, number)
	if q.Number != "42" || q.Message != "tap 42 in Okta Verify" || q.Kind != prompt.Push || q.Path != "auth/team/okta/login/alice" {
		t.Errorf("told %+v", q)
	}
	ringing(t, r.okta)
	r.okta.Approve()
	check(t, <-done, reply{200, "client_token", "approved"})
	if r.okta.Sent() != 1 {
		t.Errorf("%d pushes", r.okta.Sent())
	}
	for _, sent := range r.vault.Requests() {
		if strings.Contains(sent.RawPath, "/verify/") && (sent.Header.Get("X-Vault-Token") != "" || sent.Method != "GET") {
			t.Errorf("the number was asked for by %s with a token", sent.Method)
		}
	}
}

func TestOktaInANamespace(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]struct {
		path   string
		header []string
	}{
		"in the path":   {"/v1/ns1/auth/team/okta/login/alice", nil},
		"in the header": {oktaLogin, []string{"X-Vault-Namespace", "ns1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newMountFixture(t)
			ns := r.vault.AddNamespace("ns1")
			okta := ns.AddOkta("team/okta")
			ns.AddUser("team/okta", "alice", "pw")
			okta.Challenge(7)
			done := r.later(t, at.path, pw, at.header...)
			if q := r.tells(t, number); q.Number != "7" {
				t.Errorf("told %+v", q)
			}
			ringing(t, okta)
			okta.Approve()
			check(t, <-done, reply{200, "", "approved"})
		})
	}
}

func TestOktaLogins(t *testing.T) {
	t.Parallel()
	for name, login := range map[string]mountLogin{
		"approved at once": {set: func(r *mountFixture) { r.okta.Always(true) }, want: reply{200, "client_token", "*"}},
		"wrong password":   {body: `{"password":"x"}`, want: reply{400, "okta authentication failed", ""}},
		"nonce of its own": {body: `{"password":"pw","nonce":"n"}`, set: func(r *mountFixture) { r.okta.Always(true) }, want: reply{200, "client_token", ""}},
		"a code": {
			set:     func(r *mountFixture) { r.okta.Enrol(false, "135790") },
			answers: []string{"135790"}, want: reply{200, "client_token", "approved"}, asked: 1,
		},
		"a code, with a nonce of its own": {
			body: `{"password":"pw","nonce":"n"}`, set: func(r *mountFixture) { r.okta.Enrol(false, "135790") },
			answers: []string{"135790"}, want: reply{200, "client_token", "approved"}, asked: 1,
		},
		"the second code": {
			set:     func(r *mountFixture) { r.okta.Enrol(false, "135790") },
			answers: []string{"000000", "135790"}, want: reply{200, "client_token", "approved"}, asked: 2,
		},
		"wrong codes to the end": {
			set:     func(r *mountFixture) { r.okta.Enrol(false, "135790") },
			answers: []string{"000000", "000001", "000002"}, want: reply{403, "stepup: vault did not accept the codes", "rejected"}, asked: 3,
		},
		"the same code twice": {
			set:     func(r *mountFixture) { r.okta.Enrol(false, "135790") },
			answers: []string{"000000", "000000", "135790"}, want: reply{200, "client_token", "approved"}, asked: 3,
		},
		"a no to the code": {
			set:     func(r *mountFixture) { r.okta.Enrol(false, "135790") },
			answers: []string{"no"}, want: reply{403, "stepup: the second factor was denied", "denied"}, asked: 1,
		},
		"nobody to ask for the code": {
			set:  func(r *mountFixture) { r.okta.Enrol(false, "135790") },
			want: reply{400, "'totp' passcode parameter is required to perform MFA\",\"stepup: there is no way", "unavailable"}, asked: 1,
		},
		"totp and provider of the app": {
			body: `{"password":"pw","totp":135790,"provider":"google"}`,
			set:  func(r *mountFixture) { r.okta.Enrol(false, "135790") }, want: reply{200, "client_token", "*"},
		},
		"not enrolled": {set: func(r *mountFixture) { r.okta.Enrol(false) }, want: reply{403, "enrol Okta Verify", "unavailable"}},
		"a form":       {body: "password=pw", set: func(r *mountFixture) { r.okta.Always(true) }, want: reply{200, "client_token", "*"}},
	} {
		t.Run(name, func(t *testing.T) { login.run(t, oktaLogin) })
	}
}

// An app with a nonce of its own shows the number itself: its login is not touched.
func TestOktaOwnNonceIsNotTouched(t *testing.T) {
	t.Parallel()
	r := newMountFixture(t)
	r.okta.Always(true)
	body := "{ \"nonce\":\"mine\",\n\"password\" : \"pw\" }"
	check(t, r.do(t, "POST", oktaLogin, body), reply{200, "", ""})
	for _, sent := range r.vault.Requests() {
		if strings.Contains(sent.RawPath, "/verify/") || strings.Contains(sent.RawPath, "/login/") && !bytes.Equal(sent.Body, []byte(body)) {
			t.Errorf("vault got %s with %q", sent.RawPath, sent.Body)
		}
	}
}

func TestOktaPushIsRefused(t *testing.T) {
	t.Parallel()
	r := newMountFixture(t)
	done := r.later(t, oktaLogin, pw)
	wait(t, r.told)
	ringing(t, r.okta)
	r.okta.Deny()
	got := <-done
	check(t, got, reply{403, `multi-factor authentication denied","stepup: the push was refused`, "denied"})
	// It cools down: to send it would be to push.
	if got := r.do(t, "PUT", oktaLogin, pw); got.status != 403 || got.outcome != "cooldown" || r.okta.Sent() != 1 {
		t.Errorf("%+v after %d pushes", got, r.okta.Sent())
	}
}
