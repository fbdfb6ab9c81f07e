//go:build unix

package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/vault"
)

// A server is a Vault with a certificate, and the file of its authority.
type tlsVault struct {
	url *url.URL
	ca  string
}

// newTLSVault answers as a Vault that is well, under a certificate for
// vault.example that is good for the time from, to.
func newTLSVault(t *testing.T, from, to time.Time) tlsVault {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a test authority"}, DNSNames: []string{"vault.example"},
		NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, health("", 0)) }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	v := tlsVault{ca: filepath.Join(t.TempDir(), "ca.pem")}
	if v.url, err = url.Parse(s.URL); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(v.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return v
}

// health is the answer of this moment.
func health(more string, skew time.Duration) string {
	return fmt.Sprintf(`{"initialized":true,"sealed":false,"version":"1.21.0","server_time_utc":%d%s}`, time.Now().Add(skew).Unix(), more)
}

// foundAt is what is found at a Vault.
func foundAt(t *testing.T, v agent.Vault) string {
	t.Helper()
	v.Name = "v"
	return found("vault v", func(f findings) { checkVault(t.Context(), f, v) })
}

// answering is the address of a server that answers everything with the result of answer.
func answering(t *testing.T, answer func() string) *url.URL {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer()) }))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestCheckVaultTLS(t *testing.T) {
	t.Parallel()
	now := time.Now()
	year := 365 * 24 * time.Hour
	sound := newTLSVault(t, now.Add(-time.Hour), now.Add(year))
	ending := newTLSVault(t, now.Add(-year), now.Add(5*24*time.Hour))
	ended := newTLSVault(t, now.Add(-2*time.Hour), now.Add(-time.Hour))
	brief := newTLSVault(t, now.Add(-time.Hour), now.Add(time.Hour))
	for name, tt := range map[string]struct {
		vault tlsVault
		edit  func(*agent.Vault)
		says  []string
	}{
		"sound":         {sound, nil, []string{"ok    vault v: https://127.0.0.1:", ": up, version 1.21.0\n"}},
		"for hours":     {brief, nil, []string{"ok    vault v: "}},
		"no authority":  {sound, func(v *agent.Vault) { v.CACert = "" }, []string{"fail  vault v: its certificate is signed by an authority that is not known here: CN=a test authority", vault.Hint(x509.UnknownAuthorityError{})}},
		"another name":  {sound, func(v *agent.Vault) { v.ServerName = "" }, []string{"fail  vault v: its certificate is for other names: vault.example", vault.Hint(x509.HostnameError{})}},
		"ends soon":     {ending, nil, []string{"ok    vault v: ", "warn  vault v: its certificate ends on " + day(now.Add(5*24*time.Hour))}},
		"has ended":     {ended, nil, []string{"fail  vault v: its certificate is good from ", "clock of this machine"}},
		"not looked at": {ended, func(v *agent.Vault) { v.SkipVerify = true }, []string{"ok    vault v: ", "warn  vault v: its certificate has ended", "warn  vault v: tls_skip_verify"}},
		"no such file":  {sound, func(v *agent.Vault) { v.CACert = "/nowhere/ca.pem" }, []string{"fail  vault v: ca_cert: ", "/nowhere/ca.pem"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := agent.Vault{Address: tt.vault.url, TLS: vault.TLS{CACert: tt.vault.ca, ServerName: "vault.example"}}
			if tt.edit != nil {
				tt.edit(&v)
			}
			got := foundAt(t, v)
			for _, says := range tt.says {
				if !strings.Contains(got, says) {
					t.Errorf("%q does not say %q", got, says)
				}
			}
			if name == "for hours" && strings.Contains(got, "warn") {
				t.Errorf("a certificate that programs renew is complained of: %s", got)
			}
		})
	}
}

func TestCheckVaultState(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		more string
		skew time.Duration
		says string
	}{
		"sealed":  {`,"sealed":true`, 0, ": sealed\n      hint: an operator has to unseal it\n"},
		"new":     {`,"initialized":false`, 0, ": not initialised\n"},
		"standby": {`,"standby":true`, 0, ": up, a standby, version 1.21.0\n"},
		"old":     {`,"version":"1.9.3"`, 0, ": version 1.9.3 has no Login MFA\n"},
		"OpenBao": {`,"version":"2.1.0"`, 0, ": up, version 2.1.0\n"},
		"ahead":   {"", time.Hour, "ahead of ours: TOTP codes made on this machine are refused"},
		"behind":  {"", -time.Hour, "behind ours: TOTP codes made on this machine are refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := answering(t, func() string { return health(tt.more, tt.skew) })
			if got := foundAt(t, agent.Vault{Address: u}); !strings.Contains(got, tt.says) {
				t.Errorf("%q does not say %q", got, tt.says)
			}
			u.Scheme = "https"
			if got := foundAt(t, agent.Vault{Address: u}); !strings.Contains(got, "it speaks http, not https") {
				t.Errorf("by https: %q", got)
			}
		})
	}
}

func TestCheckVaultNone(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"<html>please log in</html>", ""} {
		got := foundAt(t, agent.Vault{Address: answering(t, func() string { return answer })})
		if !strings.Contains(got, "but not as Vault does\n      hint: check the address in the vault block") {
			t.Errorf("%q: %q", answer, got)
		}
	}
}

func TestCheckClock(t *testing.T) {
	t.Parallel()
	for skew, want := range map[time.Duration]verdict{
		0: "", 9 * time.Second: "", -10 * time.Second: doubted, 29 * time.Second: doubted, 30 * time.Second: broken, -time.Minute: broken,
	} {
		got := found("v", func(f findings) { checkClock(f, skew) })
		if first, _, _ := strings.Cut(got, " "); first != string(want) {
			t.Errorf("%s: %q, want %q", skew, got, want)
		}
	}
}

func TestUnreachableVault(t *testing.T) {
	t.Parallel()
	wrap := func(err error) error {
		return fmt.Errorf(`vault "v": GET sys/health: %w`, &url.Error{Op: "Get", Err: err})
	}
	for name, tt := range map[string]struct {
		err  error
		says string
	}{
		"name":         {wrap(&net.OpError{Op: "dial", Err: &net.DNSError{Name: "vault.example", Err: "no such host"}}), "vault.example is not known by the proxy p:1"},
		"time":         {wrap(context.DeadlineExceeded), "no answer in time by the proxy p:1"},
		"alert of TLS": {wrap(errors.New(`net/http: HTTP/1.x transport connection broken: malformed HTTP response "\x15\x03\x01\x00\x02\x02"`)), "it speaks https, not http"},
		"cut off":      {wrap(&net.OpError{Op: "read", Err: syscall.ECONNRESET}), "the connection was cut off by the proxy p:1"},
		"hung up":      {wrap(io.EOF), "the connection was closed without an answer by the proxy p:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := found("v", func(f findings) { unreachable(f, " by the proxy p:1", tt.err) })
			if !strings.HasPrefix(got, "fail  v: "+tt.says+"\n      hint: ") {
				t.Errorf("%q does not say %q", got, tt.says)
			}
		})
	}
	refused := foundAt(t, agent.Vault{Address: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}})
	if !strings.Contains(refused, "fail  vault v: nobody listens at 127.0.0.1:1\n") {
		t.Errorf("%q", refused)
	}
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	plain := foundAt(t, agent.Vault{Address: &url.URL{Scheme: "http", Host: secure.Listener.Addr().String()}})
	if !strings.Contains(plain, "fail  vault v: it speaks https, not http\n      hint: write https:// in the address") {
		t.Errorf("%q", plain)
	}
	socket := foundAt(t, agent.Vault{Address: &url.URL{Scheme: "unix", Path: filepath.Join(t.TempDir(), "none.sock")}})
	if !strings.HasPrefix(socket, "fail  vault v: ") {
		t.Errorf("%q", socket)
	}
}
