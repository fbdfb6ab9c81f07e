package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
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
func prodRule(c *relay.Config) {
	c.Rules = rule.Rules{{Name: "prod", Paths: patterns("kv/data/prod/*"), Methods: []string{"totp"}, Grant: rule.Grant{Kind: rule.HeaderGrant}}}
	c.MaxKept = 1000
}

// guardedVault answers 403 until a request brings every line of want.
func guardedVault(want ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !cmp.Equal(r.Header["X-Vault-Mfa"], want) {
			answer(403, denied)(w, r)
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
	const secret = "kv/data/prod/db"
	right := answerWith(mfa.Credential{Method: "totp", Passcode: "1"}, mfa.Credential{Method: "okta"})
	wrong := answerWith(mfa.Credential{Method: "totp", Passcode: "2"})
	no := func(rule.Match, stepup.Send) (*http.Response, mfa.Verdict) {
		return nil, mfa.Verdict{Outcome: mfa.Denied, Message: "stepup: no"}
	}
	with := func(text string) string {
		return `{"errors":["1 error occurred:\n\t* permission denied\n\n","stepup: ` + text + `"]}` + "\n"
	}
	token, large := []string{"X-Vault-Token", "t"}, strings.Repeat("b", 1001)
	read := []string{"first " + secret, "step-up read " + secret + " once=false token=t"}
	asked := []string{"step-up update " + secret + " once=true token=t"} // before it was sent
	untouched, done := reply{403, denied, ""}, reply{200, "GET /v1/kv/data/prod/db 0", "approved"}
	type test struct {
		request, body string
		header        []string
		stepUp        func(rule.Match, stepup.Send) (*http.Response, mfa.Verdict)
		want          reply
		calls         []string
	}
	tests := map[string]test{
		"approved": {"GET /v1/kv/data/prod/db", "", token, right, done, read},
		"raw path, body twice": {
			"PUT /v1/kv/data/prod/a%2Fb/c?x=%zz", strings.Repeat("b", 1000), token, right, reply{200, "PUT /v1/kv/data/prod/a%2Fb/c?x=%zz 1000", "approved"},
			[]string{"first kv/data/prod/a/b/c", "step-up update kv/data/prod/a/b/c once=false token=t"},
		},
		"large body is asked about first": {"POST /v1/kv/data/prod/db", large, token, right, reply{200, "POST /v1/kv/data/prod/db 1001", "approved"}, asked},
		"large body, no":                  {"POST /v1/kv/data/prod/db", large, token, no, reply{403, `{"errors":["stepup: no"]}` + "\n", "denied"}, asked},
		"large body, not a matter of mfa": {"POST /v1/kv/data/prod/db", large, token, nil, untouched, asked},
		"denied":                          {"GET /v1/kv/data/prod/db", "", token, no, reply{403, with("no"), "denied"}, read},
		"wrong codes":                     {"GET /v1/kv/data/prod/db", "", token, wrong, reply{403, with("wrong"), "rejected"}, read},
		"an ordinary 403":                 {"GET /v1/kv/data/prod/db", "", token, nil, untouched, read},
		"no rule":                         {"GET /v1/kv/data/dev/db", "", token, right, untouched, nil},
		"no token":                        {"GET /v1/kv/data/prod/db", "", nil, right, untouched, nil},
		"bearer token": {
			"GET /v1/kv/data/prod/db", "", []string{"Authorization", "Bearer b"}, right, done, []string{read[0], "step-up read " + secret + " once=false token=b"},
		},
		"own factor":  {"GET /v1/kv/data/prod/db", "", append(token, "X-Vault-Mfa", "totp:9"), right, untouched, nil},
		"inline auth": {"GET /v1/kv/data/prod/db", "", append(token, "X-Vault-Inline-Auth-Path", "auth/x/login"), right, untouched, nil},
		"head":        {"HEAD /v1/kv/data/prod/db", "", token, right, reply{403, "", ""}, nil},
	}
	each(t, tests, func(t *testing.T, tt test) {
		f := newFixture(t, upstream(t, guardedVault("totp:1", "okta")), prodRule)
		f.resolver.stepUp = tt.stepUp
		equal(t, "answer", tt.want, f.send(t, tt.request, tt.body, tt.header...))
		equal(t, "calls", tt.calls, f.resolver.noted())
	})
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
	each(t, tests, func(t *testing.T, text string) {
		f := newFixture(t, upstream(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, text)
		}), prodRule)
		equal(t, "answer", reply{403, text, ""}, f.send(t, "GET /v1/kv/data/prod/db", "", "X-Vault-Token", "t"))
		equal(t, "calls", []string{"first kv/data/prod/db"}, f.resolver.noted())
	})
}

// First may end a step-up by itself: a push is decided by Vault's first answer.
func TestFirstDecides(t *testing.T) {
	t.Parallel()
	address := upstream(t, guardedVault())
	type test struct {
		sends   bool
		verdict mfa.Verdict
		err     error
		want    reply
	}
	tests := map[string]test{
		"approved on the phone":      {true, mfa.Verdict{Outcome: mfa.Approved}, nil, reply{200, "GET /v1/kv/data/prod/db 0", "approved"}},
		"cooling down, nothing sent": {false, mfa.Verdict{Outcome: mfa.Cooldown, Message: "stepup: wait"}, nil, reply{403, `{"errors":["stepup: wait"]}` + "\n", "cooldown"}},
		"vault is gone":              {false, mfa.Verdict{}, errors.New("connection refused"), reply{502, `{"errors":["stepup: vault \"corp\" cannot be reached: connection refused"]}` + "\n", ""}},
	}
	each(t, tests, func(t *testing.T, tt test) {
		f := newFixture(t, address, prodRule)
		f.resolver.first = func(send stepup.Send) (*http.Response, mfa.Verdict, error) {
			if !tt.sends {
				return nil, tt.verdict, tt.err
			}
			resp, err := send(context.Background(), nil, cache.Token{})
			return resp, tt.verdict, err
		}
		equal(t, "answer", tt.want, f.send(t, "GET /v1/kv/data/prod/db", "", "X-Vault-Token", "t"))
	})
}

// The app's departure must reach the prompt: no question outlives its request.
func TestAppLeaves(t *testing.T) {
	t.Parallel()
	f := newFixture(t, upstream(t, guardedVault("x")), prodRule)
	ended := make(chan error, 1)
	asked := make(chan struct{})
	f.resolver.stepUp = func(rule.Match, stepup.Send) (*http.Response, mfa.Verdict) {
		close(asked)
		<-f.resolver.context.Done()
		ended <- f.resolver.context.Err()
		return nil, mfa.Verdict{Outcome: mfa.Unavailable}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := f.request(t, "GET /v1/kv/data/prod/db", nil, "X-Vault-Token", "t")
	go func() { <-asked; cancel() }()
	if resp, err := client.Do(r.WithContext(ctx)); err == nil {
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
	type test struct {
		location string
		code     int
		body     string
		status   int
		want     string
	}
	tests := map[string]test{
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
	each(t, tests, func(t *testing.T, tt test) {
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
		if got := f.send(t, "PUT /v1/x", tt.body, "X-Vault-Token", "t"); got.Status != tt.status || !strings.Contains(got.Body, tt.want) {
			t.Errorf("answer %+v", got)
		}
	})
}

// A connection that Vault (or a load balancer) closes instead of answering must
// not make net/http repeat the request by itself: that would be a second push,
// or a code that is sent twice.
func TestSentOnceOverABrokenConnection(t *testing.T) {
	t.Parallel()
	// With such a header net/http repeats what has no body, whatever its method.
	for method, header := range map[string]string{"GET": "X-None", "DELETE": "Idempotency-Key", "POST": "Idempotency-Key", "LIST": "X-Idempotency-Key"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			var seen calls
			f := newFixture(t, upstream(t, func(w http.ResponseWriter, r *http.Request) {
				seen.note("%s %s", r.URL.Path, r.Header.Get(header))
				if r.URL.Path != "/v1/kv/data/prod/db" {
					return
				}
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				conn.Close()
			}), prodRule)
			for _, path := range []string{"/v1/warm", "/v1/kv/data/prod/db"} {
				f.send(t, method+" "+path, "", "X-Vault-Token", "t", header, "key", longWay, "1m")
			}
			equal(t, "vault saw", []string{"/v1/warm key", "/v1/kv/data/prod/db key"}, seen.noted())
		})
	}
}

// Beside a step-up token there is no other one, and the mark of the answer is ours.
func TestSentWithAStepUpToken(t *testing.T) {
	t.Parallel()
	var seen calls
	f := newFixture(t, upstream(t, func(w http.ResponseWriter, r *http.Request) {
		seen.note("%q %q", r.Header["X-Vault-Token"], r.Header["Authorization"])
		answer(200, "ok", relay.Outcome, "forged")(w, r)
	}), prodRule)
	f.resolver.first = func(send stepup.Send) (*http.Response, mfa.Verdict, error) {
		resp, err := send(context.Background(), nil, cache.Token{Secret: "hvs.step-up"})
		return resp, mfa.Verdict{Outcome: mfa.Cached}, err
	}
	equal(t, "answer", reply{200, "ok", "cached"}, f.send(t, "GET /v1/kv/data/prod/db", "", "Authorization", "Bearer t"))
	equal(t, "vault saw", []string{`["hvs.step-up"] []`}, seen.noted())
}

// With a step-up token nothing is pushed and no code is sent, so a read survives a kept
// connection that breaks, as it would without us. A token of few uses may have lost one.
func TestRepeatedWithAStepUpToken(t *testing.T) {
	t.Parallel()
	const read = "/v1/kv/data/prod/db hvs.step-up"
	type test struct {
		uses   int
		status int
		saw    []string
	}
	each(t, map[string]test{
		"any number of uses": {0, 200, []string{"/v1/warm t", read, read}},
		"one use":            {1, 502, []string{"/v1/warm t", read}},
	}, func(t *testing.T, tt test) {
		var seen calls
		f := newFixture(t, upstream(t, func(w http.ResponseWriter, r *http.Request) {
			seen.note("%s %s", r.URL.Path, r.Header.Get("X-Vault-Token"))
			if len(seen.noted()) != 2 {
				return
			}
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		}), prodRule)
		f.resolver.first = func(send stepup.Send) (*http.Response, mfa.Verdict, error) {
			resp, err := send(context.Background(), nil, cache.Token{Secret: "hvs.step-up", Uses: tt.uses})
			return resp, mfa.Verdict{Outcome: mfa.Cached}, err
		}
		f.send(t, "GET /v1/warm", "", "X-Vault-Token", "t", longWay, "1m")
		equal(t, "status", tt.status, f.send(t, "GET /v1/kv/data/prod/db", "", "X-Vault-Token", "t").Status)
		equal(t, "vault saw", tt.saw, seen.noted())
	})
}
