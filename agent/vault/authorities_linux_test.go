package vault

import (
	"net/http"
	"testing"
	"time"
)

// A new authority of the system is trusted without a restart, and one that is gone no more.
func TestSystemAuthorities(t *testing.T) {
	old, ca := newAuthority(t, "old"), newAuthority(t, "ca")
	srv := tlsServer(t, ca.issue(t, "vault.test", time.Hour).tls(t), func(http.ResponseWriter, *http.Request) {})
	dir := t.TempDir()
	t.Setenv("SSL_CERT_FILE", write(t, dir, "ca.pem", old.pem))
	t.Setenv("SSL_CERT_DIR", t.TempDir())
	tr := newTransport(t, TLS{})
	if plain := newTransport(t, TLS{Plain: true}); tr.secure.RootCAs == nil || plain.secure.RootCAs != nil || len(plain.stamp) != 0 {
		t.Error("the system's authorities are not read, or without a need")
	}
	for _, step := range []struct {
		authority *authority
		ok        bool
	}{{old, false}, {ca, true}, {old, false}} {
		write(t, dir, "ca.pem", step.authority.pem)
		tr.wall = tr.wall.Add(-checkEvery)
		if _, _, err := get(tr, srv.URL); (err == nil) != step.ok {
			t.Errorf("%v, want trust %v", err, step.ok)
		}
	}
	// In the moment after a look, a failed handshake has the files looked at again.
	write(t, dir, "ca.pem", ca.pem)
	if _, _, err := get(tr, srv.URL); err != nil {
		t.Error(err)
	}
}
