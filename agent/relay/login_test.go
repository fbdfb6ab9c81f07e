package relay_test

import (
	"context"
	"errors"
	"fmt"
	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/cache/secret"
)

const (
	warning   = "A login request was issued that is subject to MFA validation. Please make sure to validate the login by sending another request to mfa/validate endpoint."
	challenge = `{"request_id":"r","data":null,"wrap_info":null,"warnings":["` + warning + `"],"auth":{"client_token":"","mfa_requirement":` +
		`{"mfa_request_id":"id1","mfa_constraints":{"ups":{"any":[{"type":"totp","id":"m1","uses_passcode":true,"name":"corp"}]}}}}}` + "\n"
	wrappedChallenge = `{"request_id":"","data":null,"wrap_info":{"token":"wrapping","creation_path":"auth/x/login/alice"},"warnings":null,"auth":null}`
	alice            = "/v1/auth/x/login/alice"
)

// A verdict without a way to ask, and the challenge as the app gets it then.
var (
	noPrompt        = mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: attach", NoPrompt: true}
	warnedChallenge = strings.Replace(challenge, warning+`"]`, warning+`","stepup: attach"]`, 1)
)

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

func TestLogin(t *testing.T) {
	t.Parallel()
	type test struct {
		status  int // of the answer that the resolver has; 0 for none
		body    string
		verdict mfa.Verdict
		want    reply
	}
	tests := map[string]test{
		"approved":                        {200, `{"auth":{"client_token":"hvs.x"}}`, mfa.Verdict{Outcome: mfa.Approved}, reply{200, `{"auth":{"client_token":"hvs.x"}}`, "approved"}},
		"wrong codes":                     {403, `{"errors":["failed to satisfy"]}`, mfa.Verdict{Outcome: mfa.Rejected, Message: "stepup: wrong"}, reply{403, `{"errors":["failed to satisfy","stepup: wrong"]}` + "\n", "rejected"}},
		"expired is a 403, too":           {400, `{"errors":["invalid request ID"]}`, mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: gone"}, reply{403, `{"errors":["invalid request ID","stepup: gone"]}` + "\n", "unavailable"}},
		"denied before anything was sent": {0, "", mfa.Verdict{Outcome: mfa.Denied, Message: "stepup: no"}, reply{403, `{"errors":["stepup: no"]}` + "\n", "denied"}},
		"vault is gone in the middle":     {0, "", mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: refused"}, reply{403, `{"errors":["stepup: refused"]}` + "\n", "unavailable"}},
		"no way to ask":                   {0, "", noPrompt, reply{200, warnedChallenge, "unavailable"}},
	}
	each(t, tests, func(t *testing.T, tt test) {
		f := newFixture(t, upstream(t, answer(200, challenge)))
		var got mfa.Challenge
		f.resolver.login = func(c mfa.Challenge) (*http.Response, mfa.Verdict) {
			got = c
			return loginAnswer(tt.status, tt.body, tt.verdict)(c)
		}
		equal(t, "answer", tt.want, f.logIn(t, alice, "X-Vault-Namespace", "ns1"))
		equal(t, "challenge", mfa.Challenge{RequestID: "id1", Namespace: "ns1", Constraints: []mfa.Constraint{
			{Name: "ups", Any: []mfa.Method{{ID: "m1", Type: "totp", Name: "corp", UsesPasscode: true}}},
		}}, got)
	})
}

type unwrapper func(token secret.Secret, namespace string) ([]byte, error)

func (u unwrapper) Unwrap(_ context.Context, token secret.Secret, namespace string) ([]byte, error) {
	return u(token, namespace)
}

// opens finds content in the wrapping token.
func opens(content string) unwrapper {
	return func(token secret.Secret, _ string) ([]byte, error) {
		if token.Reveal() != "wrapping" {
			return nil, errors.New("wrong token")
		}
		return []byte(content), nil
	}
}

func TestWrappedLogin(t *testing.T) {
	t.Parallel()
	never := unwrapper(func(secret.Secret, string) ([]byte, error) {
		t.Error("opened what it must not")
		return nil, errors.New("opened")
	})
	sealed := unwrapper(func(secret.Secret, string) ([]byte, error) { return nil, errors.New("sealed") })
	ok := mfa.Verdict{Outcome: mfa.Approved}
	const finished, final = `{"wrap_info":{"token":"w","wrapped_accessor":"a"},"warnings":null}`, `{"wrap_info":{"token":"final"}}`
	type test struct {
		path      string
		answer    string
		token     string
		unwrapper unwrapper
		verdict   mfa.Verdict
		want      string
		sent      int // requests that Vault saw
	}
	tests := map[string]test{
		"held":           {alice, wrappedChallenge, "", opens(challenge), ok, final, 1},
		"finished":       {alice, finished, "", never, mfa.Verdict{}, finished, 1},
		"a batch token":  {alice, wrappedChallenge, "", opens(`{"auth":{"client_token":"hvb.x"}}`), mfa.Verdict{}, wrappedChallenge, 2},
		"a secret id":    {"/v1/auth/approle/role/login/secret-id", wrappedChallenge, "t", never, mfa.Verdict{}, wrappedChallenge, 1},
		"no login":       {"/v1/auth/approle/role/x/secret-id", wrappedChallenge, "", never, mfa.Verdict{}, wrappedChallenge, 1},
		"a secret":       {"/v1/kv/data/login", wrappedChallenge, "", never, mfa.Verdict{}, wrappedChallenge, 1},
		"cannot open":    {alice, wrappedChallenge, "", sealed, mfa.Verdict{}, wrappedChallenge, 1},
		"no way to ask":  {alice, wrappedChallenge, "", opens(challenge), noPrompt, warnedChallenge, 1},
		"in a namespace": {"/v1/ns1/auth/x/login/alice", wrappedChallenge, "", opens(challenge), ok, final, 1},
		"not wrapped":    {alice, challenge, "", never, ok, final, 1},
	}
	each(t, tests, func(t *testing.T, tt test) {
		var sent calls
		address := upstream(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			sent.note("%s %s", body, r.Header.Get("X-Vault-Wrap-Ttl"))
			answer(200, tt.answer)(w, r)
		})
		f := newFixture(t, address, func(c *relay.Config) { c.Unwrapper = tt.unwrapper })
		f.resolver.login = func(c mfa.Challenge) (*http.Response, mfa.Verdict) {
			equal(t, "wrap ttl", "60s", c.WrapTTL)
			if !tt.verdict.OK() {
				return nil, tt.verdict
			}
			return loginAnswer(200, final, tt.verdict)(c)
		}
		header := []string{"X-Vault-Wrap-Ttl", "60s"}
		if tt.token != "" {
			header = append(header, "X-Vault-Token", tt.token)
		}
		equal(t, "answer", tt.want, f.logIn(t, tt.path, header...).Body)
		if n := len(f.resolver.noted()); (n > 0) != (tt.verdict.Outcome != "") {
			t.Errorf("resolver was asked %d times", n)
		}
		want := []string{`{"password":"p"} 60s`, `{"password":"p"} 60s`}
		equal(t, "vault saw", want[:tt.sent], sent.noted())
	})
}

// The login may have to be done again, so a wrapped answer is not opened where its body is gone.
func TestWrappedLoginThatCannotBeRepeated(t *testing.T) {
	t.Parallel()
	f := newFixture(t, upstream(t, answer(200, wrappedChallenge)), func(c *relay.Config) {
		c.MaxKept = -1
		c.Unwrapper = unwrapper(func(secret.Secret, string) ([]byte, error) {
			t.Error("opened")
			return []byte(challenge), nil
		})
	})
	equal(t, "answer", wrappedChallenge, f.logIn(t, alice, "X-Vault-Wrap-Ttl", "60s").Body)
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
	type test struct {
		body      string
		malformed bool
		header    []string
	}
	tests := map[string]test{
		"truncated":          {body: challenge[:len(challenge)-9], malformed: true},
		"5 MB":               {body: big, malformed: true},
		"10,000 constraints": {body: `{"auth":{"mfa_requirement":{"mfa_request_id":"x","mfa_constraints":{` + strings.TrimSuffix(many.String(), ",") + `}}}}`, malformed: true},
		"no constraints":     {body: `{"auth":{"mfa_requirement":{"mfa_request_id":"x"}}}`, malformed: true},
		"ordinary login":     {body: `{"auth":{"client_token":"t","mfa_requirement":null}}`},
		"secret of the name": {body: `{"data":{"auth":{"mfa_requirement":{"mfa_request_id":"x"}}},"auth":null}`},
		"large secret":       {body: `{"data":{"a":"` + strings.Repeat("x", 200<<10) + `"},"auth":null}`},
		// It is noticed by its beginning, also where it says that it is too large to be one.
		"5 MB with a length": {body: big, malformed: true, header: []string{"Content-Length", strconv.Itoa(len(big))}},
	}
	each(t, tests, func(t *testing.T, tt test) {
		f := newFixture(t, upstream(t, answer(200, tt.body, tt.header...)))
		resp, body := fetch(t, f.request(t, "POST "+alice, strings.NewReader("{}")))
		if resp.StatusCode != 200 || body != tt.body || resp.Header.Get(relay.Outcome) != "" || tt.header != nil && resp.ContentLength != int64(len(body)) {
			t.Errorf("answer changed: %d, %d bytes of %d", resp.StatusCode, len(body), len(tt.body))
		}
		if lines := strings.Count(f.log.String(), "\n"); lines > 1 || strings.Contains(f.log.String(), "malformed") != tt.malformed || (lines == 1) != tt.malformed {
			t.Errorf("log: %s", f.log)
		}
		equal(t, "calls", []string(nil), f.resolver.noted())
	})
}

func TestPackedChallenge(t *testing.T) {
	t.Parallel()
	var br, zst strings.Builder
	b, z := brotli.NewWriter(&br), must(zstd.NewWriter(&zst))
	for _, w := range []io.WriteCloser{b, z} {
		_, _ = io.WriteString(w, challenge)
		_ = w.Close()
	}
	for encoding, text := range map[string]string{"gzip": gzipped(challenge), "br": br.String(), "zstd": zst.String()} {
		packed := answer(200, text, "Content-Type", "application/json; charset=utf-8", "Content-Encoding", encoding)
		f := newFixture(t, upstream(t, packed))
		f.resolver.login = loginAnswer(200, `{}`, mfa.Verdict{Outcome: mfa.Approved})
		equal(t, encoding, reply{200, "{}", "approved"}, f.logIn(t, alice, "Accept-Encoding", encoding))
	}
}

// An answer that cannot be unpacked passes, and the log says so once.
func TestUnknownPacking(t *testing.T) {
	t.Parallel()
	f := newFixture(t, upstream(t, answer(200, "x", "Content-Encoding", "compress")))
	for range 2 {
		equal(t, "answer", reply{200, "x", ""}, f.logIn(t, alice, "Accept-Encoding", "compress"))
	}
	if n := strings.Count(f.log.String(), "is packed in a way"); n != 1 {
		t.Errorf("said %d times: %s", n, f.log)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestLoginMFAOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t, upstream(t, answer(200, challenge)), func(c *relay.Config) { c.LoginMFA = false })
	equal(t, "answer", reply{200, challenge, ""}, f.logIn(t, alice))
}
