package main

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
	"time"

	"github.com/vault-stepup/stepup/agent/upstream"
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

// examineVault goes the way of a request, by the transport that requests use.
func (d *doctor) examineVault(ctx context.Context, v config.Vault) []finding {
	what := vaultName(v.Name)
	base, socket := upstream.Base(v.Address)
	with := vaultTLS(v)
	with.Socket, with.ResponseHeaderTimeout = socket, networkLimit
	transport, err := upstream.NewTransport(with)
	if err != nil {
		return []finding{fail(what, "%v", err).with(hintDoctorConfig)}
	}
	defer transport.CloseIdleConnections()
	var chain leaf
	transport.TLSClientConfig.VerifyConnection = chain.keep
	client, err := upstream.New(upstream.Config{Name: v.Name, Address: v.Address, Transport: transport})
	if err != nil {
		return []finding{fail(what, "%v", err)}
	}
	way := wayTo(transport, base)
	health, err := client.Health(ctx)
	if err != nil {
		return append([]finding{unreachable(what, way, err)}, clientCertificate(what, transport)...)
	}
	all := []finding{healthFinding(what, v.Address.String()+way, health)}
	all = append(all, clockFinding(what, health.Skew)...)
	all = append(all, chain.findings(what)...)
	all = append(all, clientCertificate(what, transport)...)
	if v.TLSSkipVerify {
		all = append(all, warn(what, textDoctorSkip).with(hintDoctorSkip))
	}
	if v.Address.Scheme == "http" && remote(v.Address.String()) {
		all = append(all, warn(what, textDoctorPlain).with(hintDoctorPlain))
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

func healthFinding(what, where string, h upstream.Health) finding {
	switch {
	case !h.Initialized:
		return fail(what, textDoctorRaw, where).with(hintDoctorRaw)
	case h.Sealed:
		return fail(what, textDoctorSealed, where).with(hintDoctorSealed)
	case tooOld(h.Version):
		return warn(what, textDoctorOld, where, h.Version).with(hintDoctorOld)
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
	which := textDoctorAhead
	if skew < 0 {
		which = textDoctorBehind
	}
	switch off := skew.Abs(); {
	case off >= codesFail:
		return []finding{fail(what, textDoctorClock, off, which, textDoctorCodesFail).with(hintDoctorClock)}
	case off >= codesDoubt:
		return []finding{warn(what, textDoctorClock, off, which, textDoctorCodesDoubt).with(hintDoctorClock)}
	}
	return nil
}

// unreachable says how far we came.
func unreachable(what, way string, err error) finding {
	var (
		dns       *net.DNSError
		unknown   x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		notTLS    tls.RecordHeaderError
		timeout   interface{ Timeout() bool }
		where     = func(text string) string { return text + way }
		certified = func(c *x509.Certificate) string { return strings.Join(names(c), ", ") }
	)
	switch {
	case errors.As(err, &dns):
		return fail(what, "%s", where(textDoctorDNS(dns.Name))).with(hintDoctorDNS)
	case errors.As(err, &unknown):
		return fail(what, textDoctorAuthority, issuer(unknown.Cert)).with(hintDoctorAuthority)
	case errors.As(err, &host):
		return fail(what, textDoctorHost, certified(host.Certificate)).with(hintDoctorHost)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fail(what, textDoctorExpired, day(invalid.Cert.NotBefore), day(invalid.Cert.NotAfter)).with(hintDoctorExpired)
	case errors.As(err, &notTLS), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fail(what, textDoctorNoTLS).with(hintDoctorNoTLS)
	case connectionRefused(err):
		return fail(what, "%s", where(textDoctorRefused(err))).with(hintDoctorRefused)
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return fail(what, "%s", where(textDoctorTimeout)).with(hintDoctorTimeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fail(what, "%s", where(textDoctorHungUp)).with(hintDoctorTimeout)
	}
	return fail(what, "%v", err).with(hintDoctorNotVault)
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
		return []finding{warn(what, textDoctorEnded, day(l.first.NotAfter)).with(hintDoctorExpires)}
	case soon(l.first):
		return []finding{warn(what, textDoctorExpires, day(l.first.NotAfter)).with(hintDoctorExpires)}
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
		return []finding{fail(what, textDoctorClientExpired, day(pair.Leaf.NotAfter)).with(hintDoctorClientExpired)}
	case soon(pair.Leaf):
		return []finding{warn(what, textDoctorClientExpires, day(pair.Leaf.NotAfter)).with(hintDoctorClientExpired)}
	}
	return nil
}
