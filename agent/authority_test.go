package agent_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// An authority that is not known is said to the app with what to do about it, whichever way
// its request takes.
func TestUnknownAuthority(t *testing.T) {
	t.Parallel()
	for name, express := range map[string]bool{"express lane": true, "long way": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.Config.ErrorLog = log.New(io.Discard, "", 0) // the handshakes fail
			server.StartTLS()
			t.Cleanup(server.Close)
			r := newFixture(t)
			address, err := url.Parse(server.URL)
			must(t, err)
			r.config.Vaults[0].Address, r.config.Relay.Express = address, express
			r.reload(t, r.config)
			resp := r.do(t, "GET", "/v1/kv/data/else", "")
			const want = "x509: certificate signed by unknown authority: name the PEM file of its authority by ca_cert in the vault block\"]}"
			if text := strings.TrimSpace(resp.body); resp.status != http.StatusBadGateway || !strings.HasSuffix(text, want) {
				t.Errorf("%d %s", resp.status, text)
			}
		})
	}
}
