package relay_test

import (
	"context"
	"errors"
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
	"github.com/vault-stepup/stepup/cache"
)

const denied = `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}` + "\n"

// prodRule guards kv/data/prod/*.
func prodRule(t *testing.T) func(*relay.Config) {
	t.Helper()
	p, err := rule.ParsePattern("kv/data/prod/*")
	if err != nil {
		t.Fatal(err)
	}
	rules := rule.Rules{{Name: "prod", Paths: []rule.Pattern{p}, Methods: []string{"totp"}, Grant: rule.Grant{Kind: rule.HeaderGrant}}}
	return func(c *relay.Config) { c.Rules, c.MaxKept = rules, 1000 }
}

// guardedVault answers 403 until a request brings every line of want.
func guardedVault(want ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !cmp.Equal(r.Header["X-Vault-Mfa"], want) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, denied)
			return
		}
		fmt.Fprintf(w, "%s %s %d", r.Method, r.RequestURI, len(body))
	}
}

// answerWith sends once with the given lines and judges by the status.
func answerWith(credentials ...mfa.Credential) func(rule.Match, stepup.Send) (*http.Response, mfa.Verdict) {
	return func(_ rule.Match, send stepup.Send) (*http.Response, mfa.Verdict) {
		resp, err := send(context.Background(), credentials, cache.Token{})
		if err != nil {
			return nil, mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: " + err.Error()}
		}
		if resp.StatusCode == http.StatusForbidden {
			return resp, mfa.Verdict{Outcome: mfa.Rejected, Message: "stepup: wrong"}
		}
		return resp, mfa.Verdict{Outcome: mfa.Approved}
	}
}

func TestStepUp(t *testing.T) {
	t.Parallel()
	right := answerWith(mfa.Credential{Method: "totp", Passcode: "1"}, mfa.Credential{Method: "okta"})
	no := func(rule.Match, stepup.Send) (*http.Response, mfa.Verdict) {
		return nil, mfa.Verdict{Outcome: mfa.Denied, Message: "stepup: no"}
	}
	withText := `{"errors":["1 error occurred:\n\t* permission denied\n\n","stepup: %s"]}` + "\n"
	tests := map[string]struct {
		method, path, token string
		body                string
		header              http.Header
		stepUp              func(rule.Match, stepup.Send) (*http.Response, mfa.Verdict)
		status              int
		want, outcome       string
		calls               []string
	}{
		"approved": {
			method: "GET", path: "/v1/kv/data/prod/db", token: "t", stepUp: right, status: 200,
			want: "GET /v1/kv/data/prod/db 0", outcome: "approved",
			calls: []string{"first kv/data/prod/db", "step-up read kv/data/prod/db once=false token=t"},
		},
		"raw path, body twice": {
			method: "PUT", path: "/v1/kv/data/prod/a%2Fb/c?x=%zz", token: "t", body: strings.Repeat("b", 1000), stepUp: right, status: 200,
			want: "PUT /v1/kv/data/prod/a%2Fb/c?x=%zz 1000", outcome: "approved",
			calls: []string{"first kv/data/prod/a/b/c", "step-up update kv/data/prod/a/b/c once=false token=t"},
		},
		"large body is asked about first": {
			method: "POST", path: "/v1/kv/data/prod/db", token: "t", body: strings.Repeat("b", 1001), stepUp: right, status: 200,
			want: "POST /v1/kv/data/prod/db 1001", outcome: "approved",
			calls: []string{"step-up update kv/data/prod/db once=true token=t"},
		},
		"large body, no": {
			method: "POST", path: "/v1/kv/data/prod/db", token: "t", body: strings.Repeat("b", 1001), stepUp: no, status: 403,
			want: `{"errors":["stepup: no"]}` + "\n", outcome: "denied",
			calls: []string{"step-up update kv/data/prod/db once=true token=t"},
		},
		"large body, not a matter of mfa": {
			method: "POST", path: "/v1/kv/data/prod/db", token: "t", body: strings.Repeat("b", 1001), status: 403, want: denied,
			calls: []string{"step-up update kv/data/prod/db once=true token=t"},
		},
		"denied": {
			method: "GET", path: "/v1/kv/data/prod/db", token: "t", stepUp: no, status: 403,
			want: fmt.Sprintf(withText, "no"), outcome: "denied",
			calls: []string{"first kv/data/prod/db", "step-up read kv/data/prod/db once=false token=t"},
		},
		"wrong codes": {
			method: "GET", path: "/v1/kv/data/prod/db", token: "t", stepUp: answerWith(mfa.Credential{Method: "totp", Passcode: "2"}), status: 403,
			want: fmt.Sprintf(withText, "wrong"), outcome: "rejected",
			calls: []string{"first kv/data/prod/db", "step-up read kv/data/prod/db once=false token=t"},
		},
		"an ordinary 403": {
			method: "GET", path: "/v1/kv/data/prod/db", token: "t", status: 403, want: denied,
			calls: []string{"first kv/data/prod/db", "step-up read kv/data/prod/db once=false token=t"},
		},
		"no rule":      {method: "GET", path: "/v1/kv/data/dev/db", token: "t", stepUp: right, status: 403, want: denied},
		"no token":     {method: "GET", path: "/v1/kv/data/prod/db", stepUp: right, status: 403, want: denied},
		"bearer token": {method: "GET", path: "/v1/kv/data/prod/db", header: http.Header{"Authorization": {"Bearer b"}}, stepUp: right, status: 200, want: "GET /v1/kv/data/prod/db 0", outcome: "approved", calls: []string{"first kv/data/prod/db", "step-up read kv/data/prod/db once=false token=b"}},
		"own factor":   {method: "GET", path: "/v1/kv/data/prod/db", token: "t", header: http.Header{"X-Vault-Mfa": {"totp:9"}}, stepUp: right, status: 403, want: denied},
		"inline auth":  {method: "GET", path: "/v1/kv/data/prod/db", token: "t", header: http.Header{"X-Vault-Inline-Auth-Path": {"auth/x/login"}}, stepUp: right, status: 403, want: denied},
		"head":         {method: "HEAD", path: "/v1/kv/data/prod/db", token: "t", stepUp: right, status: 403},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, upstream(t, guardedVault("totp:1", "okta")), prodRule(t))
			f.resolver.stepUp = tt.stepUp
			req, err := http.NewRequest(tt.method, f.url+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range tt.header {
				req.Header[k] = v
			}
			if tt.token != "" {
				req.Header.Set("X-Vault-Token", tt.token)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.status || string(body) != tt.want {
				t.Errorf("answer %d %q, %v; want %d %q", resp.StatusCode, body, err, tt.status, tt.want)
			}
			if got := resp.Header.Get(relay.Outcome); got != tt.outcome {
				t.Errorf("outcome %q, want %q", got, tt.outcome)
			}
			if d := cmp.Diff(tt.calls, f.resolver.noted()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNoStepUpForOther403s(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"dead token":    `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`,
		"a firewall's":  "<html>Forbidden</html>",
		"a long one":    `{"errors":["permission denied"],"x":"` + strings.Repeat("x", 100<<10) + `"}`,
		"empty":         "",
		"other objects": `{"error":"forbidden"}`,
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusForbidden)
				_, _ = io.WriteString(w, text)
			})
			f := newFixture(t, address, prodRule(t))
			req, _ := http.NewRequest("GET", f.url+"/v1/kv/data/prod/db", nil)
			req.Header.Set("X-Vault-Token", "t")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != 403 || string(body) != text || resp.Header.Get(relay.Outcome) != "" {
				t.Errorf("answer changed: %d %.100q", resp.StatusCode, body)
			}
			if calls := f.resolver.noted(); len(calls) != 1 {
				t.Errorf("calls = %v", calls)
			}
		})
	}
}

// First may end a step-up by itself: a push is decided by Vault's first answer.
func TestFirstDecides(t *testing.T) {
	t.Parallel()
	address := upstream(t, guardedVault())
	tests := map[string]struct {
		first   func(stepup.Send) (*http.Response, mfa.Verdict, error)
		status  int
		want    string
		outcome string
	}{
		"approved on the phone": {func(send stepup.Send) (*http.Response, mfa.Verdict, error) {
			resp, err := send(context.Background(), nil, cache.Token{})
			return resp, mfa.Verdict{Outcome: mfa.Approved}, err
		}, 200, "GET /v1/kv/data/prod/db 0", "approved"},
		"cooling down, nothing sent": {func(stepup.Send) (*http.Response, mfa.Verdict, error) {
			return nil, mfa.Verdict{Outcome: mfa.Cooldown, Message: "stepup: wait"}, nil
		}, 403, `{"errors":["stepup: wait"]}` + "\n", "cooldown"},
		"vault is gone": {func(stepup.Send) (*http.Response, mfa.Verdict, error) {
			return nil, mfa.Verdict{}, errors.New("connection refused")
		}, 502, `{"errors":["stepup: vault \"corp\" cannot be reached: connection refused"]}` + "\n", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, address, prodRule(t))
			f.resolver.first = tt.first
			req, _ := http.NewRequest("GET", f.url+"/v1/kv/data/prod/db", nil)
			req.Header.Set("X-Vault-Token", "t")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != tt.status || string(body) != tt.want || resp.Header.Get(relay.Outcome) != tt.outcome {
				t.Errorf("answer %d %q %q", resp.StatusCode, body, resp.Header.Get(relay.Outcome))
			}
		})
	}
}

// The app's departure must reach the prompt: nobody is asked for nobody.
func TestAppLeaves(t *testing.T) {
	t.Parallel()
	f := newFixture(t, upstream(t, guardedVault("x")), prodRule(t))
	ended := make(chan error, 1)
	asked := make(chan struct{})
	f.resolver.stepUp = func(rule.Match, stepup.Send) (*http.Response, mfa.Verdict) {
		close(asked)
		<-f.resolver.context.Done()
		ended <- f.resolver.context.Err()
		return nil, mfa.Verdict{Outcome: mfa.Unavailable}
	}
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "GET", f.url+"/v1/kv/data/prod/db", nil)
	req.Header.Set("X-Vault-Token", "t")
	go func() { <-asked; cancel() }()
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
		t.Fatal("request was answered")
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("prompt ended with %v", err)
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	active := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.RequestURI, r.Header.Get("X-Vault-Token"), body)
	})
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(tls.Close)
	tests := map[string]struct {
		location string
		code     int
		body     string
		status   int
		want     string
	}{
		"to the active node":    {active + "/v1/kv/a%2Fb?x=1", 307, "", 200, "PUT /v1/kv/a%2Fb?x=1 t "},
		"permanent, with body":  {active + "/v1/x", 308, "data", 200, "PUT /v1/x t data"},
		"websocket scheme":      {"ws" + strings.TrimPrefix(active, "http") + "/v1/sys/events", 307, "", 200, "PUT /v1/sys/events t "},
		"relative":              {"/done", 307, "", 200, "arrived"},
		"for ever":              {"/again", 307, "", 502, "too many redirects"},
		"http to https":         {tls.URL + "/v1/x", 307, "", 502, "http and https do not mix"},
		"nowhere":               {"", 307, "", 502, "its location cannot be used"},
		"unusable":              {"http://[::1/", 307, "", 502, "its location cannot be used"},
		"body was not kept":     {active + "/v1/x", 307, strings.Repeat("b", 5000), 502, "too large to be sent again"},
		"user and password off": {strings.Replace(active, "://", "://u:p@", 1) + "/v1/x", 307, "", 200, "PUT /v1/x t "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			standby := upstream(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/done" {
					_, _ = io.WriteString(w, "arrived")
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				if tt.location != "" {
					w.Header().Set("Location", tt.location)
				}
				w.WriteHeader(tt.code)
			})
			f := newFixture(t, standby, func(c *relay.Config) { c.MaxKept = 1000 })
			req, _ := http.NewRequest("PUT", f.url+"/v1/x", strings.NewReader(tt.body))
			req.Header.Set("X-Vault-Token", "t")
			client := http.Client{Transport: client.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the app saw a redirect") }}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != tt.status || !strings.Contains(string(body), tt.want) {
				t.Errorf("answer %d %s", resp.StatusCode, body)
			}
		})
	}
}

// A connection that Vault (or a load balancer) closes instead of answering must
// not make net/http repeat the request by itself: that would be a second push,
// or a code that is sent twice.
func TestSentOnceOverABrokenConnection(t *testing.T) {
	t.Parallel()
	for name, header := range map[string]string{"GET": "", "DELETE": "Idempotency-Key", "POST": "Idempotency-Key", "LIST": "X-Idempotency-Key"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sentOnce(t, name, header)
		})
	}
}

// sentOnce has Vault break the connection of a request without a body. Such a
// header, too, has net/http repeat it.
func sentOnce(t *testing.T, method, header string) {
	t.Helper()
	var mu sync.Mutex
	seen := map[string]int{}
	address := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.URL.Path]++
		mu.Unlock()
		if r.URL.Path != "/v1/kv/data/prod/db" {
			return
		}
		if header != "" && r.Header.Get(header) != "key" {
			t.Errorf("vault got the headers %v", r.Header)
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	})
	f := newFixture(t, address, prodRule(t))
	for _, path := range []string{"/v1/warm", "/v1/kv/data/prod/db"} {
		req, _ := http.NewRequest(method, f.url+path, nil)
		req.Header.Set("X-Vault-Token", "t")
		if header != "" {
			req.Header.Set(header, "key")
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	mu.Lock()
	defer mu.Unlock()
	if n := seen["/v1/kv/data/prod/db"]; n != 1 {
		t.Errorf("vault saw it %d times", n)
	}
}
