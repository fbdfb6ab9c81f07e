package relay_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
)

const policyDenied = `{"errors":["2 errors occurred:\n\t* egp standard policy \"root/pay\" evaluation resulted in denial.\n\nThe specific error was:\n<nil>\n\n` +
	`A trace of the execution for policy \"root/pay\" is available:\n\nResult: false\n\t* permission denied\n\n"]}` + "\n"

// governedPaths guards what Sentinel policies may.
func governedPaths(t *testing.T) func(*relay.Config) {
	t.Helper()
	var paths []rule.Pattern
	for _, text := range []string{"kv/data/prod/*", "auth/ldap/login/+", "sys/internal/ui/mounts/*"} {
		p, err := rule.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p)
	}
	rules := rule.Rules{{Name: "pay", Paths: paths, Methods: []string{"totp"}, Grant: rule.Grant{Kind: rule.HeaderGrant}}}
	return func(c *relay.Config) { c.Rules, c.MaxKept, c.LoginMFA = rules, 1000, true }
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	nameless := `{"errors":["policy evaluation resulted in denial"]}`
	large := strings.Repeat("b", 1001)
	tests := map[string]struct {
		path, token, body string
		status            int
		refusal           string
		asked             bool
		open              bool
		denied            []string
	}{
		"a policy on a path":                   {"kv/data/prod/db", "t", "", 403, policyDenied, true, false, []string{"root/pay"}},
		"one without a name":                   {"kv/data/prod/db", "t", "", 403, nameless, true, false, []string{""}},
		"no policy":                            {"kv/data/prod/db", "t", "", 403, denied, true, false, nil},
		"a policy on a login":                  {"auth/ldap/login/alice", "", "{}", 400, policyDenied, true, true, []string{"root/pay"}},
		"a policy at a mount":                  {"sys/internal/ui/mounts/kv/x", "t", "", 400, policyDenied, true, true, []string{"root/pay"}},
		"a wrong password":                     {"auth/ldap/login/alice", "", "{}", 400, `{"errors":["ldap operation failed"]}`, false, false, nil},
		"another refusal of a login":           {"auth/ldap/login/alice", "", "{}", 403, denied, false, false, nil},
		"a login with a body of unlikely size": {"auth/ldap/login/alice", "", large, 400, policyDenied, false, false, nil},
		"no login, no token":                   {"kv/data/prod/db", "", "", 403, policyDenied, false, false, nil},
		"a bad request":                        {"kv/data/prod/db", "t", "", 400, `{"errors":["no data provided"]}`, false, false, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vault := func(w http.ResponseWriter, r *http.Request) {
				if len(r.Header["X-Vault-Mfa"]) > 0 {
					_, _ = io.WriteString(w, "ok")
					return
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.refusal)
			}
			f := newFixture(t, upstream(t, http.HandlerFunc(vault)), governedPaths(t))
			var got rule.Match
			f.resolver.stepUp = func(m rule.Match, send stepup.Send) (*http.Response, mfa.Verdict) {
				got = m
				return answerWith(mfa.Credential{Method: "totp", Passcode: "1"})(m, send)
			}
			status, body := put(t, f.url+"/v1/"+tt.path, tt.token, tt.body)
			want := tt.refusal
			if tt.asked {
				want = "ok"
			}
			if body != want || !tt.asked && status != tt.status {
				t.Errorf("got %d %s", status, body)
			}
			if got.Unauthenticated != tt.open || cmp.Diff(tt.denied, got.DeniedBy) != "" || (got.Rule != nil) != tt.asked {
				t.Errorf("stepped up %+v", got)
			}
		})
	}
}

func put(t *testing.T, url, token, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(got)
}

// When the repeated request is refused as well, the app reads Vault's last answer
// and our line: one trace, not two.
func TestTraceIsShownOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, policyDenied)
	}), governedPaths(t))
	f.resolver.stepUp = answerWith(mfa.Credential{Method: "totp", Passcode: "1"})
	want := strings.TrimSuffix(policyDenied, "]}\n") + `,"stepup: wrong"]}` + "\n"
	if status, body := put(t, f.url+"/v1/kv/data/prod/db", "t", "{}"); status != 403 || body != want {
		t.Errorf("got %d %s", status, body)
	}
}

// Two requests are the same only if nothing that Vault could look at differs.
func TestSameRequests(t *testing.T) {
	t.Parallel()
	f := newFixture(t, upstream(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }), governedPaths(t))
	name := func(method, path, body string, header ...string) string {
		req, err := http.NewRequest(method, f.url+"/v1/"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Vault-Token", "t")
		for i := 0; i < len(header); i += 2 {
			req.Header.Add(header[i], header[i+1])
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		all := f.resolver.matches
		return all[len(all)-1].ShareKey
	}
	const path = "kv/data/prod/db"
	first := name("PUT", path, "x")
	if first == "" {
		t.Fatal("a request shares with none")
	}
	for what, other := range map[string]string{
		"the program's name":                     name("PUT", path, "x", "User-Agent", "other"),
		"the trace":                              name("PUT", path, "x", "Traceparent", "00-1-2-01"),
		"the token, which is compared by itself": name("PUT", path, "x", "X-Vault-Token", "u"),
	} {
		if other != first {
			t.Errorf("%s makes a difference", what)
		}
	}
	seen := map[string]string{first: "the first one"}
	for what, other := range map[string]string{
		"method":               name("POST", path, "x"),
		"path":                 name("PUT", path+"2", "x"),
		"spelling of the path": name("PUT", "kv/data/prod/d%62", "x"),
		"query":                name("PUT", path+"?version=1", "x"),
		"body":                 name("PUT", path, "y"),
		"no body":              name("PUT", path, ""),
		"wrapping":             name("PUT", path, "x", "X-Vault-Wrap-Ttl", "60"),
		"another wrapping":     name("PUT", path, "x", "X-Vault-Wrap-Ttl", "61"),
		"index":                name("PUT", path, "x", "X-Vault-Index", "a"),
		"two values":           name("PUT", path, "x", "A", "b", "A", "c"),
		"one value and a name": name("PUT", path, "x", "A", "b", "C", ""),
		"authorization beside": name("PUT", path, "x", "Authorization", "Basic YTpi"),
		"namespace":            name("PUT", path, "x", "X-Vault-Namespace", "ns1"),
	} {
		if with, again := seen[other]; again {
			t.Errorf("%s makes no difference to %s", what, with)
		}
		seen[other] = what
	}
	if got := name("PUT", "auth/ldap/login/alice", "{}"); got != "" {
		t.Error("logins share a token")
	}
}

// A load balancer's page in the place of Vault's answer: its status stays, because
// it is true, and the page gives way to a text that a client shows.
func TestPageOfALoadBalancer(t *testing.T) {
	t.Parallel()
	f := newFixture(t, upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusGatewayTimeout)
		_, _ = io.WriteString(w, "<html><h1>504 Gateway Time-out</h1></html>")
	}), governedPaths(t))
	f.resolver.first = func(send stepup.Send) (*http.Response, mfa.Verdict, error) {
		resp, err := send(t.Context(), nil, cache.Token{})
		return resp, mfa.Verdict{Outcome: mfa.Timeout, Message: "stepup: cut"}, err
	}
	req, err := http.NewRequest(http.MethodGet, f.url+"/v1/kv/data/prod/db", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", "t")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 504 || string(body) != `{"errors":["stepup: cut"]}`+"\n" || resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("Stepup-Outcome") != "timeout" {
		t.Errorf("got %d %v %s", resp.StatusCode, resp.Header, body)
	}
}
