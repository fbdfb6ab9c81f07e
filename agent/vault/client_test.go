package vault

import (
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache/secret"
)

const testToken = secret.Secret("hvs.test-token")

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

func TestUnreachable(t *testing.T) {
	t.Parallel()
	const addr = "127.0.0.1:1" // one that no other test is given
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
