package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
)

// checkVault goes the way of a request, by the transport that requests use.
func checkVault(ctx context.Context, f findings, v agent.Vault) {
	way := v.TLS
	way.ResponseHeaderTimeout = networkLimit
	client, transport, err := vault.Connect(v.Name, v.Address, way)
	if err != nil {
		f.fail("%v", err).with(hintConfig)
		return
	}
	defer transport.CloseIdleConnections()
	var chain chain
	transport.HTTP().TLSClientConfig.VerifyConnection = chain.keep
	base, _ := vault.Base(v.Address)
	via := wayTo(transport.HTTP(), base)
	health, err := client.Health(ctx)
	if err != nil {
		unreachable(f, via, err)
		clientCertificate(f, transport.HTTP())
		return
	}
	checkHealth(f, v.Address.String()+via, health)
	checkClock(f, health.Skew)
	if first := chain.firstToEnd(); first != nil {
		// tls_skip_verify lets through one that has ended.
		f.expiry(first, doubted, "its certificate", "tell the operator of Vault")
	}
	clientCertificate(f, transport.HTTP())
	if v.SkipVerify {
		f.warn("tls_skip_verify: anybody on the way may be Vault and read your tokens").with("name the authority by ca_cert in the vault block instead")
	}
	if v.Address.Scheme == "http" && vaultcli.Remote(v.Address.String()) {
		f.warn("http: anybody on the way reads your tokens").with("use https in the vault block")
	}
}

// wayTo says which proxy is on the way. Only its host is told: its URL may have a
// password.
func wayTo(t *http.Transport, base *url.URL) string {
	if t.Proxy == nil {
		return ""
	}
	proxy, err := t.Proxy(&http.Request{URL: base})
	if err != nil || proxy == nil {
		return ""
	}
	return " by the proxy " + proxy.Host
}

func checkHealth(f findings, where string, h vault.Health) {
	switch {
	case !h.Initialized:
		f.fail("%s: not initialised", where).with("`vault operator init` at the server")
	case h.Sealed:
		f.fail("%s: sealed", where).with("an operator has to unseal it")
	case tooOld(h.Version):
		f.warn("%s: version %s has no Login MFA", where, h.Version).with("logins are completed from Vault 1.10 on")
	case h.Standby:
		f.pass("%s: up, a standby, version %s", where, h.Version)
	default:
		f.pass("%s: up, version %s", where, h.Version)
	}
}

// tooOld reports whether a Vault is older than Login MFA. OpenBao counts from 2.
func tooOld(version string) bool {
	return slices.ContainsFunc([]string{"0.", "1.0.", "1.1.", "1.2.", "1.3.", "1.4.", "1.5.", "1.6.", "1.7.", "1.8.", "1.9."},
		func(old string) bool { return strings.HasPrefix(version, old) })
}

// checkClock is about TOTP, which is all that depends on our clock. Vault takes the code
// before and the code after, 30 s each (skew = 1).
func checkClock(f findings, skew time.Duration) {
	const (
		codesFail  = 30 * time.Second
		codesDoubt = 10 * time.Second
		text       = "its clock is %s %s ours: %s"
		hint       = "set the clock by the network: `timedatectl set-ntp true` on Linux, the date settings elsewhere; if this one is right, tell the operator of Vault"
	)
	which := "ahead of"
	if skew < 0 {
		which = "behind"
	}
	switch off := skew.Abs(); {
	case off >= codesFail:
		f.fail(text, off, which, "TOTP codes made on this machine are refused").with(hint)
	case off >= codesDoubt:
		f.warn(text, off, which, "from 30 s on, TOTP codes are refused").with(hint)
	}
}

// unreachable says how far we came.
func unreachable(f findings, via string, err error) {
	const hintWay = "check the VPN, the firewall and the proxy (HTTPS_PROXY, VAULT_PROXY_ADDR)"
	var (
		dns     *net.DNSError
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		notTLS  tls.RecordHeaderError
		timeout interface{ Timeout() bool }
	)
	switch {
	case errors.As(err, &dns):
		f.fail("%s is not known%s", dns.Name, via).with("check the name in the vault block, and whether the VPN is up")
	case errors.As(err, &unknown):
		f.fail("its certificate is signed by an authority that is not known here: %s", issuer(unknown.Cert)).with("%s", vault.Hint(err))
	case errors.As(err, &host):
		f.fail("its certificate is for other names: %s", strings.Join(names(host.Certificate), ", ")).
			with("%s", vault.Hint(err))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		f.fail("its certificate is good from %s to %s only", day(invalid.Cert.NotBefore), day(invalid.Cert.NotAfter)).
			with("if the clock of this machine is right, an operator has to renew it")
	case errors.As(err, &notTLS), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		f.fail("it speaks http, not https").with("check the scheme and the port of the address in the vault block")
	case errors.Is(err, vault.ErrSpeaksTLS), strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`): // an alert of TLS
		f.fail("%v", vault.ErrSpeaksTLS).with("write https:// in the address of the vault block")
	case cli.ConnectionRefused(err):
		f.fail("nobody listens %s%s", refusedAt(err), via).with("check host and port in the vault block, and whether Vault runs")
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		f.fail("no answer in time%s", via).with(hintWay)
	case errors.Is(err, syscall.ECONNRESET): // as some do that speak TLS, to who does not
		f.fail("the connection was cut off%s", via).with("check the scheme (http or https) and the port of the address in the vault block, and the proxy")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		f.fail("the connection was closed without an answer%s", via).with(hintWay)
	default:
		f.fail("%v", err).with("check the address in the vault block: something else than Vault may answer there")
	}
}

// refusedAt names the address that refused, which may be that of a proxy.
func refusedAt(err error) string {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Addr != nil {
		return "at " + dial.Addr.String()
	}
	return "there: " + syscall.ECONNREFUSED.Error()
}

// names are those that a certificate is good for.
func names(c *x509.Certificate) []string {
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) > 5 {
		all = append(all[:5], "…")
	}
	return all
}

func issuer(c *x509.Certificate) string {
	if c == nil {
		return "?"
	}
	return c.Issuer.String()
}

func day(t time.Time) string { return t.Format(time.DateOnly) }

// A chain remembers which of a server's certificates ends first.
type chain struct {
	mu    sync.Mutex
	first *x509.Certificate // nil without TLS
}

// keep is for tls.Config.VerifyConnection. It refuses nothing.
func (c *chain) keep(state tls.ConnectionState) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	certificates := state.PeerCertificates
	if len(state.VerifiedChains) > 0 {
		certificates = state.VerifiedChains[0]
	}
	for _, one := range certificates {
		if c.first == nil || one.NotAfter.Before(c.first.NotAfter) {
			c.first = one
		}
	}
	return nil
}

func (c *chain) firstToEnd() *x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first
}

// clientCertificate looks at the one that we show to Vault.
func clientCertificate(f findings, t *http.Transport) {
	if t.TLSClientConfig.GetClientCertificate == nil {
		return
	}
	pair, err := t.TLSClientConfig.GetClientCertificate(&tls.CertificateRequestInfo{})
	if err != nil {
		f.fail("%v", err)
		return
	}
	f.expiry(pair.Leaf, broken, "our client certificate", "renew it; the agent takes the new files by itself")
}

// expiry finds a certificate that has ended, or should have been renewed by now. Those
// that are made for hours are renewed by programs, late in their lives.
func (f findings) expiry(c *x509.Certificate, ended verdict, which, hint string) {
	const expiresIn = 14 * 24 * time.Hour
	left, validity := time.Until(c.NotAfter), c.NotAfter.Sub(c.NotBefore)
	switch {
	case left < 0:
		f.add(ended, "%s has ended on %s", []any{which, day(c.NotAfter)}).with("%s", hint)
	case left < expiresIn && left < validity/3:
		f.warn("%s ends on %s", which, day(c.NotAfter)).with("%s", hint)
	}
}
