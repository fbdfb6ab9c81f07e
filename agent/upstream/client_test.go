package upstream

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache"
)

const testToken = cache.Secret("hvs.test-token")

// A request is what a test server has seen.
type request struct {
	Method, Path string
	Header       http.Header
	Body         string
}

// A recorder is a Vault that answers everything in one way and remembers.
type recorder struct {
	status int
	body   string
	header http.Header
	seen   chan request
}

func record(status int, body string) *recorder {
	return &recorder{status: status, body: body, seen: make(chan request, 16)}
}

func (rec *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	rec.seen <- request{r.Method, r.URL.EscapedPath(), r.Header.Clone(), string(body)}
	maps.Copy(w.Header(), rec.header)
	w.WriteHeader(rec.status)
	_, _ = io.WriteString(w, rec.body)
}

// only returns the one request that was seen.
func (rec *recorder) only(t *testing.T) request {
	t.Helper()
	if n := len(rec.seen); n != 1 {
		t.Fatalf("%d requests were seen, want 1", n)
	}
	return <-rec.seen
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func newClient(t *testing.T, address string) *Client {
	t.Helper()
	return newClientWith(t, address, Config{})
}

func newClientWith(t *testing.T, address string, cfg Config) *Client {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Transport == nil {
		_, socket := Base(u)
		tr, err := NewTransport(TLS{Socket: socket})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(tr.CloseIdleConnections)
		cfg.Transport = tr
	}
	cfg.Name, cfg.Address = "corp", u
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewErrors(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, address, want string }{
		{"no scheme", "vault.test:8200/", "must start with"},
		{"other scheme", "ftp://vault.test", "must start with"},
		{"no host", "https:///v1", "no host"},
		{"query", "https://vault.test/?a=b", "no query"},
		{"socket without path", "unix://", "unix:///path"},
		{"socket with a host", "unix://run/vault.sock", "unix:///path"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u, err := url.Parse(tt.address)
			if err != nil {
				t.Fatal(err)
			}
			_, err = New(Config{Name: "corp", Address: u, Transport: http.DefaultTransport})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), `"corp"`) {
				t.Errorf("New = %v, want an error with %q and the vault's name", err, tt.want)
			}
		})
	}
	if _, err := New(Config{Name: "corp", Transport: http.DefaultTransport}); err == nil {
		t.Error("New without an address: no error")
	}
	if _, err := New(Config{Name: "corp", Address: &url.URL{Scheme: "http", Host: "h"}}); err == nil {
		t.Error("New without a transport: no error")
	}
}

// The environment is that of a shell which uses stepup: nothing of it may choose
// the server, become a header or make a call fail.
func TestEnvironmentHasNoEffect(t *testing.T) {
	environments := map[string]map[string]string{
		"valid": {
			"VAULT_ADDR": "http://192.0.2.1:1", "VAULT_AGENT_ADDR": "http://192.0.2.1:2", "VAULT_TOKEN": "hvs.stray",
			"VAULT_NAMESPACE": "stray", "VAULT_SKIP_VERIFY": "true", "VAULT_RATE_LIMIT": "0.000001:1", "VAULT_MAX_RETRIES": "7",
			"VAULT_WRAP_TTL": "60", "VAULT_HEADERS": `{"Stray":"1"}`, "VAULT_MFA": "stray:1", "VAULT_CLIENT_TIMEOUT": "1ns",
			"VAULT_SRV_LOOKUP": "true", "VAULT_DISABLE_REDIRECTS": "true", "VAULT_TLS_SERVER_NAME": "stray.test",
		},
		"malformed": {
			"VAULT_ADDR": "::", "VAULT_AGENT_ADDR": "%zz", "VAULT_TOKEN": "a\nb", "VAULT_NAMESPACE": "\n",
			"VAULT_SKIP_VERIFY": "maybe", "VAULT_RATE_LIMIT": "fast", "VAULT_MAX_RETRIES": "-", "VAULT_CLIENT_TIMEOUT": "soon",
			"VAULT_CACERT": "/nonexistent/ca.pem", "VAULT_CACERT_BYTES": "x", "VAULT_CAPATH": "/nonexistent", "VAULT_CLIENT_CERT": "/nonexistent",
			"VAULT_HEADERS": `{"X-Vault-Token":"stray"}`, "VAULT_SRV_LOOKUP": "?", "VAULT_DISABLE_REDIRECTS": "?",
			"BAO_ADDR": "::", "BAO_TOKEN": "stray",
		},
	}
	for name, env := range environments {
		t.Run(name, func(t *testing.T) {
			for k, v := range env {
				t.Setenv(k, v)
			}
			ca := newAuthority(t, "ca")
			rec := record(503, `{"errors":["Vault is sealed"]}`)
			srv := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "vault.test", time.Now().Add(time.Hour)).tls(t)}}, rec.ServeHTTP)
			if tr, err := NewTransport(TLS{}); err != nil {
				t.Fatal(err)
			} else if _, _, err := get(tr, srv.URL); err == nil {
				t.Error("VAULT_SKIP_VERIFY had an effect")
			}
			tr, err := NewTransport(TLS{CACert: write(t, t.TempDir(), "ca.pem", ca.pem)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(tr.CloseIdleConnections)
			c := newClientWith(t, srv.URL, Config{Transport: tr})
			err = c.RevokeSelf(t.Context(), testToken, "")
			if se, ok := errors.AsType[*StatusError](err); !ok || se.Status != 503 {
				t.Fatalf("RevokeSelf = %v, want Vault's 503", err)
			}
			got := rec.only(t) // a retry of the 503 would be a second one
			want := http.Header{
				"X-Vault-Request": {"true"}, "X-Vault-Token": {testToken.Reveal()},
				"User-Agent": {"stepup"}, "Content-Length": {"0"},
			}
			if diff := cmp.Diff(want, got.Header); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestValidateRequest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		base      string
		challenge mfa.Challenge
		payload   map[string][]string
		path      string
		body      string
		header    map[string]string
	}{
		{
			name:      "one code",
			challenge: mfa.Challenge{RequestID: "r1"},
			payload:   map[string][]string{"m1": {"123456"}},
			path:      "/v1/sys/mfa/validate",
			body:      `{"mfa_payload":{"m1":["123456"]},"mfa_request_id":"r1"}`,
			header:    map[string]string{"X-Vault-Namespace": "", "X-Vault-Wrap-Ttl": "", "X-Vault-Token": ""},
		},
		{
			name:      "a push and a code, namespace, wrapping, base path",
			base:      "/behind/vault",
			challenge: mfa.Challenge{RequestID: "r2", Namespace: "ns1/ns2", WrapTTL: "120s"},
			payload:   map[string][]string{"m1": nil, "m2": {"1"}},
			path:      "/behind/vault/v1/sys/mfa/validate",
			body:      `{"mfa_payload":{"m1":[""],"m2":["1"]},"mfa_request_id":"r2"}`,
			header:    map[string]string{"X-Vault-Namespace": "ns1/ns2", "X-Vault-Wrap-Ttl": "120s"},
		},
		{
			name:      "base path with an escape and a slash at its end",
			base:      "/a%2Fb/",
			challenge: mfa.Challenge{RequestID: "r3"},
			payload:   map[string][]string{"m1": {}},
			path:      "/a%2Fb/v1/sys/mfa/validate",
			body:      `{"mfa_payload":{"m1":[""]},"mfa_request_id":"r3"}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rec := record(200, `{}`)
			c := newClient(t, serve(t, rec)+tt.base)
			before := fmt.Sprint(tt.payload)
			resp, err := c.Validate(t.Context(), tt.challenge, tt.payload)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			got := rec.only(t)
			if got.Method != http.MethodPost || got.Path != tt.path || got.Body != tt.body {
				t.Errorf("got %s %s %s\nwant POST %s %s", got.Method, got.Path, got.Body, tt.path, tt.body)
			}
			for name, want := range tt.header {
				if v := got.Header.Get(name); v != want {
					t.Errorf("%s = %q, want %q", name, v, want)
				}
			}
			if after := fmt.Sprint(tt.payload); after != before {
				t.Errorf("payload was changed to %s", after)
			}
		})
	}
}

// Whatever Vault says is the caller's, byte for byte.
func TestValidateAnswer(t *testing.T) {
	t.Parallel()
	for status, body := range map[int]string{
		200: `{"auth":{"client_token":"x"}}`,
		204: "",
		400: `{"errors":["invalid request ID"]}`,
		403: `{"errors":["failed to satisfy enforcement"]}`,
		429: `{"errors":["quota"]}`,
		500: "{",
		503: "<html>\x00\xff</html>",
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			rec := record(status, body)
			rec.header = http.Header{"X-Vault-Index": {"abc"}}
			c := newClient(t, serve(t, rec))
			resp, err := c.Validate(t.Context(), mfa.Challenge{RequestID: "r"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != status || string(got) != body || resp.Header.Get("X-Vault-Index") != "abc" {
				t.Errorf("got %d %q %v, %v, want %d %q", resp.StatusCode, got, resp.Header, err, status, body)
			}
			rec.only(t)
		})
	}
}

func TestValidateNode(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		node  func(configured, other string) string
		other bool // whether the other node is asked
		path  string
	}{
		{"none", func(_, _ string) string { return "" }, false, "/base/v1/sys/mfa/validate"},
		{"the configured one", func(c, _ string) string { return c }, false, "/base/v1/sys/mfa/validate"},
		{"another one", func(_, o string) string { return o }, true, "/v1/sys/mfa/validate"},
		{"another scheme", func(_, o string) string { return "https" + strings.TrimPrefix(o, "http") }, false, "/base/v1/sys/mfa/validate"},
		{"no URL", func(_, _ string) string { return "http://%zz" }, false, "/base/v1/sys/mfa/validate"},
		{"no host", func(_, _ string) string { return "http://" }, false, "/base/v1/sys/mfa/validate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			configured, other := record(200, "{}"), record(200, "{}")
			a, b := serve(t, configured), serve(t, other)
			c := newClient(t, a+"/base")
			resp, err := c.Validate(t.Context(), mfa.Challenge{RequestID: "r", Node: tt.node(a, b)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			asked, spared := configured, other
			if tt.other {
				asked, spared = other, configured
			}
			if got := asked.only(t); got.Path != tt.path || len(spared.seen) != 0 {
				t.Errorf("path %s and %d requests to the other node, want %s and none", got.Path, len(spared.seen), tt.path)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	plain := record(200, `{"data":{"capabilities":["read"]}}`)
	plainURL := serve(t, plain)
	tests := []struct {
		name     string
		status   int
		location string
		tls      bool
		want     error // nil means that the target answers
	}{
		{"307 to another node", 307, plainURL + "/v1/elsewhere", false, nil},
		{"308 to another node", 308, plainURL + "/v1/elsewhere", false, nil},
		{"userinfo is dropped", 307, strings.Replace(plainURL, "://", "://u:p@", 1) + "/v1/elsewhere", false, nil},
		{"https to http", 307, plainURL + "/v1/elsewhere", true, errRedirect},
		{"http to https", 307, "https://vault.test/v1/elsewhere", false, errRedirect},
		{"302 would lose the body", 302, plainURL + "/v1/elsewhere", false, errRedirect},
		{"303 would lose the body", 303, plainURL + "/v1/elsewhere", false, errRedirect},
		{"no location", 307, "", false, errRedirect},
		{"another protocol", 307, "ws://vault.test/", false, errRedirect},
		{"round and round", 307, "/again", false, errTooManyRedirects},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := record(tt.status, "")
			if tt.location != "" {
				rec.header = http.Header{"Location": {tt.location}}
			}
			var c *Client
			if tt.tls {
				srv := tlsServer(t, nil, rec.ServeHTTP)
				c = newClientWith(t, srv.URL, Config{Transport: srv.Client().Transport})
			} else {
				c = newClient(t, serve(t, rec))
			}
			words, err := c.Capabilities(t.Context(), testToken, "ns1", "kv/data/x")
			if tt.want != nil {
				if !errors.Is(err, tt.want) || len(plain.seen) != 0 {
					t.Errorf("error = %v with %d requests to the target, want %v and none", err, len(plain.seen), tt.want)
				}
				return
			}
			if err != nil || !slices.Equal(words, []string{"read"}) {
				t.Fatalf("Capabilities = %q, %v", words, err)
			}
			got, first := plain.only(t), rec.only(t)
			if got.Method != first.Method || got.Body != first.Body || got.Path != "/v1/elsewhere" {
				t.Errorf("target saw %s %s %s, want %s and %s", got.Method, got.Path, got.Body, first.Method, first.Body)
			}
			if diff := cmp.Diff(first.Header, got.Header); diff != "" {
				t.Errorf("headers at the target (-first +got):\n%s", diff)
			}
		})
	}
}

func TestSocketIsNotLeft(t *testing.T) {
	t.Parallel()
	plain := record(200, "{}")
	plainURL := serve(t, plain)
	location := "/v1/again"
	address := unixServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == location {
			_, _ = io.WriteString(w, `{"data":{"capabilities":["list"]}}`)
			return
		}
		if r.Header.Get("X-Vault-Namespace") == "out" {
			location = plainURL
		}
		w.Header().Set("Location", location)
		w.WriteHeader(307)
	})
	c := newClient(t, address.String())
	if words, err := c.Capabilities(t.Context(), testToken, "", "x"); err != nil || !slices.Equal(words, []string{"list"}) {
		t.Errorf("redirect within the socket: %q, %v", words, err)
	}
	resp, err := c.Validate(t.Context(), mfa.Challenge{Node: plainURL, Namespace: "out"}, nil)
	if !errors.Is(err, errRedirect) {
		if err == nil {
			_ = resp.Body.Close()
		}
		t.Errorf("redirect out of the socket: %v, want %v", err, errRedirect)
	}
	if len(plain.seen) != 0 {
		t.Error("a request left the socket")
	}
}

// A load balancer that gives up on a push closes the connection without an
// answer. Sending again would push again.
func TestValidateIsSentOnce(t *testing.T) {
	t.Parallel()
	var validates atomic.Int32
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = fmt.Fprintf(w, `{"server_time_utc":%d}`, time.Now().Unix())
			return
		}
		validates.Add(1)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}))
	c := newClient(t, address)
	if _, err := c.Health(t.Context()); err != nil { // net/http repeats only on a connection that was used before
		t.Fatal(err)
	}
	resp, err := c.Validate(t.Context(), mfa.Challenge{RequestID: "r"}, map[string][]string{"m": nil})
	if err == nil {
		_ = resp.Body.Close()
		t.Fatal("no error")
	}
	if n := validates.Load(); n != 1 {
		t.Errorf("validate was sent %d times", n)
	}
}

// hung is a Vault that waits for a push; gone says when a caller has left.
func hung(t *testing.T) (address string, arrived, gone chan struct{}) {
	t.Helper()
	arrived, gone = make(chan struct{}, 1), make(chan struct{}, 1)
	stop := make(chan struct{})
	address = serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server watches the connection once the body is read
		arrived <- struct{}{}
		select {
		case <-r.Context().Done():
			gone <- struct{}{}
		case <-stop:
		}
	}))
	t.Cleanup(func() { close(stop) })
	return address, arrived, gone
}

func TestValidateEndsWithContext(t *testing.T) {
	t.Parallel()
	address, arrived, gone := hung(t)
	c := newClient(t, address)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	resp, err := c.Validate(ctx, mfa.Challenge{RequestID: "r"}, nil)
	if !errors.Is(err, context.Canceled) {
		if err == nil {
			_ = resp.Body.Close()
		}
		t.Fatalf("error = %v, want %v", err, context.Canceled)
	}
	<-gone // Vault takes the push back
}

func TestValidateHasALimit(t *testing.T) {
	t.Parallel()
	address, _, gone := hung(t)
	c := newClientWith(t, address, Config{Timeout: 50 * time.Millisecond})
	resp, err := c.Validate(t.Context(), mfa.Challenge{RequestID: "r"}, nil)
	if err == nil {
		_ = resp.Body.Close()
		t.Fatal("no error")
	}
	if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
		t.Errorf("error = %v, want a timeout", err)
	}
	<-gone
}

// The limit of the call ends with its body, not with its headers.
func TestValidateBodyIsReadLater(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"auth":`)
		_ = http.NewResponseController(w).Flush()
		<-more
		_, _ = io.WriteString(w, `null}`)
	}))
	c := newClient(t, address)
	resp, err := c.Validate(t.Context(), mfa.Challenge{RequestID: "r"}, nil)
	close(more)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || !json.Valid(body) {
		t.Errorf("body = %q, %v", body, err)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	c := newClient(t, "http://alice:s3cret@"+addr+"/base")
	resp, err := c.Validate(t.Context(), mfa.Challenge{RequestID: "r"}, nil)
	if err == nil {
		_ = resp.Body.Close()
		t.Fatal("no error")
	}
	if _, ok := errors.AsType[*net.OpError](err); !ok {
		t.Errorf("error %v does not unwrap to the dial error", err)
	}
	for _, secret := range []string{"alice", "s3cret"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("error shows %q: %v", secret, err)
		}
	}
	if want := `vault "corp": POST sys/mfa/validate at http://` + addr; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error = %q, want %q…", err, want)
	}
}
