package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/prompt"
)

// A mountRig is a rig with an Okta mount and an LDAP mount with legacy Duo.
type mountRig struct {
	*rig
	okta *devvault.Okta
	duo  *devvault.LegacyDuo
	told chan prompt.Request
}

// newMountRig has a person who types answers, one after the other, and is told of
// pushes.
func newMountRig(t *testing.T, answers ...string) *mountRig {
	t.Helper()
	r := &mountRig{rig: newRig(t), told: make(chan prompt.Request, 16)}
	r.okta, r.duo = r.vault.AddOkta("team/okta"), r.vault.AddLegacyDuo("ldap")
	r.vault.AddUser("team/okta", "alice", "pw", "prod")
	r.vault.AddUser("ldap", "alice", "pw", "prod")
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		if q.Kind == prompt.Push {
			r.told <- q
			<-ctx.Done()
			return "", ctx.Err()
		}
		if len(answers) == 0 {
			return "", prompt.ErrUnavailable
		}
		next := answers[0]
		answers = answers[1:]
		if next == "no" {
			return "", prompt.ErrDenied
		}
		return next, nil
	}
	r.config.LoginMFA.OktaMounts, r.config.LoginMFA.LegacyMounts = []string{"auth/team/okta"}, []string{"auth/ldap"}
	if err := r.agent.Reload(t.Context(), r.config); err != nil {
		t.Fatal(err)
	}
	return r
}

// later does a request beside the test.
func (r *mountRig) later(t *testing.T, path, body string, header ...string) <-chan reply {
	done := make(chan reply, 1)
	go func() { done <- r.do(t, "PUT", path, body, header...) }()
	return done
}

// hears waits for the next thing that the person is told.
func (r *mountRig) hears(t *testing.T) prompt.Request {
	t.Helper()
	select {
	case q := <-r.told:
		return q
	case <-time.After(30 * time.Second):
		t.Fatal("nobody was told")
		return prompt.Request{}
	}
}

// ringing waits until a phone rings.
func ringing(t *testing.T, p interface{ Wait(context.Context) error }) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		t.Fatal("no push was sent")
	}
}

// number is what the person is to tap, however often they are told before.
func (r *mountRig) number(t *testing.T) prompt.Request {
	t.Helper()
	for {
		if q := r.hears(t); q.Number != "" {
			return q
		}
	}
}

const (
	oktaLogin = "/v1/auth/team/okta/login/alice"
	ldapLogin = "/v1/auth/ldap/login/alice"
	pw        = `{"password":"pw"}`
)

func tokenOf(t *testing.T, r reply) string {
	t.Helper()
	var answer struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil || answer.Auth.Token == "" {
		t.Fatalf("no token: %+v, %v", r, err)
	}
	return answer.Auth.Token
}

func TestOktaNumberChallenge(t *testing.T) {
	t.Parallel()
	r := newMountRig(t)
	r.okta.Challenge(42)
	done := r.later(t, oktaLogin, pw)
	q := r.number(t)
	if q.Number != "42" || q.Message != "tap 42 in Okta Verify" || q.Kind != prompt.Push || q.Path != "auth/team/okta/login/alice" {
		t.Errorf("told %+v", q)
	}
	ringing(t, r.okta)
	r.okta.Approve()
	if got := <-done; got.status != 200 || got.outcome != "approved" || tokenOf(t, got) == "" {
		t.Errorf("%+v", got)
	}
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
			r := newMountRig(t)
			ns := r.vault.AddNamespace("ns1")
			okta := ns.AddOkta("team/okta")
			ns.AddUser("team/okta", "alice", "pw")
			okta.Challenge(7)
			done := r.later(t, at.path, pw, at.header...)
			if q := r.number(t); q.Number != "7" {
				t.Errorf("told %+v", q)
			}
			ringing(t, okta)
			okta.Approve()
			if got := <-done; got.status != 200 || got.outcome != "approved" {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestOktaLogins(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body    string
		answers []string
		set     func(*mountRig)
		want    reply // a body is what the answer contains; the outcome "*" depends on how fast the machine is
		asked   int
	}{
		"approved at once": {set: func(r *mountRig) { r.okta.Always(true) }, want: reply{200, "client_token", "*"}},
		"wrong password":   {body: `{"password":"x"}`, want: reply{400, "okta authentication failed", ""}},
		"nonce of its own": {body: `{"password":"pw","nonce":"n"}`, set: func(r *mountRig) { r.okta.Always(true) }, want: reply{200, "client_token", ""}},
		"a code": {
			set:     func(r *mountRig) { r.okta.Enrol(false, "135790") },
			answers: []string{"135790"}, want: reply{200, "client_token", "approved"}, asked: 1,
		},
		"a code, with a nonce of its own": {
			body: `{"password":"pw","nonce":"n"}`, set: func(r *mountRig) { r.okta.Enrol(false, "135790") },
			answers: []string{"135790"}, want: reply{200, "client_token", "approved"}, asked: 1,
		},
		"the second code": {
			set:     func(r *mountRig) { r.okta.Enrol(false, "135790") },
			answers: []string{"000000", "135790"}, want: reply{200, "client_token", "approved"}, asked: 2,
		},
		"wrong codes to the end": {
			set:     func(r *mountRig) { r.okta.Enrol(false, "135790") },
			answers: []string{"000000", "000001", "000002"}, want: reply{403, "stepup: vault did not accept the codes", "rejected"}, asked: 3,
		},
		"the same code twice": {
			set:     func(r *mountRig) { r.okta.Enrol(false, "135790") },
			answers: []string{"000000", "000000", "135790"}, want: reply{200, "client_token", "approved"}, asked: 3,
		},
		"a no to the code": {
			set:     func(r *mountRig) { r.okta.Enrol(false, "135790") },
			answers: []string{"no"}, want: reply{403, "stepup: the second factor was denied", "denied"}, asked: 1,
		},
		"nobody to ask for the code": {
			set:  func(r *mountRig) { r.okta.Enrol(false, "135790") },
			want: reply{400, "'totp' passcode parameter is required to perform MFA\",\"stepup: there is no way", "unavailable"}, asked: 1,
		},
		"totp and provider of the app": {
			body: `{"password":"pw","totp":135790,"provider":"google"}`,
			set:  func(r *mountRig) { r.okta.Enrol(false, "135790") }, want: reply{200, "client_token", "*"},
		},
		"not enrolled": {set: func(r *mountRig) { r.okta.Enrol(false) }, want: reply{403, "enrol Okta Verify", "unavailable"}},
		"a form":       {body: "password=pw", set: func(r *mountRig) { r.okta.Always(true) }, want: reply{200, "client_token", "*"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newMountRig(t, tt.answers...)
			if tt.set != nil {
				tt.set(r)
			}
			body, header := tt.body, []string(nil)
			if body == "" {
				body = pw
			} else if !strings.HasPrefix(body, "{") {
				header = []string{"Content-Type", "application/x-www-form-urlencoded"}
			}
			got := r.do(t, "POST", oktaLogin, body, header...)
			if tt.want.outcome == "*" {
				tt.want.outcome = got.outcome
			}
			if got.status != tt.want.status || got.outcome != tt.want.outcome || !strings.Contains(got.body, tt.want.body) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
			asked := 0
			for _, q := range r.asked.Requests() {
				if q.Kind != prompt.Push {
					asked++
				}
			}
			if asked != tt.asked {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}

// An app with a nonce of its own shows the number itself: its login is not touched.
func TestOktaOwnNonceIsNotTouched(t *testing.T) {
	t.Parallel()
	r := newMountRig(t)
	r.okta.Always(true)
	body := "{ \"nonce\":\"mine\",\n\"password\" : \"pw\" }"
	if got := r.do(t, "POST", oktaLogin, body); got.status != 200 {
		t.Errorf("%+v", got)
	}
	for _, sent := range r.vault.Requests() {
		if strings.Contains(sent.RawPath, "/verify/") || strings.Contains(sent.RawPath, "/login/") && !bytes.Equal(sent.Body, []byte(body)) {
			t.Errorf("vault got %s with %q", sent.RawPath, sent.Body)
		}
	}
}

func TestOktaPushIsRefused(t *testing.T) {
	t.Parallel()
	r := newMountRig(t)
	done := r.later(t, oktaLogin, pw)
	r.hears(t)
	ringing(t, r.okta)
	r.okta.Deny()
	got := <-done
	if got.status != 403 || got.outcome != "denied" || !strings.Contains(got.body, `multi-factor authentication denied","stepup: the push was refused`) {
		t.Errorf("%+v", got)
	}
	// It cools down: to send it would be to push.
	if got := r.do(t, "PUT", oktaLogin, pw); got.status != 403 || got.outcome != "cooldown" || r.okta.Sent() != 1 {
		t.Errorf("%+v after %d pushes", got, r.okta.Sent())
	}
}
