package relay_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
)

const (
	wantsInline  = `{"errors":["failed to perform inline authentication: unable to perform inline authentication with login MFA; use the X-Vault-MFA header to specify MFA information on the inline auth request"]}`
	refusedLogin = `{"errors":["permission denied"]}`
	unusedLogin  = `{"auth":{"client_token":"hvs.x"},"warnings":["Found MFA header but failed to find MFA Enforcement Config"]}`
	finalLogin   = `{"auth":{"client_token":"hvs.x"}}`
	plainLogin   = `{"auth":{"client_token":"plain"}}`
)

// single plays the part of package stepup for logins with a factor of their own.
type single struct {
	calls
	mounts  []string    // none covers no login
	verdict mfa.Verdict // given before anything is sent; the zero one sends
}

func (s *single) Covers(r rule.Request) bool { return s.mounts != nil && rule.IsLogin(r, s.mounts) }

func (s *single) LoginWith(ctx context.Context, r rule.Request, once bool, send stepup.Send) stepup.Decision {
	s.note("%s/%s", r.Namespace, r.Path)
	if s.verdict.Outcome != "" {
		return stepup.Refused{Verdict: s.verdict}
	}
	for _, code := range []string{"1", "2"} {
		resp, err := send(ctx, []mfa.Credential{{Method: "ns1/totp", Passcode: code}, {Method: "okta"}}, cache.Token{})
		if err != nil {
			return stepup.Refused{Verdict: mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: " + err.Error()}}
		}
		if resp.StatusCode != http.StatusForbidden {
			return stepup.Answered{Response: resp, Outcome: mfa.Approved}
		}
		if once {
			return stepup.Refused{Response: resp, Verdict: mfa.Verdict{Outcome: mfa.Rejected, Message: "stepup: once"}}
		}
		_ = resp.Body.Close()
	}
	return stepup.Refused{Verdict: mfa.Verdict{Outcome: mfa.Rejected, Message: "stepup: wrong"}}
}

// A factorVault notes each request, and has an answer to the right factors, to none, and
// to any other.
type factorVault struct {
	calls
	right, without, wrong string
}

func (v *factorVault) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	lines := strings.Join(r.Header["X-Vault-Mfa"], "|")
	v.note("%s %s", lines, body)
	switch {
	case lines == "" && strings.Contains(v.without, "errors"):
		answer(http.StatusInternalServerError, v.without)(w, r)
	case lines == "":
		answer(http.StatusOK, v.without)(w, r)
	case strings.HasPrefix(lines, "ns1/totp:2|okta"):
		answer(http.StatusOK, v.right)(w, r)
	default:
		answer(http.StatusForbidden, v.wrong)(w, r)
	}
}

func TestSinglePhase(t *testing.T) {
	t.Parallel()
	const login, password = "/v1/auth/userpass/login/alice", `{"password":"p"}`
	twice := []string{"ns1/totp:1|okta " + password, "ns1/totp:2|okta " + password}
	no := mfa.Verdict{Outcome: mfa.Denied, Message: "stepup: no"}
	type test struct {
		path    string
		header  []string
		verdict mfa.Verdict
		right   string // the answer to the right factors
		maxKept int64
		want    reply
		sent    []string
		log     string
	}
	each(t, map[string]test{
		"asked first":       {want: reply{200, finalLogin, "approved"}, sent: twice},
		"nothing wanted it": {right: unusedLogin, want: reply{200, unusedLogin, "approved"}, sent: twice, log: "limit single_phase_mounts"},
		"a wrapped answer stays wrapped": {
			header: []string{"X-Vault-Wrap-Ttl", "60s"}, right: wrappedChallenge, want: reply{200, wrappedChallenge, "approved"}, sent: twice,
		},
		"an app with a factor of its own": {header: []string{"X-Vault-Mfa", "820997b3:9"}, want: reply{403, refusedLogin, ""}, sent: []string{"820997b3:9 " + password}},
		"denied":                          {verdict: no, want: reply{403, `{"errors":["stepup: no"]}` + "\n", "denied"}},
		"no way to ask":                   {verdict: noPrompt, want: reply{200, plainLogin, ""}, sent: []string{" " + password}},
		"too large to be sent twice": {
			maxKept: 4, want: reply{403, `{"errors":["permission denied","stepup: once"]}` + "\n", "rejected"}, sent: twice[:1],
		},
		"another mount": {path: "/v1/auth/ldap/login/alice", want: reply{200, plainLogin, ""}, sent: []string{" " + password}},
	}, func(t *testing.T, tt test) {
		vault := factorVault{right: finalLogin, without: plainLogin, wrong: refusedLogin}
		if tt.right != "" {
			vault.right = tt.right
		}
		if tt.path == "" {
			tt.path = login
		}
		f := newFixture(t, upstream(t, vault.serve), func(c *relay.Config) {
			c.MaxKept = tt.maxKept
			play(c, &single{mounts: []string{"auth/userpass"}, verdict: tt.verdict})
			c.Unwrapper = opens(challenge) // must not be asked
		})
		equal(t, "answer", tt.want, f.logIn(t, tt.path, tt.header...))
		equal(t, "vault saw", tt.sent, vault.noted())
		if log := f.log.String(); (tt.log != "") != strings.Contains(log, "asked about for nothing") || !strings.Contains(log, tt.log) {
			t.Errorf("log %s", log)
		}
	})
}

// OpenBao logs in inside the request; the person is asked once it says that this
// login needs a factor, and the request is sent again.
func TestInlineLogin(t *testing.T) {
	t.Parallel()
	const secret, path, in = `{"data":{"a":"b"}}`, "auth/userpass/login/alice", "ns1/auth/userpass/login/alice"
	const wrongPassword = `{"errors":["failed to perform inline authentication: invalid username or password"]}`
	// As OpenBao 2.6.2 says it.
	const unreadable = `{"errors":["failed to perform inline authentication: failed raw url-safe base64 decoding header value"]}`
	const layered = `{"errors":["failed to perform inline authentication: cannot layer inline authentication with token authentication"]}`
	with := func(text string) string { return strings.Replace(wantsInline, `"]`, `","stepup: `+text+`"]`, 1) + "\n" }
	type test struct {
		header  []string
		path    string // of the login
		without string // the answer without a factor
		verdict mfa.Verdict
		maxKept int64
		off     bool
		want    reply
		asked   []string
		sent    int
		told    bool // the log says what would ask
	}
	each(t, map[string]test{
		"asked when OpenBao wants it": {without: wantsInline, want: reply{200, secret, "approved"}, asked: []string{in}, sent: 3},
		"in a namespace of its own": {
			header: []string{"X-Vault-Inline-Auth-Namespace", "ns2/"}, without: wantsInline, want: reply{200, secret, "approved"}, asked: []string{"ns2/" + path}, sent: 3,
		},
		"no factor is wanted":               {without: secret, want: reply{200, secret, ""}, sent: 1},
		"another error":                     {without: wrongPassword, want: reply{500, wrongPassword, ""}, sent: 1},
		"another mount":                     {path: "auth/jwt/login", without: wantsInline, want: reply{500, wantsInline, ""}, sent: 1, told: true},
		"not configured":                    {off: true, without: wantsInline, want: reply{500, wantsInline, ""}, sent: 1, told: true},
		"not configured, and another error": {off: true, without: wrongPassword, want: reply{500, wrongPassword, ""}, sent: 1},
		"a header that cannot be read":      {without: unreadable, want: reply{500, unreadable, ""}, sent: 1},
		"beside a token":                    {without: layered, want: reply{500, layered, ""}, sent: 1},
		"a factor of the app's own":         {header: []string{"X-Vault-Mfa", "ns1/totp:2|okta"}, without: wantsInline, want: reply{200, secret, ""}, sent: 1},
		"a no is no 5xx": {
			without: wantsInline, verdict: mfa.Verdict{Outcome: mfa.Denied, Message: "stepup: no"}, want: reply{403, with("no"), "denied"}, asked: []string{in}, sent: 1,
		},
		"too large to be sent again": {
			without: wantsInline, maxKept: 4, sent: 1,
			want: reply{403, with("the request is too large to be sent again with a second factor; send X-Vault-MFA with it"), "unavailable"},
		},
	}, func(t *testing.T, tt test) {
		vault := factorVault{right: secret, without: tt.without, wrong: `{"errors":["failed to perform inline authentication: permission denied"]}`}
		if tt.path == "" {
			tt.path = path
		}
		s := &single{mounts: []string{"auth/userpass"}, verdict: tt.verdict}
		if tt.off {
			s.mounts = nil
		}
		f := newFixture(t, upstream(t, vault.serve), func(c *relay.Config) {
			c.MaxKept = tt.maxKept
			play(c, s)
		})
		got := f.logIn(t, "/v1/kv/data/a", append([]string{"X-Vault-Namespace", "ns1", "X-Vault-Inline-Auth-Path", tt.path}, tt.header...)...)
		equal(t, "answer", tt.want, got)
		equal(t, "asked", tt.asked, s.noted())
		if len(vault.noted()) != tt.sent {
			t.Errorf("sent %q", vault.noted())
		}
		if told := strings.Contains(f.log.String(), "single_phase in login_mfa asks for it"); told != tt.told {
			t.Errorf("logged %q", f.log.String())
		}
	})
}
