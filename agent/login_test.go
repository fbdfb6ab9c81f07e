package agent_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/prompt"
)

const peopleLogin = "/v1/auth/people/login/alice"

// people makes a login at auth/people that wants one of methods.
func people(t *testing.T, r *rig, methods ...string) {
	t.Helper()
	r.vault.AddUser("people", "alice", "pw", "prod")
	if err := r.vault.AddLoginEnforcement("people", methods, []string{"people"}); err != nil {
		t.Fatal(err)
	}
}

// validates counts the requests for sys/mfa/validate.
func validates(r *rig) (n int) {
	for _, sent := range r.vault.Requests() {
		if strings.HasSuffix(sent.RawPath, "/sys/mfa/validate") {
			n++
		}
	}
	return n
}

// The phone rings while a code can be typed, and whichever comes first logs in.
func TestPushOrCode(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		decide func(r *rig) // while the question is open
		typed  bool         // the person types the code then
		asked  int
	}{
		"code":               {typed: true, asked: 1},
		"push":               {decide: func(r *rig) { r.push.Approve() }, asked: 1},
		"refused, then code": {decide: func(r *rig) { r.push.Deny() }, asked: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			people(t, r, "corp", "phone")
			var mu sync.Mutex
			var messages []string
			r.person = func(ctx context.Context, q prompt.Request) (string, error) {
				mu.Lock()
				messages = append(messages, q.Message)
				first := len(messages) == 1
				mu.Unlock()
				if q.Kind != prompt.Passcode {
					return "", prompt.ErrDenied
				}
				if !first {
					return r.vault.UnusedCode("corp", "alice"), nil
				}
				if err := r.push.Wait(ctx); err != nil {
					return "", err
				}
				if tt.decide != nil {
					tt.decide(r)
				}
				if tt.typed {
					return r.vault.UnusedCode("corp", "alice"), nil
				}
				<-ctx.Done() // the question is closed by the phone
				return "", ctx.Err()
			}
			got := r.do(t, "POST", peopleLogin, `{"password":"pw"}`)
			if got.status != 200 || got.outcome != "approved" || !strings.Contains(got.body, `"client_token":"hvs.`) {
				t.Errorf("login: %+v", got)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(messages) != tt.asked || messages[0] != "type a code, or approve the push on your phone (phone, okta)" ||
				tt.asked == 2 && messages[1] != "the push was refused on the phone: type a code instead" {
				t.Errorf("asked %q", messages)
			}
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
	r := newRig(t)
	duo := r.vault.AddPushMethod("duo", "duo")
	duo.UsePasscode()
	duo.AcceptPasscodes("1234567")
	people(t, r, "duo")
	codes := []string{"7654321", "1234567"}
	var messages []string
	r.person = func(_ context.Context, q prompt.Request) (string, error) {
		messages = append(messages, q.Message)
		if q.Kind != prompt.Passcode || len(codes) == 0 {
			return "", prompt.ErrDenied
		}
		code := codes[0]
		codes = codes[1:]
		return code, nil
	}
	got := r.do(t, "POST", peopleLogin, `{"password":"pw"}`)
	if got.status != 200 || got.outcome != "approved" || duo.Sent() != 0 || validates(r) != 2 {
		t.Errorf("login: %+v after %d pushes", got, duo.Sent())
	}
	if want := []string{"", "wrong code, or one that was used: wait for the next one"}; !slices.Equal(messages, want) {
		t.Errorf("asked %q", messages)
	}
}

// The service behind a push is down: its own outcome, and Vault's words.
func TestOutageAtLogin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	people(t, r, "phone")
	r.push.Outage(`Get "https://corp.okta.com/api/v1/users": dial tcp: lookup corp.okta.com: no such host`, 0)
	got := r.do(t, "POST", peopleLogin, `{"password":"pw"}`)
	if got.status != 403 || got.outcome != "unavailable" || !strings.Contains(got.body, `stepup: vault cannot use the service behind the second factor: Get `) ||
		strings.Contains(got.body[strings.Index(got.body, "stepup:"):], "methodID") {
		t.Errorf("login: %+v", got)
	}
}

// An app that knows the single phase is left alone, however it names the method.
func TestAppsOwnFactor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.person = func(context.Context, prompt.Request) (string, error) { return "", errors.New("nobody is asked") }
	people(t, r, "corp")
	ns := r.vault.AddNamespace("ns1")
	id := ns.AddTOTPMethod("corp1")
	for _, user := range []string{"bob", "carol"} { // each has two codes, whatever the clock does in between
		ns.AddUser("people", user, "pw")
		if _, _, err := ns.EnrolTOTP("corp1", user); err != nil {
			t.Fatal(err)
		}
	}
	if err := ns.AddLoginEnforcement("people", []string{"corp1"}, []string{"people"}); err != nil {
		t.Fatal(err)
	}
	login := func(user, line string) reply {
		return r.do(t, "POST", "/v1/auth/people/login/"+user, `{"password":"pw"}`, "X-Vault-Namespace", "ns1", "X-Vault-Mfa", line)
	}
	for what, got := range map[string]reply{
		"name":                       r.do(t, "POST", peopleLogin, `{"password":"pw"}`, "X-Vault-Mfa", "corp:"+r.vault.UnusedCode("corp", "alice")),
		"name with its namespace":    login("bob", "ns1/corp1:"+ns.UnusedCode("corp1", "bob")),
		"id":                         login("bob", id+":"+ns.UnusedCode("corp1", "bob")),
		"id, in the longer spelling": login("carol", id+":passcode="+ns.UnusedCode("corp1", "carol")),
	} {
		if got.status != 200 || got.outcome != "" || !strings.Contains(got.body, `"client_token":"hvs.`) {
			t.Errorf("%s: %+v", what, got)
		}
	}
	if got := login("bob", "corp1:000000"); got.status != 403 || got.body != `{"errors":["permission denied"]}`+"\n" || got.outcome != "" {
		t.Errorf("a name without its namespace: %+v", got)
	}
}

// With single_phase the person is asked before the login is sent.
func TestSinglePhaseLogin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	people(t, r, "corp")
	ns := r.vault.AddNamespace("ns1")
	id := ns.AddTOTPMethod("corp1")
	ns.AddUser("people", "bob", "pw")
	if _, _, err := ns.EnrolTOTP("corp1", "bob"); err != nil {
		t.Fatal(err)
	}
	if err := ns.AddLoginEnforcement("people", []string{"corp1"}, []string{"people"}); err != nil {
		t.Fatal(err)
	}
	use := func(method string) {
		c := r.config
		c.Methods = append(slices.Clip(c.Methods), agent.Method{Name: method, Type: "totp"})
		c.LoginMFA.SinglePhaseMethods, c.LoginMFA.SinglePhaseMounts = []string{method}, []string{"auth/people"}
		if err := r.agent.Reload(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for _, method := range []string{"corp", "ns1/corp1", id} {
		use(method)
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
		got := r.do(t, "POST", "/v1/auth/people/login/"+user, `{"password":"pw"}`, header...)
		if got.status != 200 || got.outcome != "approved" || !strings.Contains(got.body, `"client_token":"hvs.`) {
			t.Errorf("%s: %+v", method, got)
		}
	}
	if n := validates(r); n != 0 {
		t.Errorf("%d logins were held", n)
	}
	// Nobody can be asked: Vault holds the login, and the app may know what to do.
	r.person = func(context.Context, prompt.Request) (string, error) { return "", prompt.ErrUnavailable }
	got := r.do(t, "POST", peopleLogin, `{"password":"pw"}`)
	if got.status != http.StatusOK || got.outcome != "unavailable" || !strings.Contains(got.body, "mfa_request_id") || !strings.Contains(got.body, "stepup: there is no way to ask") {
		t.Errorf("nobody there: %+v", got)
	}
}
