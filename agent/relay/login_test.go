package relay_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/cache/secret"
)

const (
	warning   = "A login request was issued that is subject to MFA validation. Please make sure to validate the login by sending another request to mfa/validate endpoint."
	challenge = `{"request_id":"r","data":null,"wrap_info":null,"warnings":["` + warning + `"],"auth":{"client_token":"","mfa_requirement":` +
		`{"mfa_request_id":"id1","mfa_constraints":{"ups":{"any":[{"type":"totp","id":"m1","uses_passcode":true,"name":"corp"}]}}}}}` + "\n"
	wrappedChallenge = `{"request_id":"","data":null,"wrap_info":{"token":"wrapping","creation_path":"auth/x/login/alice"},"warnings":null,"auth":null}`
)

// answering is an upstream that gives one JSON answer.
func answering(t *testing.T, body string) string {
	return upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	})
}

func loginAnswer(status int, body string, v mfa.Verdict) func(mfa.Challenge) (*http.Response, mfa.Verdict) {
	return func(mfa.Challenge) (*http.Response, mfa.Verdict) {
		if status == 0 {
			return nil, v
		}
		return &http.Response{
			StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}, "X-Vault": {"yes"}},
			Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
		}, v
	}
}

func post(t *testing.T, url string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(`{"password":"p"}`))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestLogin(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		login   func(mfa.Challenge) (*http.Response, mfa.Verdict)
		status  int
		want    string
		outcome string
	}{
		"approved": {
			loginAnswer(200, `{"auth":{"client_token":"hvs.x"}}`, mfa.Verdict{Outcome: mfa.Approved}),
			200, `{"auth":{"client_token":"hvs.x"}}`, "approved",
		},
		"wrong codes": {
			loginAnswer(403, `{"errors":["failed to satisfy"]}`, mfa.Verdict{Outcome: mfa.Rejected, Message: "stepup: wrong"}),
			403, `{"errors":["failed to satisfy","stepup: wrong"]}` + "\n", "rejected",
		},
		"expired is a 403, too": {
			loginAnswer(400, `{"errors":["invalid request ID"]}`, mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: gone"}),
			403, `{"errors":["invalid request ID","stepup: gone"]}` + "\n", "unavailable",
		},
		"denied before anything was sent": {
			loginAnswer(0, "", mfa.Verdict{Outcome: mfa.Denied, Message: "stepup: no"}),
			403, `{"errors":["stepup: no"]}` + "\n", "denied",
		},
		"vault is gone in the middle": {
			loginAnswer(0, "", mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: refused"}),
			403, `{"errors":["stepup: refused"]}` + "\n", "unavailable",
		},
		"nobody can be asked": {
			loginAnswer(0, "", mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: attach", NoPrompt: true}),
			200, strings.Replace(challenge, warning+`"]`, warning+`","stepup: attach"]`, 1), "unavailable",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, answering(t, challenge), nil)
			var got mfa.Challenge
			f.resolver.login = func(c mfa.Challenge) (*http.Response, mfa.Verdict) {
				got = c
				return tt.login(c)
			}
			resp, body := post(t, f.url+"/v1/auth/x/login/alice", http.Header{"X-Vault-Namespace": {"ns1"}})
			if resp.StatusCode != tt.status || body != tt.want || resp.Header.Get(relay.Outcome) != tt.outcome {
				t.Errorf("answer %d %s %s", resp.StatusCode, resp.Header.Get(relay.Outcome), body)
			}
			want := mfa.Challenge{RequestID: "id1", Namespace: "ns1", Constraints: []mfa.Constraint{
				{Name: "ups", Any: []mfa.Method{{ID: "m1", Type: "totp", Name: "corp", UsesPasscode: true}}},
			}}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

type unwrapper func(token secret.Secret, namespace string) ([]byte, error)

func (u unwrapper) Unwrap(_ context.Context, token secret.Secret, namespace string) ([]byte, error) {
	return u(token, namespace)
}

func TestWrappedLogin(t *testing.T) {
	t.Parallel()
	opens := func(content string) unwrapper {
		return func(token secret.Secret, _ string) ([]byte, error) {
			if token.Reveal() != "wrapping" {
				return nil, errors.New("wrong token")
			}
			return []byte(content), nil
		}
	}
	never := unwrapper(func(secret.Secret, string) ([]byte, error) { return nil, errors.New("opened what it must not") })
	const login, finished = "/v1/auth/x/login/alice", `{"wrap_info":{"token":"w","wrapped_accessor":"a"},"warnings":null}`
	tests := map[string]struct {
		path      string
		answer    string
		header    http.Header
		unwrapper unwrapper
		verdict   mfa.Verdict
		want      string
		sent      int // requests that Vault saw
	}{
		"held":              {path: login, answer: wrappedChallenge, unwrapper: opens(challenge), verdict: mfa.Verdict{Outcome: mfa.Approved}, want: `{"wrap_info":{"token":"final"}}`, sent: 1},
		"finished":          {path: login, answer: finished, unwrapper: never, want: finished, sent: 1},
		"a batch token":     {path: login, answer: wrappedChallenge, unwrapper: opens(`{"auth":{"client_token":"hvb.x"}}`), want: wrappedChallenge, sent: 2},
		"a secret id":       {path: "/v1/auth/approle/role/login/secret-id", answer: wrappedChallenge, header: http.Header{"X-Vault-Token": {"t"}}, unwrapper: never, want: wrappedChallenge, sent: 1},
		"no login":          {path: "/v1/auth/approle/role/x/secret-id", answer: wrappedChallenge, unwrapper: never, want: wrappedChallenge, sent: 1},
		"a secret":          {path: "/v1/kv/data/login", answer: wrappedChallenge, unwrapper: never, want: wrappedChallenge, sent: 1},
		"cannot open":       {path: login, answer: wrappedChallenge, unwrapper: func(secret.Secret, string) ([]byte, error) { return nil, errors.New("sealed") }, want: wrappedChallenge, sent: 1},
		"nobody to ask":     {path: login, answer: wrappedChallenge, unwrapper: opens(challenge), verdict: mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: attach", NoPrompt: true}, want: strings.Replace(challenge, warning+`"]`, warning+`","stepup: attach"]`, 1), sent: 1},
		"in a namespace":    {path: "/v1/ns1/auth/x/login/alice", answer: wrappedChallenge, unwrapper: opens(challenge), verdict: mfa.Verdict{Outcome: mfa.Approved}, want: `{"wrap_info":{"token":"final"}}`, sent: 1},
		"wrapped by nobody": {path: login, answer: challenge, unwrapper: never, verdict: mfa.Verdict{Outcome: mfa.Approved}, want: `{"wrap_info":{"token":"final"}}`, sent: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int32
			address := upstream(t, func(w http.ResponseWriter, r *http.Request) {
				sent.Add(1)
				if body, err := io.ReadAll(r.Body); err != nil || string(body) != `{"password":"p"}` || r.Header.Get("X-Vault-Wrap-Ttl") != "60s" {
					t.Errorf("vault got %q with %v, %v", body, r.Header, err)
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, tt.answer)
			})
			f := newFixture(t, address, func(c *relay.Config) { c.Unwrapper = tt.unwrapper })
			f.resolver.login = func(c mfa.Challenge) (*http.Response, mfa.Verdict) {
				if c.WrapTTL != "60s" {
					t.Errorf("wrap ttl = %q", c.WrapTTL)
				}
				if !tt.verdict.OK() {
					return nil, tt.verdict
				}
				return loginAnswer(200, `{"wrap_info":{"token":"final"}}`, tt.verdict)(c)
			}
			header := http.Header{"X-Vault-Wrap-Ttl": {"60s"}}
			for k, v := range tt.header {
				header[k] = v
			}
			_, body := post(t, f.url+tt.path, header)
			if body != tt.want {
				t.Errorf("answer %s", body)
			}
			if n := len(f.resolver.noted()); (n > 0) != (tt.verdict.Outcome != "") {
				t.Errorf("resolver was asked %d times", n)
			}
			if n := int(sent.Load()); n != tt.sent {
				t.Errorf("vault saw %d requests, want %d", n, tt.sent)
			}
		})
	}
}

// What only looks like a challenge reaches the app as it is, with one line in
// the log where it is a broken one.
func TestNotAChallenge(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&many, `"c%d":{"any":[{"id":"m"}]},`, i)
	}
	big := `{"auth":{"mfa_requirement":{"mfa_request_id":"` + strings.Repeat("x", 5<<20) + `"}}}`
	tests := map[string]struct {
		body string
		log  string
	}{
		"truncated":          {challenge[:len(challenge)-9], "malformed"},
		"5 MB":               {big, "malformed"},
		"10,000 constraints": {`{"auth":{"mfa_requirement":{"mfa_request_id":"x","mfa_constraints":{` + strings.TrimSuffix(many.String(), ",") + `}}}}`, "malformed"},
		"no constraints":     {`{"auth":{"mfa_requirement":{"mfa_request_id":"x"}}}`, "malformed"},
		"ordinary login":     {`{"auth":{"client_token":"t","mfa_requirement":null}}`, ""},
		"secret of the name": {`{"data":{"auth":{"mfa_requirement":{"mfa_request_id":"x"}}},"auth":null}`, ""},
		"large secret":       {`{"data":{"a":"` + strings.Repeat("x", 200<<10) + `"},"auth":null}`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, answering(t, tt.body), nil)
			resp, body := post(t, f.url+"/v1/auth/x/login/alice", nil)
			if resp.StatusCode != 200 || body != tt.body || resp.Header.Get(relay.Outcome) != "" {
				t.Errorf("answer changed: %d, %d bytes of %d", resp.StatusCode, len(body), len(tt.body))
			}
			if lines := strings.Count(f.log.String(), "\n"); lines > 1 || (lines == 1) != (tt.log != "") || !strings.Contains(f.log.String(), tt.log) {
				t.Errorf("log: %s", f.log)
			}
			if calls := f.resolver.noted(); calls != nil {
				t.Errorf("resolver was asked: %v", calls)
			}
		})
	}
}

// A broken challenge is noticed by its beginning, also where Content-Length says
// that it is too large to be one.
func TestLargeChallengeWithALength(t *testing.T) {
	t.Parallel()
	large := `{"auth":{"mfa_requirement":{"mfa_request_id":"` + strings.Repeat("x", 5<<20) + `"}}}`
	address := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(large)))
		_, _ = io.WriteString(w, large)
	})
	f := newFixture(t, address, nil)
	resp, body := post(t, f.url+"/v1/auth/x/login/alice", nil)
	if resp.ContentLength != int64(len(large)) || body != large {
		t.Errorf("answer changed: %d bytes of %d", len(body), len(large))
	}
	if lines := strings.Count(f.log.String(), "\n"); lines != 1 || !strings.Contains(f.log.String(), "malformed") {
		t.Errorf("log: %s", f.log)
	}
}

func TestPackedChallenge(t *testing.T) {
	t.Parallel()
	address := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Content-Encoding", "gzip")
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		fmt.Fprint(z, challenge)
		z.Close()
		_, _ = w.Write(packed.Bytes())
	})
	f := newFixture(t, address, nil)
	f.resolver.login = loginAnswer(200, `{}`, mfa.Verdict{Outcome: mfa.Approved})
	resp, body := post(t, f.url+"/v1/auth/x/login/alice", http.Header{"Accept-Encoding": {"gzip"}})
	if body != "{}" || resp.Header.Get(relay.Outcome) != "approved" {
		t.Errorf("answer %s %v", body, resp.Header)
	}
}

func TestLoginMFAOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t, answering(t, challenge), func(c *relay.Config) { c.LoginMFA = false })
	if _, body := post(t, f.url+"/v1/auth/x/login/alice", nil); body != challenge {
		t.Errorf("answer changed: %s", body)
	}
}
