package agent_test

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/vault"
)

// A certificate that is not trusted is said to the app with what to do about it, in the words
// of `stepup doctor`, whichever way its request takes.
func TestUntrustedCertificate(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the handshakes fail
	server.StartTLS()
	t.Cleanup(server.Close)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	for name, tt := range map[string]struct {
		express bool
		ca      string
		host    string // "" is that of the server
		err     error
	}{
		"unknown authority":                {err: x509.UnknownAuthorityError{}},
		"unknown authority, express lane":  {express: true, err: x509.UnknownAuthorityError{}},
		"name of another":                  {ca: authority, host: "localhost", err: x509.HostnameError{}},
		"name of another, by express lane": {ca: authority, host: "localhost", err: x509.HostnameError{}, express: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newFixture(t)
			address, err := url.Parse(server.URL)
			must(t, err)
			if tt.host != "" {
				address.Host = tt.host + ":" + address.Port()
			}
			r.config.Vaults[0].Address, r.config.Vaults[0].TLS.CACert, r.config.Relay.Express = address, tt.ca, tt.express
			r.reload(t, r.config)
			resp := r.do(t, "GET", "/v1/kv/data/else", "")
			hint := vault.Hint(tt.err)
			if text := strings.TrimSpace(resp.body); hint == "" || resp.status != http.StatusBadGateway || !strings.HasSuffix(text, ": "+hint+`"]}`) {
				t.Errorf("%d %s, want %s", resp.status, text, hint)
			}
		})
	}
}
