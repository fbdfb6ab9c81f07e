package relay_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache/secret"
)

const groupAnswer = `{"data":null,"wrap_info":{"token":"hvs.WRAP","accessor":"acc","ttl":60,"creation_path":"kv/data/pay/a"},"warnings":null,"auth":null}` + "\n"

// An approver plays the part of package resolve.
type approver struct {
	mu     sync.Mutex
	calls  []string
	prints []string
	resume func() (*http.Response, mfa.Verdict)
	await  func(held *http.Response) (*http.Response, mfa.Verdict)
}

func (a *approver) Resume(_ context.Context, m rule.Match, token secret.Secret) stepup.Decision {
	a.mu.Lock()
	a.calls = append(a.calls, fmt.Sprintf("resume %s token=%s", m.Request.Path, token.Reveal()))
	a.prints = append(a.prints, m.Fingerprint)
	a.mu.Unlock()
	if a.resume == nil {
		return stepup.PassThrough{}
	}
	return decision(a.resume())
}

func (a *approver) Await(_ context.Context, m rule.Match, token secret.Secret, held *http.Response) stepup.Decision {
	a.mu.Lock()
	defer a.mu.Unlock()
	body, err := io.ReadAll(held.Body)
	if err != nil {
		return stepup.PassThrough{Response: held}
	}
	held.Body = io.NopCloser(strings.NewReader(string(body)))
	a.calls = append(a.calls, fmt.Sprintf("await %s token=%s %s", m.Request.Path, token.Reveal(), strings.TrimSpace(string(body))))
	if a.await == nil {
		return stepup.PassThrough{Response: held}
	}
	return decision(a.await(held))
}

// plainAnswer is what Vault gives out in the end.
func plainAnswer(*http.Response) (*http.Response, mfa.Verdict) {
	body := `{"data":{"salary":"1"}}`
	return &http.Response{
		StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(body)),
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
	}, mfa.Verdict{Outcome: mfa.Approved}
}

// groupRules has a rule that waits for others, one that does not, and one that
// wants a factor as well.
func groupRules(t *testing.T, a *approver) func(*relay.Config) {
	t.Helper()
	pattern := func(s string) []rule.Pattern {
		p, err := rule.ParsePattern(s)
		if err != nil {
			t.Fatal(err)
		}
		return []rule.Pattern{p}
	}
	waits := rule.ControlGroup{Timeout: time.Minute}
	return func(c *relay.Config) {
		c.MaxKept = 1000
		play(c, a)
		c.Rules = rule.Rules{
			{Name: "pay", Paths: pattern("kv/data/pay/*"), ControlGroup: waits},
			{Name: "both", Paths: pattern("kv/data/both/*"), ControlGroup: waits, Methods: []string{"totp"}, Grant: rule.Grant{Kind: rule.HeaderGrant}},
			{Name: "prod", Paths: pattern("kv/data/prod/*"), Methods: []string{"totp"}, Grant: rule.Grant{Kind: rule.HeaderGrant}},
		}
	}
}

func TestControlGroup(t *testing.T) {
	t.Parallel()
	packed := func() string {
		var b strings.Builder
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, groupAnswer)
		_ = z.Close()
		return b.String()
	}
	answers := func(body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			_, _ = io.WriteString(w, body)
		}
	}
	awaited := func(path string) []string {
		return []string{"resume " + path + " token=t", "await " + path + " token=t " + strings.TrimSpace(groupAnswer)}
	}
	no := func(held *http.Response) (*http.Response, mfa.Verdict) {
		return held, mfa.Verdict{Outcome: mfa.Timeout, Message: "stepup: not yet"}
	}
	warned := strings.Replace(groupAnswer, `"warnings":null`, `"warnings":["stepup: not yet"]`, 1)
	tests := map[string]struct {
		vault   http.HandlerFunc
		path    string
		header  []string
		await   func(*http.Response) (*http.Response, mfa.Verdict)
		resume  func() (*http.Response, mfa.Verdict)
		want    string
		outcome string
		calls   []string
	}{
		"approved":                   {await: plainAnswer, want: `{"data":{"salary":"1"}}`, outcome: "approved", calls: awaited("kv/data/pay/a")},
		"not in time":                {await: no, want: warned, outcome: "timeout", calls: awaited("kv/data/pay/a")},
		"packed":                     {vault: answers(packed(), "Content-Encoding", "gzip"), await: no, want: warned, outcome: "timeout", calls: awaited("kv/data/pay/a")},
		"no control group after all": {want: groupAnswer, calls: awaited("kv/data/pay/a")},
		"an earlier one goes on": {
			resume: func() (*http.Response, mfa.Verdict) { return plainAnswer(nil) },
			want:   `{"data":{"salary":"1"}}`, outcome: "approved", calls: []string{"resume kv/data/pay/a token=t"},
		},
		"the app wanted it wrapped": {header: []string{"X-Vault-Wrap-TTL", "60s"}, await: plainAnswer, want: groupAnswer},
		"the app knows its factor":  {header: []string{"X-Vault-MFA", "totp:1"}, await: plainAnswer, want: groupAnswer},
		"a token of another path":   {path: "/v1/kv/data/pay/b", await: plainAnswer, want: groupAnswer, calls: []string{"resume kv/data/pay/b token=t"}},
		"a rule that does not wait": {path: "/v1/kv/data/prod/a", await: plainAnswer, want: groupAnswer},
		"no rule":                   {path: "/v1/kv/data/dev/a", await: plainAnswer, want: groupAnswer},
		"ordinary data": {
			vault: answers(`{"data":{"a":"b"},"wrap_info":null}`), await: plainAnswer,
			want: `{"data":{"a":"b"},"wrap_info":null}`, calls: []string{"resume kv/data/pay/a token=t"},
		},
		"a large answer": {
			vault: answers(`{"data":"` + strings.Repeat("x", 100_000) + `"}`), await: plainAnswer,
			want: `{"data":"` + strings.Repeat("x", 100_000) + `"}`, calls: []string{"resume kv/data/pay/a token=t"},
		},
		"not JSON": {vault: answers("hvs", "Content-Type", "text/plain"), await: plainAnswer, want: "hvs", calls: []string{"resume kv/data/pay/a token=t"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.vault == nil {
				tt.vault = answers(groupAnswer)
			}
			if tt.path == "" {
				tt.path = "/v1/kv/data/pay/a"
			}
			a := &approver{await: tt.await, resume: tt.resume}
			f := newFixture(t, upstream(t, tt.vault), groupRules(t, a))
			got := fetch(t, f.url+tt.path, "", append([]string{"X-Vault-Token", "t"}, tt.header...)...)
			if d := cmp.Diff(reply{200, tt.want, tt.outcome}, got); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tt.calls, a.calls); d != "" {
				t.Error(d)
			}
		})
	}
}

type reply struct {
	Status        int
	Body, Outcome string
}

func fetch(t *testing.T, url, body string, header ...string) reply {
	t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPut
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, string(data), resp.Header.Get(relay.Outcome)}
}

// A rule with both: first the factor, then the others.
func TestControlGroupBehindAFactor(t *testing.T) {
	t.Parallel()
	a := &approver{await: plainAnswer}
	f := newFixture(t, upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("X-Vault-Mfa") != "totp:1" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, denied)
			return
		}
		_, _ = io.WriteString(w, strings.Replace(groupAnswer, "pay/a", "both/a", 1))
	}), groupRules(t, a))
	f.resolver.stepUp = answerWith(mfa.Credential{Method: "totp", Passcode: "1"})
	got := fetch(t, f.url+"/v1/kv/data/both/a", "", "X-Vault-Token", "t")
	if got != (reply{200, `{"data":{"salary":"1"}}`, "approved"}) || len(a.calls) != 2 {
		t.Errorf("%+v %q", got, a.calls)
	}
}

// Only the same request has the same print: method, target as sent, and body. One
// that is too large to be known has none, and its body arrives whole all the same.
func TestPrint(t *testing.T) {
	t.Parallel()
	a := &approver{}
	f := newFixture(t, upstream(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	}), groupRules(t, a))
	requests := []struct{ target, body string }{
		{"/v1/kv/data/pay/a", ""},
		{"/v1/kv/data/pay/b", ""},
		{"/v1/kv/data/pay/a?version=1", ""},
		{"/v1/kv/data/pay/a?version=2", ""},
		{"/v1/kv/data/pay/%61", ""},
		{"/v1/kv/data/pay/a", "one"},
		{"/v1/kv/data/pay/a", "two"},
	}
	seen := map[string]int{}
	for range 2 {
		for i, r := range requests {
			fetch(t, f.url+r.target, r.body, "X-Vault-Token", "t")
			print := a.prints[len(a.prints)-1]
			if other, ok := seen[print]; print == "" || ok && other != i {
				t.Errorf("%v has the print of %v", r, requests[other])
			}
			seen[print] = i
		}
	}
	if len(seen) != len(requests) {
		t.Errorf("%d prints for %d requests", len(seen), len(requests))
	}
	got := fetch(t, f.url+"/v1/kv/data/pay/a", strings.Repeat("b", 5000), "X-Vault-Token", "t")
	if got.Body != "5000" || a.prints[len(a.prints)-1] != "" {
		t.Errorf("large body: %+v, print %q", got, a.prints[len(a.prints)-1])
	}
}
