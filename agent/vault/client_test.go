package vault

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
)

func TestNewErrors(t *testing.T) {
	t.Parallel()
	parse := func(address string) *url.URL {
		u, err := url.Parse(address)
		must(t, err)
		return u
	}
	tests := []struct {
		name      string
		address   *url.URL
		transport http.RoundTripper
		want      string
	}{
		{"no scheme", parse("vault.test:8200/"), http.DefaultTransport, `"corp": address must start with`},
		{"other scheme", parse("ftp://vault.test"), http.DefaultTransport, `"corp": address must start with`},
		{"no host", parse("https:///v1"), http.DefaultTransport, `"corp": address has no host`},
		{"query", parse("https://vault.test/?a=b"), http.DefaultTransport, `"corp": address must have no query`},
		{"socket without path", parse("unix://"), http.DefaultTransport, `"corp": address of a unix socket must look like unix:///path`},
		{"socket with a host", parse("unix://run/vault.sock"), http.DefaultTransport, `"corp": address of a unix socket must look like unix:///path`},
		{"no address", nil, http.DefaultTransport, `"corp": address is missing`},
		{"no transport", parse("http://h"), nil, "needs a transport"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := New(Config{Name: "corp", Address: tt.address, Transport: tt.transport})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New = %v, want an error with %q", err, tt.want)
			}
		})
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
			f := newFixture(t, "", 503, `{"errors":["Vault is sealed"]}`)
			srv := tlsServer(t, ca.issue(t, "vault.test", time.Hour).tls(t), f.ServeHTTP)
			if _, _, err := get(newTransport(t, TLS{}), srv.URL); err == nil {
				t.Error("VAULT_SKIP_VERIFY had an effect")
			}
			tr := newTransport(t, TLS{CACert: write(t, t.TempDir(), "ca.pem", ca.pem)})
			err := newClient(t, srv.URL, Config{Transport: tr}).RevokeSelf(t.Context(), testToken, "")
			if se, ok := errors.AsType[*StatusError](err); !ok || se.Status != 503 {
				t.Fatalf("RevokeSelf = %v, want Vault's 503", err)
			}
			want := request{Call: "POST /v1/auth/token/revoke-self", Header: http.Header{"X-Vault-Token": {testToken.Reveal()}}}
			if diff := cmp.Diff(want, f.only()); diff != "" { // a retry of the 503 would be a second one
				t.Errorf("sent (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	const addr = "127.0.0.1:1" // one that no other test is given
	c := newClient(t, "http://alice:s3cret@"+addr+"/base", Config{})
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
