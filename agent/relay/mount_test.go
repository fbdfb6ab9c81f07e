package relay_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache/secret"
)

// mounts plays the part of package resolve for logins with the factor in their body.
type mounts struct {
	mu    sync.Mutex
	calls []string
	at    func(ctx context.Context, l mfa.MountLogin, send stepup.SendLogin) (*http.Response, mfa.Verdict, error)
	renew func(*http.Response) (*http.Response, mfa.Verdict, error)
}

func (m *mounts) BodyLogin(ctx context.Context, l mfa.MountLogin, q rule.Request, send stepup.SendLogin) (stepup.Decision, error) {
	m.mu.Lock()
	m.calls = append(m.calls, fmt.Sprintf("%d %s %s", l.Kind, l.Mount, place(q)))
	m.mu.Unlock()
	if m.at != nil {
		resp, v, err := m.at(ctx, l, send)
		return decision(resp, v), err
	}
	resp, err := send(ctx, l.Body)
	return stepup.PassThrough{Response: resp}, err
}

func (m *mounts) Renew(ctx context.Context, subject secret.Secret, q rule.Request, send func(context.Context) (*http.Response, error)) (stepup.Decision, error) {
	m.mu.Lock()
	m.calls = append(m.calls, "renew "+subject.Reveal()+" "+place(q))
	m.mu.Unlock()
	resp, err := send(ctx)
	if err != nil || m.renew == nil {
		return stepup.PassThrough{Response: resp}, err
	}
	resp, v, err := m.renew(resp)
	return decision(resp, v), err
}

// place is where a request is, in words.
func place(q rule.Request) string {
	if q.Namespace == "" {
		return q.Path
	}
	return q.Path + " in " + q.Namespace
}

func (m *mounts) noted() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls
}

// newBodyFactorFixture is a relay with an Okta mount and a legacy one.
func newBodyFactorFixture(t *testing.T, address string, m *mounts) *fixture {
	return newFixture(t, address, func(c *relay.Config) {
		c.Mounts = relay.Mounts{Okta: []string{"auth/team/okta"}, Legacy: []string{"auth/ldap"}}
		play(c, m)
	})
}

// mirror answers with what it got.
func mirror(t *testing.T) string {
	return upstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %d %q %q", r.Method, r.RequestURI, r.ContentLength, r.TransferEncoding, body)
	})
}

func TestMountLoginIsFound(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		method, path, token, want string
	}{
		"okta":                           {"POST", "/v1/auth/team/okta/login/alice", "", "1 auth/team/okta auth/team/okta/login/alice"},
		"put":                            {"PUT", "/v1/auth/team/okta/login/alice", "", "1 auth/team/okta auth/team/okta/login/alice"},
		"with a token of before":         {"PUT", "/v1/auth/team/okta/login/alice", "t", "1 auth/team/okta auth/team/okta/login/alice"},
		"a user with slashes":            {"POST", "/v1/auth/team/okta/login/a/b", "", "1 auth/team/okta auth/team/okta/login/a/b"},
		"a user at a host":               {"POST", "/v1/auth/team/okta/login/a%40b.example", "", "1 auth/team/okta auth/team/okta/login/a@b.example"},
		"a user called login":            {"POST", "/v1/auth/ldap/login/login", "", "2 auth/ldap auth/ldap/login/login"},
		"in a namespace":                 {"POST", "/v1/ns1/ns2/auth/ldap/login/alice", "", "2 auth/ldap auth/ldap/login/alice in ns1/ns2"},
		"the name is in the body":        {"POST", "/v1/auth/ldap/login", "", "2 auth/ldap auth/ldap/login"},
		"okta has it in the path":        {"POST", "/v1/auth/team/okta/login", "", ""},
		"a secret of that name":          {"POST", "/v1/kv/data/auth/ldap/login/alice", "t", ""},
		"a read":                         {"GET", "/v1/auth/ldap/login/alice", "", ""},
		"a delete":                       {"DELETE", "/v1/auth/ldap/login/alice", "", ""},
		"another mount":                  {"POST", "/v1/auth/ldap2/login/alice", "", ""},
		"a mount that ends like it":      {"POST", "/v1/auth/xauth/ldap/login/alice", "", ""},
		"its configuration":              {"POST", "/v1/auth/ldap/config", "", ""},
		"a slash at the end":             {"POST", "/v1/auth/ldap/login/", "", ""},
		"the middle of another's login":  {"POST", "/v1/auth/ldap/users/login/x", "t", ""},
		"renewal of its own":             {"POST", "/v1/auth/token/renew-self", "tok", "renew tok auth/token/renew-self"},
		"renewal in a namespace":         {"PUT", "/v1/ns1/auth/token/renew-self", "tok", "renew tok auth/token/renew-self in ns1"},
		"renewal of another":             {"PUT", "/v1/auth/token/renew", "tok", "renew other auth/token/renew"},
		"renewal by accessor":            {"PUT", "/v1/auth/token/renew-accessor", "tok", "renew acc auth/token/renew-accessor"},
		"renewal without a token":        {"PUT", "/v1/auth/token/renew-self", "", ""},
		"a secret called like a renewal": {"PUT", "/v1/kv/data/auth/token/renew", "tok", ""},
		"a lookup":                       {"POST", "/v1/auth/token/lookup", "tok", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &mounts{}
			f := newBodyFactorFixture(t, mirror(t), m)
			const body = `{"token":"other", "accessor":"acc"}`
			req, err := http.NewRequestWithContext(t.Context(), tt.method, f.url+tt.path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if tt.token != "" {
				req.Header.Set("X-Vault-Token", tt.token)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			answer, _ := io.ReadAll(resp.Body)
			if want := fmt.Sprintf("%s %s %d [] %q", tt.method, tt.path, len(body), body); string(answer) != want {
				t.Errorf("vault got %s\nwant      %s", answer, want)
			}
			if got := strings.Join(m.noted(), "; "); got != tt.want {
				t.Errorf("resolver was asked %q, want %q", got, tt.want)
			}
		})
	}
}

// What cannot be read as a login goes as it came, with one line in the log.
func TestMountLoginThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"too large": `{"password":"` + strings.Repeat("x", 2<<20) + `"}`, "no object": `["p"]`, "cut off": `{"password":`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &mounts{}
			f := newBodyFactorFixture(t, mirror(t), m)
			resp, err := client.Post(f.url+"/v1/auth/ldap/login/alice", "application/json", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got, _ := io.ReadAll(resp.Body)
			if want := fmt.Sprintf("POST /v1/auth/ldap/login/alice %d [] %q", len(body), body); string(got) != want {
				t.Errorf("vault got %.80s, want %.80s", got, want)
			}
			if m.noted() != nil || strings.Count(f.log.String(), "relayed as it is") != 1 || strings.Contains(f.log.String(), "xxx") {
				t.Errorf("resolver %v, log %s", m.noted(), f.log)
			}
		})
	}
}

func TestMountLoginIsSentWithMore(t *testing.T) {
	t.Parallel()
	m := &mounts{at: func(ctx context.Context, l mfa.MountLogin, send stepup.SendLogin) (*http.Response, mfa.Verdict, error) {
		first, err := send(ctx, l.Body.With("passcode", "1"))
		if err != nil {
			return nil, mfa.Verdict{}, err
		}
		_ = first.Body.Close()
		resp, err := send(ctx, l.Body.With("method", "push"))
		return resp, mfa.Verdict{Outcome: mfa.Approved}, err
	}}
	f := newBodyFactorFixture(t, mirror(t), m)
	// In chunks, as some clients send it.
	req, _ := http.NewRequestWithContext(t.Context(), "POST", f.url+"/v1/auth/ldap/login/alice?x=%2f", io.MultiReader(strings.NewReader(`{"password":"p"}`)))
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, _ := io.ReadAll(resp.Body)
	const body = `{"method":"push","password":"p"}`
	want := fmt.Sprintf("POST /v1/auth/ldap/login/alice?x=%%2f %d [] %q", len(body), body)
	if string(got) != want || resp.Header.Get(relay.Outcome) != "approved" {
		t.Errorf("vault got %s, want %s; %v", got, want, resp.Header)
	}
}

// A standby that redirects says where the login is, while it is still going on.
func TestMountLoginKnowsItsNode(t *testing.T) {
	t.Parallel()
	active := mirror(t)
	standby := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, active+r.RequestURI, http.StatusTemporaryRedirect)
	})
	var nodes []string
	m := &mounts{at: func(ctx context.Context, l mfa.MountLogin, send stepup.SendLogin) (*http.Response, mfa.Verdict, error) {
		nodes = append(nodes, l.Node())
		resp, err := send(ctx, l.Body)
		nodes = append(nodes, l.Node())
		return resp, mfa.Verdict{}, err
	}}
	f := newBodyFactorFixture(t, standby, m)
	if _, body := post(t, f.url+"/v1/auth/ldap/login/alice", nil); !strings.Contains(body, "password") {
		t.Errorf("answer %s", body)
	}
	if d := cmp.Diff([]string{"", active}, nodes); d != "" {
		t.Error(d)
	}
}

func TestMountLoginAnswers(t *testing.T) {
	t.Parallel()
	const token, no = `{"warnings":null,"auth":{"client_token":"t"}}`, `{"errors":["denied"]}`
	tests := map[string]struct {
		status  int // of Vault; 0 sends nothing
		body    string
		verdict mfa.Verdict
		want    string
		code    int
	}{
		"nothing to do":           {200, token, mfa.Verdict{}, token, 200},
		"a refusal of Vault's":    {400, no, mfa.Verdict{}, no, 400},
		"approved":                {200, token, mfa.Verdict{Outcome: mfa.Approved}, token, 200},
		"denied":                  {400, no, mfa.Verdict{Outcome: mfa.Denied, Message: "stepup: x"}, `{"errors":["denied","stepup: x"]}` + "\n", 403},
		"cut short":               {504, "<html>", mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: x"}, `{"errors":["permission denied","stepup: x"]}` + "\n", 403},
		"cooling down":            {0, "", mfa.Verdict{Outcome: mfa.Cooldown, Message: "stepup: x"}, `{"errors":["stepup: x"]}` + "\n", 403},
		"nobody to ask":           {200, token, mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: x", NoPrompt: true}, `{"warnings":["stepup: x"],"auth":{"client_token":"t"}}`, 200},
		"nobody to ask, refused":  {400, no, mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: x", NoPrompt: true}, `{"errors":["denied","stepup: x"]}`, 400},
		"held for another factor": {200, challenge, mfa.Verdict{Outcome: mfa.Approved}, `{"errors":["stepup: held"]}` + "\n", 403},
		"held, and nobody to ask": {200, challenge, mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: x", NoPrompt: true}, `{"errors":["stepup: held"]}` + "\n", 403},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			m := &mounts{at: func(ctx context.Context, l mfa.MountLogin, send stepup.SendLogin) (*http.Response, mfa.Verdict, error) {
				if tt.status == 0 {
					return nil, tt.verdict, nil
				}
				resp, err := send(ctx, l.Body)
				return resp, tt.verdict, err
			}}
			f := newBodyFactorFixture(t, address, m)
			f.resolver.login = loginAnswer(0, "", mfa.Verdict{Outcome: mfa.Denied, Message: "stepup: held"})
			resp, body := post(t, f.url+"/v1/auth/team/okta/login/alice", nil)
			outcome := string(tt.verdict.Outcome)
			if strings.Contains(body, "held") {
				outcome = "denied"
			}
			if resp.StatusCode != tt.code || body != tt.want || resp.Header.Get(relay.Outcome) != outcome {
				t.Errorf("%d %s %s", resp.StatusCode, resp.Header.Get(relay.Outcome), body)
			}
		})
	}
}

func TestRenewalAnswers(t *testing.T) {
	t.Parallel()
	m := &mounts{renew: func(resp *http.Response) (*http.Response, mfa.Verdict, error) {
		if resp.StatusCode == 200 {
			return resp, mfa.Verdict{Outcome: mfa.Approved}, nil
		}
		return resp, mfa.Verdict{Outcome: mfa.Denied, Message: "stepup: x"}, nil
	}}
	for status, want := range map[int]string{200: `{"errors":["y"]}`, 400: `{"errors":["y","stepup: x"]}`} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"errors":["y"]}`)
		}))
		t.Cleanup(server.Close)
		f := newBodyFactorFixture(t, server.URL, m)
		resp, body := post(t, f.url+"/v1/auth/token/renew-self", http.Header{"X-Vault-Token": {"t"}})
		if resp.StatusCode != status || body != want || resp.Header.Get(relay.Outcome) == "" {
			t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
		}
	}
}

// Opening a wrapped answer may mean to log in again, for a batch token. That would ring
// once more.
func TestMountLoginIsNotDoneAgain(t *testing.T) {
	t.Parallel()
	m := &mounts{}
	sent := 0
	address := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		sent++
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, wrappedChallenge)
	})
	f := newFixture(t, address, func(c *relay.Config) {
		c.Mounts = relay.Mounts{Legacy: []string{"auth/ldap"}}
		play(c, m)
		c.Unwrapper = unwrapper(func(secret.Secret, string) ([]byte, error) { return []byte(`{"auth":{"client_token":"hvb.x"}}`), nil })
	})
	_, body := post(t, f.url+"/v1/auth/ldap/login/alice", http.Header{"X-Vault-Wrap-Ttl": {"60s"}})
	if body != wrappedChallenge || sent != 1 {
		t.Errorf("answer %s after %d requests", body, sent)
	}
}
