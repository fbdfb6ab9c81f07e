package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache/secret"
)

func TestValidateNode(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		node func(configured, other string) string
		path string // of the other node where it is /v1/…, else of the configured one
	}{
		{"none", func(_, _ string) string { return "" }, "/base/v1/sys/mfa/validate"},
		{"the configured one", func(c, _ string) string { return c }, "/base/v1/sys/mfa/validate"},
		{"another one", func(_, o string) string { return o }, "/v1/sys/mfa/validate"},
		{"another scheme", func(_, o string) string { return "https" + strings.TrimPrefix(o, "http") }, "/base/v1/sys/mfa/validate"},
		{"no URL", func(_, _ string) string { return "http://%zz" }, "/base/v1/sys/mfa/validate"},
		{"no host", func(_, _ string) string { return "http://" }, "/base/v1/sys/mfa/validate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			configured, other := newFixture(t, "/base", 200, "{}"), newFixture(t, "", 200, "{}")
			resp, err := configured.Validate(t.Context(), mfa.Challenge{RequestID: "r", Node: tt.node(configured.url, other.url)}, nil)
			must(t, err)
			_ = resp.Body.Close()
			asked, spared := configured, other
			if strings.HasPrefix(tt.path, "/v1") {
				asked, spared = other, configured
			}
			if got := asked.only().Call; got != "POST "+tt.path || len(spared.seen) != 0 {
				t.Errorf("%s and %d requests to the other node, want %s and none", got, len(spared.seen), tt.path)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	target := newFixture(t, "", 200, `{"data":{"capabilities":["read"]}}`)
	there := target.url + "/v1/elsewhere"
	tests := []struct {
		name     string
		status   int
		location string
		tls      bool
		want     error // nil means that the target answers
	}{
		{"307 to another node", 307, there, false, nil},
		{"308 to another node", 308, there, false, nil},
		{"userinfo is dropped", 307, strings.Replace(there, "://", "://u:p@", 1), false, nil},
		{"https to http", 307, there, true, errRedirect},
		{"http to https", 307, "https://vault.test/v1/elsewhere", false, errRedirect},
		{"302 would lose the body", 302, there, false, errRedirect},
		{"303 would lose the body", 303, there, false, errRedirect},
		{"no location", 307, "", false, errRedirect},
		{"another protocol", 307, "ws://vault.test/", false, errRedirect},
		{"round and round", 307, "/again", false, errTooManyRedirects},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, "", tt.status, "")
			if tt.location != "" {
				f.header.Set("Location", tt.location)
			}
			if tt.tls {
				srv := tlsServer(t, nil, f.ServeHTTP)
				f.Client = newClient(t, srv.URL, Config{Transport: srv.Client().Transport})
			}
			words, err := f.Capabilities(t.Context(), testToken, "ns1", "kv/data/x")
			if tt.want != nil {
				if !errors.Is(err, tt.want) || len(target.seen) != 0 {
					t.Errorf("error = %v with %d requests to the target, want %v and none", err, len(target.seen), tt.want)
				}
				return
			}
			if err != nil || !slices.Equal(words, []string{"read"}) {
				t.Fatalf("Capabilities = %q, %v", words, err)
			}
			want := f.only()
			want.Call = "POST /v1/elsewhere"
			if diff := cmp.Diff(want, target.only()); diff != "" {
				t.Errorf("at the target (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSocketIsNotLeft(t *testing.T) {
	t.Parallel()
	outside := newFixture(t, "", 200, "{}")
	location := "/v1/again"
	address := unixServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == location {
			_, _ = io.WriteString(w, `{"data":{"capabilities":["list"]}}`)
			return
		}
		if r.Header.Get("X-Vault-Namespace") == "out" {
			location = outside.url
		}
		w.Header().Set("Location", location)
		w.WriteHeader(307)
	})
	c := newClient(t, address.String(), Config{})
	if words, err := c.Capabilities(t.Context(), testToken, "", "x"); err != nil || !slices.Equal(words, []string{"list"}) {
		t.Errorf("redirect within the socket: %q, %v", words, err)
	}
	resp, err := c.Validate(t.Context(), mfa.Challenge{Node: outside.url, Namespace: "out"}, nil)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, errRedirect) || len(outside.seen) != 0 {
		t.Errorf("redirect out of the socket: %v and %d requests, want %v and none", err, len(outside.seen), errRedirect)
	}
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

// A server in front of Vault shows our request in its error page.
func TestEchoedTokenIsCutOut(t *testing.T) {
	t.Parallel()
	c := newClient(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{fmt.Sprint("request was ", r.Header)}})
	}), Config{})
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
	f.Add(500, []byte(`{"errors":["hvs.hvs.["]}`), "[")
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

// No secret gets out by the verbs that errors and logs use.
func TestRequestsPrintNoSecret(t *testing.T) {
	t.Parallel()
	mint := MintRequest{Path: "p", Token: "hvs.CANARY", Credentials: []mfa.Credential{{Method: "m", Passcode: "CANARY"}}}
	login := LoginRequest{Path: "p", Password: "CANARY"}
	k := call{method: "POST", path: "p", Token: "hvs.CANARY", credentials: mint.Credentials, body: map[string]any{"password": "CANARY"}}
	for _, v := range []any{mint, &mint, login, &login, k, &k, Auth{Token: "hvs.CANARY"}, []any{mint, login, k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			if shown := fmt.Sprintf(verb, v); strings.Contains(shown, "CANARY") {
				t.Errorf("%T with %s: a secret is printed", v, verb)
			}
		}
	}
	if text, err := json.Marshal(k.Token); err != nil || strings.Contains(string(text), "CANARY") {
		t.Errorf("the token in JSON is %s (%v)", text, err)
	}
}
