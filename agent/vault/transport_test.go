package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// get makes one request over tr and returns the answer's protocol and body.
func get(tr http.RoundTripper, address string) (proto, body string, err error) {
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return "", "", err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.Proto, string(b), err
}

func TestNewTransportErrors(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "ca")
	one, two := ca.issue(t, "one", time.Hour), ca.issue(t, "two", time.Hour)
	cert, key := write(t, dir, "one.pem", one.cert), write(t, dir, "one.key", one.key)
	other := write(t, dir, "two.key", two.key)
	empty := write(t, dir, "empty.pem", nil)
	broken := write(t, dir, "broken.pem", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	gone := filepath.Join(dir, "gone")
	emptyDir, brokenDir := t.TempDir(), t.TempDir()
	write(t, emptyDir, "README", []byte("nothing here"))
	write(t, brokenDir, "a.pem", ca.pem)
	inDir := write(t, brokenDir, "b.pem", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))

	tests := []struct {
		name string
		tls  TLS
		want []string
	}{
		{"ca_cert is gone", TLS{CACert: gone}, []string{"ca_cert", gone}},
		{"ca_cert is empty", TLS{CACert: empty}, []string{"ca_cert", empty, "no PEM certificate"}},
		{"ca_cert is broken", TLS{CACert: broken}, []string{"ca_cert", broken, "certificate 1"}},
		{"ca_cert is a folder", TLS{CACert: dir}, []string{"ca_cert", dir}},
		{"ca_path is gone", TLS{CAPath: gone}, []string{"ca_path", gone}},
		{"ca_path is a file", TLS{CAPath: cert}, []string{"ca_path", cert}},
		{"ca_path has no certificate", TLS{CAPath: emptyDir}, []string{"ca_path", emptyDir, "no PEM certificate"}},
		{"ca_path has a broken one", TLS{CAPath: brokenDir}, []string{"ca_path", inDir}},
		{"certificate without key", TLS{ClientCert: cert}, []string{cert, "no client_key"}},
		{"key without certificate", TLS{ClientKey: key}, []string{key, "no client_cert"}},
		{"certificate is gone", TLS{ClientCert: gone, ClientKey: key}, []string{"client_cert", gone}},
		{"key is gone", TLS{ClientCert: cert, ClientKey: gone}, []string{"client_key", gone}},
		{"certificate is empty", TLS{ClientCert: empty, ClientKey: key}, []string{"client_cert", empty}},
		{"key is empty", TLS{ClientCert: cert, ClientKey: empty}, []string{"client_key", empty}},
		{"they do not fit", TLS{ClientCert: cert, ClientKey: other}, []string{cert, other}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr, err := NewTransport(tt.tls)
			if err == nil || tr != nil {
				t.Fatalf("NewTransport = %v, %v, want an error", tr, err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestTransportTrust(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t, "ca"), newAuthority(t, "stranger")
	server := ca.issue(t, "vault.test", time.Hour)
	srv := tlsServer(t, server.tls(t), func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "vault") })
	conf := server.tls(t)
	conf.MinVersion, conf.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	old := tlsServer(t, conf, func(http.ResponseWriter, *http.Request) {})

	dir, target := t.TempDir(), t.TempDir()
	caFile, strangerFile := write(t, dir, "ca.pem", ca.pem), write(t, dir, "stranger.pem", stranger.pem)
	caDir := t.TempDir()
	write(t, caDir, "README", []byte("authorities"))
	write(t, caDir, "first.crt", stranger.pem)
	must(t, os.Mkdir(filepath.Join(caDir, "sub"), 0o700))
	if err := os.Symlink(write(t, target, "ca", ca.pem), filepath.Join(caDir, "1a2b3c4d.0")); err != nil {
		t.Skipf("needs symbolic links: %v", err)
	}

	tests := []struct {
		name    string
		tls     TLS
		address string
		ok      bool
	}{
		{"the file's authority", TLS{CACert: caFile}, srv.URL, true},
		{"a folder, behind a link, not the first file", TLS{CAPath: caDir}, srv.URL, true},
		{"file and folder together", TLS{CACert: strangerFile, CAPath: caDir}, srv.URL, true},
		{"the system's authorities", TLS{}, srv.URL, false},
		{"another authority", TLS{CACert: strangerFile}, srv.URL, false},
		{"the name in the certificate", TLS{CACert: caFile, ServerName: "vault.test"}, srv.URL, true},
		{"another name", TLS{CACert: caFile, ServerName: "other.test"}, srv.URL, false},
		{"anybody", TLS{SkipVerify: true}, srv.URL, true},
		{"TLS 1.1", TLS{CACert: caFile}, old.URL, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			proto, body, err := get(newTransport(t, tt.tls), tt.address)
			if (err == nil) != tt.ok || tt.ok && (body != "vault" || proto != "HTTP/2.0") {
				t.Errorf("got %q over %q, %v, want vault over HTTP/2.0 or no trust", body, proto, err)
			}
		})
	}
}

// Each step changes the files, and is followed by a new handshake.
func TestTransportClientCertificate(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	conf := ca.issue(t, "vault.test", time.Hour).tls(t)
	conf.ClientCAs, conf.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	conf.ClientCAs.AddCert(ca.cert)
	srv := tlsServer(t, conf, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	})
	dir := t.TempDir()
	caFile := write(t, dir, "ca.pem", ca.pem)
	put := func(p pair) (cert, key string) {
		return write(t, dir, "me.pem", p.cert), write(t, dir, "me.key", p.key)
	}
	one, two := ca.issue(t, "one", time.Hour), ca.issue(t, "two", time.Hour)
	certFile, keyFile := put(one)
	tr := newTransport(t, TLS{CACert: caFile, ClientCert: certFile, ClientKey: keyFile})
	for _, step := range []struct {
		name   string
		change func()
		want   string
	}{
		{"first", func() {}, "one"},
		{"the files changed", func() { put(two) }, "two"},
		{"half of a pair: the key is still the other one's", func() { write(t, dir, "me.pem", one.cert) }, "two"},
		{"no key file", func() {
			must(t, os.Remove(keyFile))
		}, "two"},
		{"the whole pair", func() { put(one) }, "one"},
	} {
		step.change()
		tr.CloseIdleConnections()
		if _, got, err := get(tr, srv.URL); err != nil || got != step.want {
			t.Errorf("%s: we are %q (%v), want %q", step.name, got, err, step.want)
		}
	}
	if _, name, err := get(newTransport(t, TLS{CACert: caFile}), srv.URL); err == nil {
		t.Errorf("without a certificate we are %q", name)
	}
}

// A pair that can no longer be read is used while it is valid, and no longer:
// the server's "expired certificate" would hide what is wrong.
func TestClientPairExpiredAndGone(t *testing.T) {
	t.Parallel()
	ca, dir := newAuthority(t, "ca"), t.TempDir()
	p := ca.issue(t, "me", -time.Minute)
	pair := &clientPair{certFile: write(t, dir, "c", p.cert), keyFile: write(t, dir, "k", p.key)}
	if _, err := pair.certificate(); err != nil {
		t.Fatalf("readable but expired: %v, want it to be the server's business", err)
	}
	must(t, os.Remove(pair.keyFile))
	if _, err := pair.certificate(); err == nil || !strings.Contains(err.Error(), pair.keyFile) {
		t.Errorf("error = %v, want one that names %s", err, pair.keyFile)
	}
}

func TestTransportAddsNothing(t *testing.T) {
	t.Parallel()
	got := make(chan http.Header, 1)
	req, _ := http.NewRequest(http.MethodGet, serve(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }), nil)
	req.Header["User-Agent"] = nil
	resp, err := newTransport(t, TLS{}).RoundTrip(req)
	must(t, err)
	_ = resp.Body.Close()
	if h := <-got; len(h) != 0 {
		t.Errorf("headers on the wire = %v, want none", h)
	}
}

func TestTransportSocket(t *testing.T) {
	t.Parallel()
	address := unixServer(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })
	base, socket := Base(address)
	tr := newTransport(t, TLS{Socket: socket})
	if _, host, err := get(tr, base.String()); err != nil || host != "localhost" {
		t.Errorf("over the socket: host %q, %v, want localhost", host, err)
	}
	for _, other := range []string{"http://vault.test", "https://localhost", "http://localhost:8200"} {
		if _, _, err := get(tr, other); !errors.Is(err, errOtherNode) {
			t.Errorf("%s over the socket: %v, want %v", other, err, errOtherNode)
		}
	}
}

func TestTransportDialAndTimeout(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	address := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	var dialed atomic.Value
	tr := newTransport(t, TLS{
		ResponseHeaderTimeout: time.Millisecond,
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dialed.Store(network + " " + addr)
			var d net.Dialer
			return d.DialContext(ctx, network, strings.TrimPrefix(address, "http://"))
		},
	})
	_, _, err := get(tr, "http://vault.test:8200")
	if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
		t.Errorf("error = %v, want a timeout", err)
	}
	if got := dialed.Load(); got != "tcp vault.test:8200" {
		t.Errorf("dialed %v, want tcp vault.test:8200", got)
	}
}

func TestTransportProxy(t *testing.T) {
	const password = "pr0xy-passw0rd"
	tests := []struct {
		name, addr, http string
		want             string // "" means an error
	}{
		{"BAO_PROXY_ADDR", "", "http://two.test:2", "http://three.test:3"},
		{"VAULT_PROXY_ADDR", "http://one.test:1", "", "http://one.test:1"},
		{"VAULT_HTTP_PROXY", "", "http://two.test:2", "http://two.test:2"},
		{"the first wins", "http://one.test:1", "http://two.test:2", "http://one.test:1"},
		{"malformed", "http://u:" + password + "@one.test:%zz", "", ""},
		{"no host", "", "u:" + password, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("VAULT_PROXY_ADDR", tt.addr)
			t.Setenv("VAULT_HTTP_PROXY", tt.http)
			if tt.name == "BAO_PROXY_ADDR" {
				t.Setenv(tt.name, tt.want)
			}
			tr, err := NewTransport(TLS{})
			if tt.want == "" {
				if err == nil {
					t.Fatal("no error")
				}
				if strings.Contains(err.Error(), password) {
					t.Errorf("error shows the password: %v", err)
				}
				return
			}
			must(t, err)
			u, err := tr.HTTP().Proxy(&http.Request{URL: &url.URL{Scheme: "https", Host: "vault.test"}})
			if err != nil || u.String() != tt.want {
				t.Errorf("proxy = %v, %v, want %s", u, err, tt.want)
			}
			socket, err := NewTransport(TLS{Socket: "/run/vault.sock"})
			if err != nil || socket.HTTP().Proxy != nil {
				t.Errorf("a socket has a proxy (%v)", err)
			}
		})
	}
}
