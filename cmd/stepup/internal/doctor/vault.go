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

	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/setup"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
	"github.com/vault-stepup/stepup/config"
)

const (
	// codesFail is the difference of clocks from which on TOTP codes fail: Vault
	// takes the code before and the code after, 30 s each (skew = 1).
	codesFail  = 30 * time.Second
	codesDoubt = 10 * time.Second
	expiresIn  = 14 * 24 * time.Hour
)

func vaultName(name string) string { return "vault " + name }

// checkVault goes the way of a request, by the transport that requests use.
func checkVault(ctx context.Context, v config.Vault) []finding {
	what := vaultName(v.Name)
	base, socket := vault.Base(v.Address)
	with := setup.TLS(v)
	with.Socket, with.ResponseHeaderTimeout = socket, networkLimit
	transport, err := vault.NewTransport(with)
	if err != nil {
		return []finding{fail(what, "%v", err).with(hintConfig)}
	}
	defer transport.CloseIdleConnections()
	var chain leaf
	transport.TLSClientConfig.VerifyConnection = chain.keep
	client, err := vault.New(vault.Config{Name: v.Name, Address: v.Address, Transport: transport})
	if err != nil {
		return []finding{fail(what, "%v", err)}
	}
	via := wayTo(transport, base)
	health, err := client.Health(ctx)
	if err != nil {
		return append([]finding{unreachable(what, via, err)}, clientCertificate(what, transport)...)
	}
	all := []finding{healthFinding(what, v.Address.String()+via, health)}
	all = append(all, clockFinding(what, health.Skew)...)
	all = append(all, chain.findings(what)...)
	all = append(all, clientCertificate(what, transport)...)
	if v.TLSSkipVerify {
		all = append(all, warn(what, "tls_skip_verify: anybody on the way may be Vault and read your tokens").with("name the authority by ca_cert in the vault block instead"))
	}
	if v.Address.Scheme == "http" && vaultcli.Remote(v.Address.String()) {
		all = append(all, warn(what, "http: anybody on the way reads your tokens").with("use https in the vault block"))
	}
	return all
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

func healthFinding(what, where string, h vault.Health) finding {
	switch {
	case !h.Initialized:
		return fail(what, "%s: not initialised", where).with("`vault operator init` at the server")
	case h.Sealed:
		return fail(what, "%s: sealed", where).with("an operator has to unseal it")
	case tooOld(h.Version):
		return warn(what, "%s: version %s has no Login MFA", where, h.Version).with("logins are completed from Vault 1.10 on")
	}
	state := "up"
	if h.Standby {
		state = "up, a standby"
	}
	return pass(what, "%s: %s, version %s", where, state, h.Version)
}

// tooOld reports whether a Vault is older than Login MFA. OpenBao counts from 2.
func tooOld(version string) bool {
	return slices.ContainsFunc([]string{"0.", "1.0.", "1.1.", "1.2.", "1.3.", "1.4.", "1.5.", "1.6.", "1.7.", "1.8.", "1.9."},
		func(old string) bool { return strings.HasPrefix(version, old) })
}

// clockFinding is about TOTP, which is all that depends on our clock.
func clockFinding(what string, skew time.Duration) []finding {
	which := "ahead of"
	if skew < 0 {
		which = "behind"
	}
	switch off := skew.Abs(); {
	case off >= codesFail:
		return []finding{fail(what, textClock, off, which, "TOTP codes made on this machine are refused").with(hintClock)}
	case off >= codesDoubt:
		return []finding{warn(what, textClock, off, which, "from 30 s on, TOTP codes are refused").with(hintClock)}
	}
	return nil
}

// unreachable says how far we came.
func unreachable(what, via string, err error) finding {
	var (
		dns       *net.DNSError
		unknown   x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		notTLS    tls.RecordHeaderError
		timeout   interface{ Timeout() bool }
		where     = func(text string) string { return text + via }
		certified = func(c *x509.Certificate) string { return strings.Join(names(c), ", ") }
	)
	switch {
	case errors.As(err, &dns):
		return fail(what, "%s", where(textDNS(dns.Name))).with("check the name in the vault block, and whether the VPN is up")
	case errors.As(err, &unknown):
		return fail(what, "its certificate is signed by an authority that is not known here: %s", issuer(unknown.Cert)).with("name its PEM file by ca_cert in the vault block")
	case errors.As(err, &host):
		return fail(what, "its certificate is for other names: %s", certified(host.Certificate)).with("use one of these names in the address, or set tls_server_name in the vault block")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fail(what, "its certificate is good from %s to %s only", day(invalid.Cert.NotBefore), day(invalid.Cert.NotAfter)).
			with("if the clock of this machine is right, an operator has to renew it")
	case errors.As(err, &notTLS), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fail(what, "it speaks http, not https").with("check the scheme and the port of the address in the vault block")
	case cli.ConnectionRefused(err):
		return fail(what, "%s", where(textRefused(err))).with("check host and port in the vault block, and whether Vault runs")
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return fail(what, "%s", where("no answer in time")).with(hintTimeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fail(what, "%s", where("the connection was closed without an answer")).with(hintTimeout)
	}
	return fail(what, "%v", err).with("check the address in the vault block: something else than Vault may answer there")
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

// A leaf remembers until when a server's certificates are good.
type leaf struct {
	mu    sync.Mutex
	first *x509.Certificate // the first of the chain that ends; nil without TLS
}

// keep is for tls.Config.VerifyConnection. It refuses nothing.
func (l *leaf) keep(state tls.ConnectionState) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	chain := state.PeerCertificates
	if len(state.VerifiedChains) > 0 {
		chain = state.VerifiedChains[0]
	}
	for _, c := range chain {
		if l.first == nil || c.NotAfter.Before(l.first.NotAfter) {
			l.first = c
		}
	}
	return nil
}

func (l *leaf) findings(what string) []finding {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.first == nil:
		return nil
	case time.Now().After(l.first.NotAfter): // tls_skip_verify lets it through
		return []finding{warn(what, "its certificate has ended on %s", day(l.first.NotAfter)).with(hintExpires)}
	case soon(l.first):
		return []finding{warn(what, "its certificate ends on %s", day(l.first.NotAfter)).with(hintExpires)}
	}
	return nil
}

// soon reports whether a certificate should have been renewed by now. Those that
// are made for hours are renewed by programs, late in their lives.
func soon(c *x509.Certificate) bool {
	left, whole := time.Until(c.NotAfter), c.NotAfter.Sub(c.NotBefore)
	return left < expiresIn && left < whole/3
}

// clientCertificate looks at the one that we show to Vault.
func clientCertificate(what string, t *http.Transport) []finding {
	if t.TLSClientConfig.GetClientCertificate == nil {
		return nil
	}
	pair, err := t.TLSClientConfig.GetClientCertificate(&tls.CertificateRequestInfo{})
	if err != nil {
		return []finding{fail(what, "%v", err)}
	}
	switch {
	case time.Now().After(pair.Leaf.NotAfter):
		return []finding{fail(what, "our client certificate has ended on %s", day(pair.Leaf.NotAfter)).with(hintClientExpired)}
	case soon(pair.Leaf):
		return []finding{warn(what, "our client certificate ends on %s", day(pair.Leaf.NotAfter)).with(hintClientExpired)}
	}
	return nil
}

// Texts of several places.
const (
	textClock         = "its clock is %s %s ours: %s"
	hintClock         = "set the clock by the network: `timedatectl set-ntp true` on Linux, the date settings elsewhere; if this one is right, tell the operator of Vault"
	hintExpires       = "tell the operator of Vault"
	hintClientExpired = "renew it; the agent takes the new files by itself"
	hintTimeout       = "check the VPN, the firewall and the proxy (HTTPS_PROXY, VAULT_PROXY_ADDR)"
)

func textDNS(name string) string { return name + " is not known" }

// textRefused names the address that refused, which may be that of a proxy.
func textRefused(err error) string {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Addr != nil {
		return "nobody listens at " + dial.Addr.String()
	}
	return "nobody listens there: " + syscall.ECONNREFUSED.Error()
}
