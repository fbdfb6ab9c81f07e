package relay_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
)

// heldPort is a TCP address that only a program which asks for it can have, as nginx does: it
// is bound here, and nobody listens.
func heldPort(t *testing.T) string {
	t.Helper()
	fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(0, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	must(0, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	return fmt.Sprintf("127.0.0.1:%d", must(unix.Getsockname(fd)).(*unix.SockaddrInet4).Port)
}

// nginx runs a real one with TLS and HTTP/2 in front of a server, and returns its address. It
// ends each connection after 100 requests, as its operators have it do.
func nginx(t *testing.T, behind string) string {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("needs nginx")
	}
	dir := t.TempDir()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	pair := s.TLS.Certificates[0]
	s.Close()
	key := must(x509.MarshalPKCS8PrivateKey(pair.PrivateKey))
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	must(0, os.WriteFile(filepath.Join(dir, "pem"), text, 0o600))
	address := heldPort(t)
	conf := fmt.Sprintf(`
daemon off; master_process off; pid pid; error_log stderr error;
events { worker_connections 512; }
http {
	access_log off; client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;
	upstream vault { server %s; keepalive 32; }
	server {
		listen %s ssl http2; ssl_certificate pem; ssl_certificate_key pem; keepalive_requests 100;
		location / { proxy_pass http://vault; proxy_http_version 1.1; proxy_set_header Connection ""; }
	}
}`, strings.TrimPrefix(behind, "http://"), address)
	must(0, os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o600))
	cmd := exec.Command(program, "-e", "stderr", "-p", dir, "-c", "conf")
	var said syncBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	must(0, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}); err == nil { //nolint:gosec // of this test
			_ = c.Close()
			return "https://" + address
		} else if time.Now().After(deadline) {
			t.Fatalf("nginx does not answer: %v\n%s", err, &said)
		}
	}
}

// Each connection ends after 100 requests, under those that are under way. None is lost, and
// none is carried out twice: writes, and reads with a step-up token that counts its uses.
func TestNginxEndsConnections(t *testing.T) {
	t.Parallel()
	const clients, each = 8, 250
	var done atomic.Int64
	address := nginx(t, upstream(t, func(w http.ResponseWriter, r *http.Request) {
		done.Add(1)
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s", r.Header.Get("X-Vault-Token"), body)
	}))
	base := must(vault.NewTransport(vault.TLS{SkipVerify: true}))
	t.Cleanup(base.CloseIdleConnections)
	f := newFixture(t, address, func(c *relay.Config) {
		c.Base = base
		c.Rules = rule.Rules{{Name: "prod", Paths: patterns("kv/data/prod/*"), Grant: rule.Grant{Kind: rule.TokenGrant}}}
	})
	f.resolver.first = func(send stepup.Send) (*http.Response, mfa.Verdict, error) {
		resp, err := send(t.Context(), nil, cache.Token{Secret: "hvs.step-up", Uses: 9})
		return resp, mfa.Verdict{}, err
	}
	var working sync.WaitGroup
	for range clients {
		working.Go(func() {
			for i := range each {
				request, body, want := "POST /v1/kv/data/x", fmt.Sprint("b", i), fmt.Sprint("t b", i)
				if i%2 == 1 {
					request, body, want = "GET /v1/kv/data/prod/db", "", "hvs.step-up "
				}
				if got := f.send(t, request, body, "X-Vault-Token", "t"); got.Status != 200 || got.Body != want {
					t.Errorf("%s: %v", request, got)
				}
			}
		})
	}
	working.Wait()
	equal(t, "requests that were carried out", int64(clients*each), done.Load())
}
