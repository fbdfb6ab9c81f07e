package relay_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache/secret"
)

const (
	groupAnswer = `{"data":null,"wrap_info":{"token":"hvs.WRAP","accessor":"acc","ttl":60,"creation_path":"kv/data/pay/a"},"warnings":null,"auth":null}` + "\n"
	salary      = `{"data":{"salary":"1"}}`
)

// An approver plays the part of package stepup.
type approver struct {
	calls
	fingerprints []string
	resume       func() (*http.Response, mfa.Verdict)
	await        func(held *http.Response) (*http.Response, mfa.Verdict)
}

func (a *approver) Resume(_ context.Context, m rule.Match, token secret.Secret) stepup.Decision {
	a.note("resume %s token=%s", m.Request.Path, token.Reveal())
	a.fingerprints = append(a.fingerprints, m.Fingerprint)
	if a.resume == nil {
		return stepup.PassThrough{}
	}
	return decision(a.resume())
}

func (a *approver) Await(_ context.Context, m rule.Match, token secret.Secret, held *http.Response) stepup.Decision {
	body, err := io.ReadAll(held.Body)
	if err != nil {
		return stepup.PassThrough{Response: held}
	}
	held.Body = io.NopCloser(strings.NewReader(string(body)))
	a.note("await %s token=%s %s", m.Request.Path, token.Reveal(), body)
	if a.await == nil {
		return stepup.PassThrough{Response: held}
	}
	return decision(a.await(held))
}

// released is what Vault gives out in the end.
func released(*http.Response) (*http.Response, mfa.Verdict) {
	return &http.Response{
		StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(salary)),
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(salary)),
	}, mfa.Verdict{Outcome: mfa.Approved}
}

// groupRules has a rule that waits for others, one that wants a factor as well, and one
// that does not wait.
func groupRules(a *approver) func(*relay.Config) {
	waits := rule.ControlGroup{Timeout: time.Minute}
	return func(c *relay.Config) {
		c.MaxKept = 1000
		play(c, a)
		c.Rules = rule.Rules{
			{Name: "pay", Paths: patterns("kv/data/pay/*"), ControlGroup: waits},
			{Name: "both", Paths: patterns("kv/data/both/*"), ControlGroup: waits, Methods: []string{"totp"}, Grant: rule.Grant{Kind: rule.HeaderGrant}},
			{Name: "prod", Paths: patterns("kv/data/prod/*"), Methods: []string{"totp"}, Grant: rule.Grant{Kind: rule.HeaderGrant}},
		}
	}
}

func TestControlGroup(t *testing.T) {
	t.Parallel()
	resumed := []string{"resume kv/data/pay/a token=t"}
	awaited := []string{resumed[0], "await kv/data/pay/a token=t " + groupAnswer}
	no := func(held *http.Response) (*http.Response, mfa.Verdict) {
		return held, mfa.Verdict{Outcome: mfa.Timeout, Message: "stepup: not yet"}
	}
	warned := strings.Replace(groupAnswer, `"warnings":null`, `"warnings":["stepup: not yet"]`, 1)
	ordinary, large := `{"data":{"a":"b"},"wrap_info":null}`, `{"data":"`+strings.Repeat("x", 100_000)+`"}`
	type test struct {
		vault   http.HandlerFunc
		path    string
		header  []string
		await   func(*http.Response) (*http.Response, mfa.Verdict)
		resume  func() (*http.Response, mfa.Verdict)
		want    string
		outcome string
		calls   []string
	}
	tests := map[string]test{
		"approved":                   {await: released, want: salary, outcome: "approved", calls: awaited},
		"not in time":                {await: no, want: warned, outcome: "timeout", calls: awaited},
		"packed":                     {vault: answer(200, gzipped(groupAnswer), "Content-Encoding", "gzip"), await: no, want: warned, outcome: "timeout", calls: awaited},
		"no control group after all": {want: groupAnswer, calls: awaited},
		"an earlier one goes on":     {resume: func() (*http.Response, mfa.Verdict) { return released(nil) }, want: salary, outcome: "approved", calls: resumed},
		"the app wanted it wrapped":  {header: []string{"X-Vault-Wrap-TTL", "60s"}, await: released, want: groupAnswer},
		"the app knows its factor":   {header: []string{"X-Vault-MFA", "totp:1"}, await: released, want: groupAnswer},
		"a token of another path":    {path: "/v1/kv/data/pay/b", await: released, want: groupAnswer, calls: []string{"resume kv/data/pay/b token=t"}},
		"a rule that does not wait":  {path: "/v1/kv/data/prod/a", await: released, want: groupAnswer},
		"no rule":                    {path: "/v1/kv/data/dev/a", await: released, want: groupAnswer},
		"ordinary data":              {vault: answer(200, ordinary), await: released, want: ordinary, calls: resumed},
		"a large answer":             {vault: answer(200, large), await: released, want: large, calls: resumed},
		"not JSON":                   {vault: answer(200, "hvs", "Content-Type", "text/plain"), await: released, want: "hvs", calls: resumed},
	}
	each(t, tests, func(t *testing.T, tt test) {
		if tt.vault == nil {
			tt.vault = answer(200, groupAnswer)
		}
		if tt.path == "" {
			tt.path = "/v1/kv/data/pay/a"
		}
		a := &approver{await: tt.await, resume: tt.resume}
		f := newFixture(t, upstream(t, tt.vault), groupRules(a))
		got := f.send(t, "GET "+tt.path, "", append([]string{"X-Vault-Token", "t"}, tt.header...)...)
		equal(t, "answer", reply{200, tt.want, tt.outcome}, got)
		equal(t, "calls", tt.calls, a.noted())
	})
}

// A rule with both: first the factor, then the others.
func TestControlGroupBehindAFactor(t *testing.T) {
	t.Parallel()
	a := &approver{await: released}
	f := newFixture(t, upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Mfa") != "totp:1" {
			answer(403, denied)(w, r)
			return
		}
		answer(200, strings.Replace(groupAnswer, "pay/a", "both/a", 1))(w, r)
	}), groupRules(a))
	f.resolver.stepUp = answerWith(mfa.Credential{Method: "totp", Passcode: "1"})
	got := f.send(t, "GET /v1/kv/data/both/a", "", "X-Vault-Token", "t")
	if got != (reply{200, salary, "approved"}) || len(a.noted()) != 2 {
		t.Errorf("%+v %q", got, a.noted())
	}
}

// Only the same request has the same fingerprint: method, target as sent, and body. One
// that is too large to be known has none, and its body arrives complete all the same.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	a := &approver{}
	f := newFixture(t, upstream(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	}), groupRules(a))
	requests := []struct{ request, body string }{
		{"GET /v1/kv/data/pay/a", ""},
		{"GET /v1/kv/data/pay/b", ""},
		{"GET /v1/kv/data/pay/a?version=1", ""},
		{"GET /v1/kv/data/pay/a?version=2", ""},
		{"GET /v1/kv/data/pay/%61", ""},
		{"PUT /v1/kv/data/pay/a", "one"},
		{"PUT /v1/kv/data/pay/a", "two"},
	}
	last := func() string { return a.fingerprints[len(a.fingerprints)-1] }
	seen := map[string]int{}
	for range 2 {
		for i, r := range requests {
			f.send(t, r.request, r.body, "X-Vault-Token", "t")
			if other, ok := seen[last()]; last() == "" || ok && other != i {
				t.Errorf("%v has the fingerprint of %v", r, requests[other])
			}
			seen[last()] = i
		}
	}
	if len(seen) != len(requests) {
		t.Errorf("%d fingerprints for %d requests", len(seen), len(requests))
	}
	got := f.send(t, "PUT /v1/kv/data/pay/a", strings.Repeat("b", 5000), "X-Vault-Token", "t")
	if got.Body != "5000" || last() != "" {
		t.Errorf("large body: %+v, fingerprint %q", got, last())
	}
}
