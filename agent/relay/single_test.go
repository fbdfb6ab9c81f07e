package relay_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

const (
	wantsInline  = `{"errors":["failed to perform inline authentication: unable to perform inline authentication with login MFA; use the X-Vault-MFA header to specify MFA information on the inline auth request"]}`
	refusedLogin = `{"errors":["permission denied"]}`
	unusedLogin  = `{"auth":{"client_token":"hvs.x"},"warnings":["Found MFA header but failed to find MFA Enforcement Config"]}`
)

// single plays the part of package resolve for logins with a factor of their own.
type single struct {
	verdict mfa.Verdict // given before anything is sent; the zero one sends

	mu    sync.Mutex
	calls []string
}

func (s *single) Covers(r rule.Request) bool { return rule.IsLogin(r, []string{"auth/userpass"}) }

func (s *single) LoginWith(ctx context.Context, r rule.Request, once bool, send stepup.Send) stepup.Decision {
	s.mu.Lock()
	s.calls = append(s.calls, r.Namespace+"/"+r.Path)
	s.mu.Unlock()
	if s.verdict.Outcome != "" {
		return decision(nil, s.verdict)
	}
	for _, code := range []string{"1", "2"} {
		resp, err := send(ctx, []mfa.Credential{{Method: "ns1/totp", Passcode: code}, {Method: "okta"}}, cache.Token{})
		if err != nil {
			return decision(nil, mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: " + err.Error()})
		}
		if resp.StatusCode != http.StatusForbidden {
			return decision(resp, mfa.Verdict{Outcome: mfa.Approved})
		}
		if once {
			return decision(resp, mfa.Verdict{Outcome: mfa.Rejected, Message: "stepup: once"})
		}
		_ = resp.Body.Close()
	}
	return decision(nil, mfa.Verdict{Outcome: mfa.Rejected, Message: "stepup: wrong"})
}

// A seen is what an upstream got.
type seen struct {
	mu       sync.Mutex
	requests []string
}

// server answers with the factor, without one, and to any other factor.
func (s *seen) server(with, without, wrong string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		lines := strings.Join(r.Header["X-Vault-Mfa"], "|")
		s.mu.Lock()
		s.requests = append(s.requests, lines+" "+string(body))
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		text, status := wrong, http.StatusForbidden
		switch {
		case lines == "":
			if text, status = without, http.StatusOK; strings.Contains(without, "errors") {
				status = http.StatusInternalServerError
			}
		case strings.HasPrefix(lines, "ns1/totp:2|okta"):
			text, status = with, http.StatusOK
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

func TestSinglePhase(t *testing.T) {
	t.Parallel()
	const password = `{"password":"p"}`
	for name, tt := range map[string]struct {
		path    string
		header  http.Header
		verdict mfa.Verdict
		with    string // the answer to the right factors
		maxKept int64
		status  int
		want    string // the answer
		outcome string
		sent    []string
		log     string
	}{
		"asked first": {
			path: "/v1/auth/userpass/login/alice", status: 200, want: `{"auth":{"client_token":"hvs.x"}}`, outcome: "approved",
			sent: []string{"ns1/totp:1|okta " + password, "ns1/totp:2|okta " + password},
		},
		"nothing wanted it": {
			path: "/v1/auth/userpass/login/alice", with: unusedLogin, status: 200, want: unusedLogin, outcome: "approved",
			sent: []string{"ns1/totp:1|okta " + password, "ns1/totp:2|okta " + password}, log: "limit single_phase_mounts",
		},
		"a wrapped answer stays wrapped": {
			path: "/v1/auth/userpass/login/alice", header: http.Header{"X-Vault-Wrap-Ttl": {"60s"}}, with: wrappedChallenge, status: 200, want: wrappedChallenge, outcome: "approved",
			sent: []string{"ns1/totp:1|okta " + password, "ns1/totp:2|okta " + password},
		},
		"an app with a factor of its own": {
			path: "/v1/auth/userpass/login/alice", header: http.Header{"X-Vault-Mfa": {"820997b3:9"}}, status: 403, want: refusedLogin,
			sent: []string{"820997b3:9 " + password},
		},
		"denied": {
			path: "/v1/auth/userpass/login/alice", verdict: mfa.Verdict{Outcome: mfa.Denied, Message: "stepup: no"}, status: 403, want: `{"errors":["stepup: no"]}` + "\n", outcome: "denied",
		},
		"nobody can be asked": {
			path: "/v1/auth/userpass/login/alice", verdict: mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: attach", NoPrompt: true},
			status: 200, want: `{"auth":{"client_token":"plain"}}`, sent: []string{" " + password},
		},
		"too large to be sent twice": {
			path: "/v1/auth/userpass/login/alice", maxKept: 4, status: 403, want: `{"errors":["permission denied","stepup: once"]}` + "\n", outcome: "rejected",
			sent: []string{"ns1/totp:1|okta " + password},
		},
		"another mount": {
			path: "/v1/auth/ldap/login/alice", status: 200, want: `{"auth":{"client_token":"plain"}}`, sent: []string{" " + password},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.with == "" {
				tt.with = `{"auth":{"client_token":"hvs.x"}}`
			}
			var vault seen
			f := newFixture(t, upstream(t, vault.server(tt.with, `{"auth":{"client_token":"plain"}}`, refusedLogin)), func(c *relay.Config) {
				play(c, &single{verdict: tt.verdict})
				c.MaxKept = tt.maxKept
				c.Unwrapper = unwrapper(func(secret.Secret, string) ([]byte, error) { return []byte(challenge), nil }) // must not be asked
			})
			resp, body := post(t, f.url+tt.path, tt.header)
			if resp.StatusCode != tt.status || body != tt.want || resp.Header.Get(relay.Outcome) != tt.outcome {
				t.Errorf("answer %d %q %s", resp.StatusCode, resp.Header.Get(relay.Outcome), body)
			}
			if d := cmp.Diff(tt.sent, vault.requests); d != "" {
				t.Error(d)
			}
			if log := f.log.String(); (tt.log != "") != strings.Contains(log, "asked about for nothing") || !strings.Contains(log, tt.log) {
				t.Errorf("log %s", log)
			}
		})
	}
}

// OpenBao logs in inside the request; the person is asked once it says that this
// login needs a factor, and the request is sent again.
func TestInlineLogin(t *testing.T) {
	t.Parallel()
	const secret = `{"data":{"a":"b"}}`
	for name, tt := range map[string]struct {
		header  http.Header
		without string // the answer without a factor
		verdict mfa.Verdict
		maxKept int64
		off     bool
		status  int
		want    string
		outcome string
		asked   []string
		sent    int
	}{
		"asked when OpenBao wants it": {without: wantsInline, status: 200, want: secret, outcome: "approved", asked: []string{"ns1/auth/userpass/login/alice"}, sent: 3},
		"in a namespace of its own": {
			header: http.Header{"X-Vault-Inline-Auth-Namespace": {"ns2/"}}, without: wantsInline, status: 200, want: secret, outcome: "approved", asked: []string{"ns2/auth/userpass/login/alice"}, sent: 3,
		},
		"no factor is wanted":       {without: secret, status: 200, want: secret, sent: 1},
		"another error":             {without: `{"errors":["failed to perform inline authentication: invalid username or password"]}`, status: 500, want: `{"errors":["failed to perform inline authentication: invalid username or password"]}`, sent: 1},
		"another mount":             {header: http.Header{"X-Vault-Inline-Auth-Path": {"auth/jwt/login"}}, without: wantsInline, status: 500, want: wantsInline, sent: 1},
		"not configured":            {off: true, without: wantsInline, status: 500, want: wantsInline, sent: 1},
		"a factor of the app's own": {header: http.Header{"X-Vault-Mfa": {"ns1/totp:2|okta"}}, without: wantsInline, status: 200, want: secret, sent: 1},
		"a no is no 5xx": {
			without: wantsInline, verdict: mfa.Verdict{Outcome: mfa.Denied, Message: "stepup: no"}, status: 403, outcome: "denied",
			want: strings.Replace(wantsInline, `"]`, `","stepup: no"]`, 1) + "\n", asked: []string{"ns1/auth/userpass/login/alice"}, sent: 1,
		},
		"too large to be sent again": {
			without: wantsInline, maxKept: 4, status: 403, outcome: "unavailable", sent: 1,
			want: strings.Replace(wantsInline, `"]`, `","stepup: the request is too large to be sent again with a second factor; send X-Vault-MFA with it"]`, 1) + "\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var vault seen
			resolver := &single{verdict: tt.verdict}
			f := newFixture(t, upstream(t, vault.server(secret, tt.without, `{"errors":["failed to perform inline authentication: permission denied"]}`)), func(c *relay.Config) {
				if c.MaxKept = tt.maxKept; !tt.off {
					play(c, resolver)
				}
			})
			header := http.Header{"X-Vault-Namespace": {"ns1"}, "X-Vault-Inline-Auth-Path": {"auth/userpass/login/alice"}}
			for k, v := range tt.header {
				header[k] = v
			}
			resp, body := post(t, f.url+"/v1/kv/data/a", header)
			if resp.StatusCode != tt.status || body != tt.want || resp.Header.Get(relay.Outcome) != tt.outcome {
				t.Errorf("answer %d %q %s", resp.StatusCode, resp.Header.Get(relay.Outcome), body)
			}
			if d := cmp.Diff(tt.asked, resolver.calls); d != "" {
				t.Error(d)
			}
			if len(vault.requests) != tt.sent {
				t.Errorf("sent %q", vault.requests)
			}
		})
	}
}
