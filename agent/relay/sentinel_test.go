package relay_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
)

const policyDenied = `{"errors":["2 errors occurred:\n\t* egp standard policy \"root/pay\" evaluation resulted in denial.\n\nThe specific error was:\n<nil>\n\n` +
	`A trace of the execution for policy \"root/pay\" is available:\n\nResult: false\n\t* permission denied\n\n"]}` + "\n"

// governedPaths guards what Sentinel policies may.
func governedPaths(c *relay.Config) {
	prodRule(c)
	c.Rules[0].Paths = patterns("kv/data/prod/*", "auth/ldap/login/+", "sys/internal/ui/mounts/*")
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	const secret, login, mount = "kv/data/prod/db", "auth/ldap/login/alice", "sys/internal/ui/mounts/kv/x"
	const nameless, wrong, bad = `{"errors":["policy evaluation resulted in denial"]}`, `{"errors":["ldap operation failed"]}`, `{"errors":["no data provided"]}`
	type match struct { // in which a request is stepped up
		Unauthenticated bool
		Proven          bool
		DeniedBy        []string
	}
	pay := []string{"root/pay"}
	type test struct {
		path, token, body string
		status            int
		refusal           string
		want              []match
	}
	tests := map[string]test{
		"a policy on a path":                   {secret, "t", "", 403, policyDenied, []match{{false, true, pay}}},
		"one without a name":                   {secret, "t", "", 403, nameless, []match{{false, true, []string{""}}}},
		"no policy":                            {secret, "t", "", 403, denied, []match{{Proven: true}}},
		"no policy, or a dead token":           {secret, "t", "", 403, `{"errors":["permission denied"]}`, []match{{}}}, // OpenBao
		"a policy on a login":                  {login, "", "{}", 400, policyDenied, []match{{true, false, pay}}},
		"a policy at a mount":                  {mount, "t", "", 400, policyDenied, []match{{true, false, pay}}},
		"a wrong password":                     {login, "", "{}", 400, wrong, nil},
		"another refusal of a login":           {login, "", "{}", 403, denied, nil},
		"a login with a body of unlikely size": {login, "", strings.Repeat("b", 1001), 400, policyDenied, nil},
		"no login, no token":                   {secret, "", "", 403, policyDenied, nil},
		"a bad request":                        {secret, "t", "", 400, bad, nil},
	}
	each(t, tests, func(t *testing.T, tt test) {
		f := newFixture(t, upstream(t, func(w http.ResponseWriter, r *http.Request) {
			if len(r.Header["X-Vault-Mfa"]) > 0 {
				answer(200, "ok")(w, r)
				return
			}
			answer(tt.status, tt.refusal)(w, r)
		}), governedPaths)
		var got []match
		f.resolver.stepUp = func(m rule.Match, send stepup.Send) (*http.Response, mfa.Verdict) {
			got = append(got, match{m.Unauthenticated, m.Proven, m.DeniedBy})
			return answerWith(mfa.Credential{Method: "totp", Passcode: "1"})(m, send)
		}
		var header []string
		if tt.token != "" {
			header = []string{"X-Vault-Token", tt.token}
		}
		want := reply{tt.status, tt.refusal, ""}
		if tt.want != nil {
			want = reply{200, "ok", "approved"}
		}
		equal(t, "answer", want, f.send(t, "PUT /v1/"+tt.path, tt.body, header...))
		equal(t, "stepped up", tt.want, got)
	})
}

// A token grant gives its token to a caller, and a login has none yet.
func TestNoTokenForALogin(t *testing.T) {
	t.Parallel()
	f := newFixture(t, upstream(t, answer(400, policyDenied)), governedPaths, func(c *relay.Config) { c.Rules[0].Grant.Kind = rule.TokenGrant })
	equal(t, "answer", reply{400, policyDenied, ""}, f.send(t, "PUT /v1/auth/ldap/login/alice", "{}"))
	equal(t, "resolver was asked", []string(nil), f.resolver.noted())
}

// When the repeated request is refused as well, the app reads Vault's last answer
// and our line: one trace, not two.
func TestTraceIsShownOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, upstream(t, answer(403, policyDenied)), governedPaths)
	f.resolver.stepUp = answerWith(mfa.Credential{Method: "totp", Passcode: "1"})
	want := reply{403, strings.TrimSuffix(policyDenied, "]}\n") + `,"stepup: wrong"]}` + "\n", "rejected"}
	equal(t, "answer", want, f.send(t, "PUT /v1/kv/data/prod/db", "{}", "X-Vault-Token", "t"))
}

// Two requests are the same only if nothing that Vault could look at differs.
func TestSameRequests(t *testing.T) {
	t.Parallel()
	f := newFixture(t, upstream(t, answer(200, "ok")), governedPaths)
	key := func(method, path, body string, header ...string) string {
		f.send(t, method+" /v1/"+path, body, append([]string{"X-Vault-Token", "t"}, header...)...)
		return f.resolver.matches[len(f.resolver.matches)-1].ShareKey
	}
	const path = "kv/data/prod/db"
	first := key("PUT", path, "x")
	if first == "" {
		t.Fatal("a request shares with none")
	}
	for what, other := range map[string]string{
		"the program's name":                     key("PUT", path, "x", "User-Agent", "other"),
		"the trace":                              key("PUT", path, "x", "Traceparent", "00-1-2-01"),
		"the token, which is compared by itself": key("PUT", path, "x", "X-Vault-Token", "u"),
	} {
		if other != first {
			t.Errorf("%s makes a difference", what)
		}
	}
	seen := map[string]string{first: "the first one"}
	for what, other := range map[string]string{
		"method":               key("POST", path, "x"),
		"path":                 key("PUT", path+"2", "x"),
		"spelling of the path": key("PUT", "kv/data/prod/d%62", "x"),
		"query":                key("PUT", path+"?version=1", "x"),
		"body":                 key("PUT", path, "y"),
		"no body":              key("PUT", path, ""),
		"wrapping":             key("PUT", path, "x", "X-Vault-Wrap-Ttl", "60"),
		"another wrapping":     key("PUT", path, "x", "X-Vault-Wrap-Ttl", "61"),
		"index":                key("PUT", path, "x", "X-Vault-Index", "a"),
		"two values":           key("PUT", path, "x", "A", "b", "A", "c"),
		"one value and a name": key("PUT", path, "x", "A", "b", "C", ""),
		"authorization beside": key("PUT", path, "x", "Authorization", "Basic YTpi"),
		"namespace":            key("PUT", path, "x", "X-Vault-Namespace", "ns1"),
	} {
		if with, again := seen[other]; again {
			t.Errorf("%s makes no difference to %s", what, with)
		}
		seen[other] = what
	}
	if key("PUT", "auth/ldap/login/alice", "{}") != "" {
		t.Error("logins share a token")
	}
}

// A load balancer's page in the place of Vault's answer: its status stays, because
// it is true, and the page gives way to a text that a client shows.
func TestPageOfALoadBalancer(t *testing.T) {
	t.Parallel()
	page := answer(http.StatusGatewayTimeout, "<html><h1>504 Gateway Time-out</h1></html>", "Content-Type", "text/html")
	f := newFixture(t, upstream(t, page), governedPaths)
	f.resolver.first = func(send stepup.Send) (*http.Response, mfa.Verdict, error) {
		resp, err := send(t.Context(), nil, cache.Token{})
		return resp, mfa.Verdict{Outcome: mfa.Timeout, Message: "stepup: cut"}, err
	}
	resp, body := fetch(t, f.request(t, "GET /v1/kv/data/prod/db", nil, "X-Vault-Token", "t"))
	equal(t, "answer", []any{504, `{"errors":["stepup: cut"]}` + "\n", "application/json", "timeout"},
		[]any{resp.StatusCode, body, resp.Header.Get("Content-Type"), resp.Header.Get(relay.Outcome)})
}
