package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/cache/secret"
)

func TestCapabilities(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		status int
		body   string
		want   []string // nil means an error
	}{
		{"under the path", 200, `{"data":{"kv/data/x":["read","list"]}}`, []string{"read", "list"}},
		{"one path only", 200, `{"data":{"capabilities":["deny"]}}`, []string{"deny"}},
		{"both", 200, `{"data":{"capabilities":["deny"],"kv/data/x":["root"]}}`, []string{"root"}},
		{"none", 200, `{"data":{"kv/data/x":[]}}`, []string{}},
		{"another path", 200, `{"data":{"kv/data/y":["read"]}}`, nil},
		{"not a list", 200, `{"data":{"kv/data/x":"read"}}`, nil},
		{"not words", 200, `{"data":{"kv/data/x":[1]}}`, nil},
		{"no data", 200, `{}`, nil},
		{"no JSON", 200, `<html>`, nil},
		{"nothing", 204, ``, nil},
		{"dead token", 403, `{"errors":["permission denied"]}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rec := record(tt.status, tt.body)
			c := newClient(t, serve(t, rec))
			got, err := c.Capabilities(t.Context(), testToken, "ns1", "kv/data/x")
			if (err != nil) != (tt.want == nil) || !slices.Equal(got, tt.want) {
				t.Errorf("Capabilities = %q, %v, want %q", got, err, tt.want)
			}
			req := rec.only(t)
			if req.Method != http.MethodPost || req.Path != "/v1/sys/capabilities-self" || req.Body != `{"paths":["kv/data/x"]}` {
				t.Errorf("sent %s %s %s", req.Method, req.Path, req.Body)
			}
			if req.Header.Get("X-Vault-Token") != testToken.Reveal() || req.Header.Get("X-Vault-Namespace") != "ns1" {
				t.Errorf("sent headers %v", req.Header)
			}
		})
	}
}

func TestUnwrap(t *testing.T) {
	t.Parallel()
	const wrapped = `{"auth":{"mfa_requirement":{"mfa_request_id":"r"}},"extra": 1.50}`
	rec := record(200, wrapped)
	c := newClient(t, serve(t, rec))
	body, err := c.Unwrap(t.Context(), testToken, "ns1")
	if err != nil || string(body) != wrapped {
		t.Errorf("Unwrap = %s, %v, want %s", body, err, wrapped)
	}
	req := rec.only(t)
	if req.Method != http.MethodPost || req.Path != "/v1/sys/wrapping/unwrap" || req.Header.Get("X-Vault-Token") != testToken.Reveal() {
		t.Errorf("sent %s %s %v", req.Method, req.Path, req.Header)
	}

	c = newClient(t, serve(t, record(204, "")))
	if body, err := c.Unwrap(t.Context(), testToken, ""); err != nil || body != nil {
		t.Errorf("an empty response: %q, %v, want nil", body, err)
	}
	c = newClient(t, serve(t, record(400, `{"errors":["wrapping token is not valid or does not exist"]}`)))
	_, err = c.Unwrap(t.Context(), testToken, "")
	if se, ok := errors.AsType[*StatusError](err); !ok || se.Status != 400 || len(se.Errors) != 1 {
		t.Errorf("a used token: %v", err)
	}
	c = newClient(t, serve(t, record(200, strings.Repeat(" ", maxBody+1))))
	if body, err := c.Unwrap(t.Context(), testToken, ""); err == nil {
		t.Errorf("an endless response: %d bytes and no error", len(body))
	}
}

func TestLookupAndRevokeSelf(t *testing.T) {
	t.Parallel()
	rec := record(200, `{"data":{"accessor":"acc","entity_id":"e1","policies":["default","prod"],"ttl":300,"num_uses":2,"id":"hvs.x"}}`)
	c := newClient(t, serve(t, rec))
	got, err := c.LookupSelf(t.Context(), testToken, "ns1")
	want := TokenInfo{Accessor: "acc", EntityID: "e1", Policies: []string{"default", "prod"}, TTL: 5 * time.Minute, Uses: 2}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("LookupSelf: %v (-want +got):\n%s", err, diff)
	}
	if req := rec.only(t); req.Method != http.MethodGet || req.Path != "/v1/auth/token/lookup-self" {
		t.Errorf("sent %s %s", req.Method, req.Path)
	}
	c = newClient(t, serve(t, record(200, `{"data":{"accessor":7,"policies":["a"],"ttl":"x"}}`)))
	if info, err := c.LookupSelf(t.Context(), testToken, ""); err == nil {
		t.Errorf("malformed answer gave %+v", info)
	}

	rec = record(204, "")
	c = newClient(t, serve(t, rec))
	if err := c.RevokeSelf(t.Context(), testToken, "ns1"); err != nil {
		t.Error(err)
	}
	req := rec.only(t)
	if req.Method != http.MethodPost || req.Path != "/v1/auth/token/revoke-self" || req.Header.Get("X-Vault-Namespace") != "ns1" {
		t.Errorf("sent %s %s %v", req.Method, req.Path, req.Header)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	answer := func(rest string, skew time.Duration) string {
		return fmt.Sprintf(`{"version":"1.21.0","server_time_utc":%d%s}`, time.Now().Add(skew).Unix(), rest)
	}
	tests := []struct {
		name   string
		status int
		body   string
		want   Health
		fails  bool
	}{
		{"active", 200, answer(`,"initialized":true`, 0), Health{Up: true, Initialized: true}, false},
		{"standby", 429, answer(`,"initialized":true,"standby":true`, 0), Health{Up: true, Initialized: true, Standby: true}, false},
		{"performance standby", 473, answer(`,"initialized":true,"performance_standby":true`, 0), Health{Up: true, Initialized: true, Standby: true}, false},
		{"not initialised", 501, answer(`,"sealed":true`, 0), Health{Up: true, Sealed: true}, false},
		{"sealed", 503, answer(`,"initialized":true,"sealed":true`, 0), Health{Up: true, Initialized: true, Sealed: true}, false},
		{"ahead", 200, answer("", 10*time.Minute), Health{Up: true, Skew: 10 * time.Minute}, false},
		{"behind", 200, answer("", -10*time.Minute), Health{Up: true, Skew: -10 * time.Minute}, false},
		{"a load balancer", 503, "<html>no backend</html>", Health{}, true},
		{"other JSON", 200, `{"status":"ok"}`, Health{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rec := record(tt.status, tt.body)
			c := newClient(t, serve(t, rec)+"/base")
			got, err := c.Health(t.Context())
			if (err != nil) != tt.fails {
				t.Fatalf("Health: %v", err)
			}
			if !tt.fails {
				tt.want.Version = "1.21.0"
			}
			// The bodies are older than the answers by the time the tests take.
			if off := (got.Skew - tt.want.Skew).Abs(); off > time.Minute {
				t.Errorf("skew = %v, want about %v", got.Skew, tt.want.Skew)
			}
			got.Skew = tt.want.Skew
			if got != tt.want {
				t.Errorf("Health = %+v, want %+v", got, tt.want)
			}
			if req := rec.only(t); req.Path != "/base/v1/sys/health" || req.Header.Get("X-Vault-Token") != "" {
				t.Errorf("sent %s %v", req.Path, req.Header)
			}
		})
	}
}

func TestSkew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, ahead := range []time.Duration{-time.Hour, -30 * time.Second, 0, 30 * time.Second} {
			sent := time.Now()
			server := sent.Add(time.Second).Add(ahead).Unix() // Vault answers in the middle
			time.Sleep(2 * time.Second)
			if got := skew(server, sent, time.Now()); (got - ahead).Abs() > time.Second {
				t.Errorf("skew = %v, want %v", got, ahead)
			}
		}
	})
}

func TestStatusErrorText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		err  StatusError
		want string
	}{
		{"nothing", StatusError{Status: 502}, "vault answered 502"},
		{"lines", StatusError{Status: 403, Errors: []string{"1 error occurred:\n\t* permission denied\n\n"}}, "vault answered 403: 1 error occurred: * permission denied"},
		{"several", StatusError{Status: 400, Errors: []string{"a", "b"}}, "vault answered 400: a; b"},
		{"escapes", StatusError{Status: 400, Errors: []string{"\x1b[2Jgone\u202e"}}, "vault answered 400: [2Jgone"},
		{"long", StatusError{Status: 400, Errors: []string{strings.Repeat("ä", 500)}}, "vault answered 400: " + strings.Repeat("ä", 150) + "…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.err.Error(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Something in front of Vault shows our request in its error page.
func TestEchoedTokenIsCutOut(t *testing.T) {
	t.Parallel()
	c := newClient(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{fmt.Sprint("request was ", r.Header)}})
	})))
	err := c.RevokeSelf(t.Context(), testToken, "")
	if err == nil || strings.Contains(err.Error(), testToken.Reveal()) || !strings.Contains(err.Error(), "[redacted]") {
		t.Errorf("error = %v, want one with the token cut out", err)
	}
}

// FuzzStatusError states that no answer brings the token, a second line or a
// control character into an error.
func FuzzStatusError(f *testing.F) {
	f.Add(403, []byte(`{"errors":["permission denied"]}`), "secret")
	f.Add(400, []byte(`{"errors":["your header was hvs.secret","\u001b[0m"]}`), "secret")
	f.Add(502, []byte(`<html>`), "secret")
	f.Add(500, []byte(`{"errors":["hvs.hvs.a.a"]}`), "a")
	f.Fuzz(func(t *testing.T, status int, body []byte, token string) {
		e := newStatusError(status, body, secret.Secret("hvs."+token))
		for _, text := range e.Errors {
			if strings.Contains(text, "hvs."+token) {
				t.Errorf("the token is in %q", text)
			}
		}
		text := e.Error()
		if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("not one printable line: %q", text)
		}
		if len(text) > maxErrorText+60 {
			t.Errorf("%d bytes", len(text))
		}
	})
}

// FuzzTrust states that neither a node nor a redirect leads to another scheme,
// nor takes userinfo along.
func FuzzTrust(f *testing.F) {
	for _, s := range []string{"http://b", "https://b", "//b", "/x", "https://u:p@b", "HTTPS://a", "https:b", "ws://b"} {
		f.Add(s)
	}
	c, err := New(Config{Address: &url.URL{Scheme: "https", Host: "a", Path: "/base"}, Transport: http.DefaultTransport})
	if err != nil {
		f.Fatal(err)
	}
	from := c.base.JoinPath("v1", "x")
	f.Fuzz(func(t *testing.T, s string) {
		if n := c.node(s); n.Scheme != "https" || n.Host == "" || n.User != nil {
			t.Errorf("node(%q) = %s", s, n)
		}
		resp := &http.Response{StatusCode: 307, Header: http.Header{"Location": {s}}, Request: &http.Request{URL: from}}
		if to, err := c.redirect(from, resp); err == nil && (to.Scheme != "https" || to.Host == "" || to.User != nil) {
			t.Errorf("redirect to %q = %s", s, to)
		}
	})
}

// A token never gets out by the verbs that errors and logs use.
func TestCallPrintsNoToken(t *testing.T) {
	t.Parallel()
	k := call{method: "GET", path: "x", Token: testToken}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %q", k, k, k, k), func() string { b, _ := json.Marshal(k.Token); return string(b) }()} {
		if strings.Contains(text, testToken.Reveal()) {
			t.Errorf("token in %s", text)
		}
	}
}
