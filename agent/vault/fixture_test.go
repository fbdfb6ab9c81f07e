package vault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/cache/secret"
)

const testToken = secret.Secret("hvs.test-token")

// A request is what a test server has seen. Its header lacks what every call has.
type request struct {
	Call   string // method and path
	Header http.Header
	Body   string
}

// A fixture is a Vault that answers everything in one way, and a client of it.
type fixture struct {
	*Client
	t      *testing.T
	url    string
	status int
	body   string
	header http.Header
	seen   chan request
}

// newFixture has a client for the base path of the server.
func newFixture(t *testing.T, base string, status int, body string) *fixture {
	t.Helper()
	f := &fixture{t: t, status: status, body: body, header: http.Header{}, seen: make(chan request, 16)}
	f.url = serve(t, f.ServeHTTP)
	f.Client = newClient(t, f.url+base, Config{})
	return f
}

// ServeHTTP implements http.Handler.
func (f *fixture) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	header := r.Header.Clone()
	wantType := ""
	if len(body) > 0 {
		wantType = "application/json"
	}
	for name, want := range map[string]string{"X-Vault-Request": "true", "User-Agent": "stepup", "Content-Type": wantType} {
		if got := header.Get(name); got != want {
			f.t.Errorf("%s is %q, want %q", name, got, want)
		}
		header.Del(name)
	}
	header.Del("Content-Length")
	f.seen <- request{r.Method + " " + r.URL.EscapedPath(), header, string(body)}
	maps.Copy(w.Header(), f.header)
	w.WriteHeader(f.status)
	_, _ = io.WriteString(w, f.body)
}

// only returns the one request that was seen.
func (f *fixture) only() request {
	f.t.Helper()
	if n := len(f.seen); n != 1 {
		f.t.Fatalf("%d requests were seen, want 1", n)
	}
	return <-f.seen
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func tlsServer(t *testing.T, conf *tls.Config, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.TLS, srv.EnableHTTP2 = conf, true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are the point here
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// unixServer serves h on a unix socket and returns its address.
func unixServer(t *testing.T, h http.HandlerFunc) *url.URL {
	t.Helper()
	dir, err := os.MkdirTemp("", "su") // t.TempDir can be longer than a socket's path may be
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "v.sock")
	l, err := net.Listen("unix", path)
	must(t, err)
	srv := httptest.NewUnstartedServer(h)
	_ = srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	return &url.URL{Scheme: "unix", Path: path}
}

func newTransport(t *testing.T, conf TLS) *Transport {
	t.Helper()
	tr, err := NewTransport(conf)
	must(t, err)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// newClient completes cfg by the address and, where it has none, a transport.
func newClient(t *testing.T, address string, cfg Config) *Client {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	if cfg.Transport == nil {
		_, socket := Base(u)
		cfg.Transport = newTransport(t, TLS{Socket: socket})
	}
	cfg.Name, cfg.Address = "corp", u
	c, err := New(cfg)
	must(t, err)
	return c
}

// An authority signs test certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// A pair is a certificate and its key as PEM.
type pair struct{ cert, key []byte }

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key = a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	return a
}

// issue signs a certificate for 127.0.0.1 and the name, for either end.
func (a *authority) issue(t *testing.T, name string, lasts time.Duration) pair {
	t.Helper()
	cert, key := a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(lasts),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return pair{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}
}

// sign makes a key and a certificate for it; that of a new authority signs itself.
func (a *authority) sign(t *testing.T, tmpl *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	tmpl.NotBefore = time.Now().Add(-time.Hour)
	parent, signer := tmpl, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert, key
}

func (p pair) tls(t *testing.T) *tls.Config {
	t.Helper()
	c, err := tls.X509KeyPair(p.cert, p.key)
	must(t, err)
	return &tls.Config{Certificates: []tls.Certificate{c}}
}

// write puts a file into dir, with a modification time that differs from every
// earlier one whatever the file system's resolution.
func write(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(dir, name)
	before, err := os.Stat(file)
	must(t, os.WriteFile(file, data, 0o600))
	if err == nil {
		mod := before.ModTime().Add(time.Minute)
		must(t, os.Chtimes(file, mod, mod))
	}
	return file
}
