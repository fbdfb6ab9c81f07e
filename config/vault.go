package config

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/config/layers"
	"github.com/vault-stepup/stepup/ownership"
)

// pushTimeout is the least that a server gets to begin its answer where methods
// push: Vault itself waits for a phone for up to 90 s.
const pushTimeout = 150 * time.Second

// idleTimeout is how long an unused connection to a server is kept: less than load balancers
// and firewalls keep theirs.
const idleTimeout = 30 * time.Second

func readVault(b *block) {
	v := agent.Vault{MaxBody: 1 << 20, Timeout: pushTimeout, IdleTimeout: idleTimeout}
	b.read(&v)
	b.d.unique("vault", b.label)
	checkTLS(b, &v)
	b.d.vaults = append(b.d.vaults, b)
	b.d.cfg.Vaults = append(b.d.cfg.Vaults, v)
}

// checkTimeouts lets no timeout end a push.
func (d *decoder) checkTimeouts() {
	if !slices.ContainsFunc(d.cfg.Methods, func(m agent.Method) bool { return m.Type != "" && m.Pushes() }) {
		return
	}
	for i, b := range d.vaults {
		v := &d.cfg.Vaults[i]
		if !b.has("timeout") || v.Timeout >= pushTimeout {
			continue
		}
		d.warn(b.sourceRange("timeout"), say("timeout is %s, which is shorter than a push takes", v.Timeout).
			because("there are methods that push, so stepup waits for %s; a request that is given up and repeated pushes again", pushTimeout).
			hint("leave timeout out"))
		v.Timeout = pushTimeout
	}
}

// readAddress reads the URL of a Vault server. Errors of url.Parse are not
// repeated: they quote the text, which may hold a password.
func readAddress(f *file, t text) (*url.URL, bool) {
	u, err := url.Parse(t.value)
	var problem message
	switch {
	case err != nil:
		problem = say("%s is not a URL", t.shown).hint(`write "https://vault.example.com:8200"`)
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "unix":
		problem = say("%s does not begin with https://, http:// or unix://", t.shown).hint(`write "https://vault.example.com:8200"`)
	case u.User != nil:
		problem = say("the address has a user or password in it").
			because("Vault has no use for one, and addresses get into logs").hint("write only scheme, host and port")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(t.value, "#"):
		problem = say("%s has a query or fragment", t.shown).hint("write only scheme, host and port")
	case u.Scheme == "unix":
		if u.Host == "" && filepath.IsAbs(u.Path) {
			return &url.URL{Scheme: "unix", Path: filepath.Clean(u.Path)}, true
		}
		problem = say("%s does not name a socket", t.shown).hint(`write three slashes and the whole path: "unix:///run/vault.sock"`)
	case u.Hostname() == "" || u.Opaque != "":
		problem = say("%s has no host", t.shown)
	case u.Path != "" && !plainPath(u):
		problem = say("the path of %s is not plain", t.shown).
			because("what is in front of Vault would see another one than stepup").hint(`write it without "//", "." and "%%"`)
	case slices.Contains(strings.Split(u.Path, "/"), "v1"):
		problem = say("%s has /v1 in its path", t.shown).hint("leave it out: /v1/… comes from the program")
	case u.Port() != "" && !validPort(u.Port()) || strings.HasSuffix(u.Host, ":"):
		problem = wordsPort(t)
	default:
		return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimSuffix(u.Path, "/")}, true
	}
	f.fail(t.at, problem)
	return nil, false
}

// plainPath reports whether a path is read alike by everything on the way to Vault.
func plainPath(u *url.URL) bool {
	return u.RawPath == "" && u.EscapedPath() == u.Path && (u.Path == "/" || path.Clean(u.Path) == strings.TrimSuffix(u.Path, "/"))
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// checkUpstreams refuses an upstream that is one of our own listeners: each
// request would come back for ever. That happens easily, because VAULT_ADDR is
// both the server for people and the agent for apps (hashicorp/vault#15707).
func (d *decoder) checkUpstreams() {
	for i, b := range d.vaults {
		u := d.cfg.Vaults[i].Address
		if u == nil {
			continue // reported
		}
		for _, l := range d.listeners {
			if l.key != "" && d.sameSocket(u, l) {
				at, _ := b.text("address")
				d.fail(at.at, say("%s points at stepup's own %s %s", b.title, l.b.title, layers.Where(l.b.header, at.at)).
					because("every request would come back to the agent for ever").
					hint("address is the Vault server itself; only programs have the agent in VAULT_ADDR"))
				break
			}
		}
	}
}

// sameSocket reports whether dialling u reaches the listener l.
func (d *decoder) sameSocket(u *url.URL, l endpoint) bool {
	if u.Scheme == "unix" || !l.addr.IsValid() {
		return u.Scheme == "unix" && socketKey(u.Path) == l.key
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || l.addr.Port() != uint16(n) || n == 0 {
		return false
	}
	if isLocalhost(u.Hostname()) {
		return usualLoopback(l.addr.Addr())
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		return reaches(ip, l.addr.Addr())
	}
	// Also the odd spellings of an address that a resolver accepts: 127.1, 0x7f000001.
	for _, ip := range d.resolve(u.Hostname()) {
		if reaches(ip, l.addr.Addr()) {
			return true
		}
	}
	return false
}

// reaches reports whether a connection to ip arrives at a listener on own. The
// unspecified address means this host.
func reaches(ip, own netip.Addr) bool {
	ip = ip.WithZone("").Unmap()
	return ip == own || (ip.IsUnspecified() && usualLoopback(own))
}

func usualLoopback(ip netip.Addr) bool {
	return ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || ip == netip.IPv6Loopback()
}

// checkTLS checks how the connection to Vault is secured. The files are read now, so
// that a wrong path is an error at its line and not of the first request.
func checkTLS(b *block, v *agent.Vault) {
	if t, content, ok := readPEM(b, "ca_cert"); ok && !x509.NewCertPool().AppendCertsFromPEM(content) {
		b.d.fail(t.at, say("there is no PEM certificate in %s", t.shown))
	}
	if t, ok := b.text("ca_path"); ok {
		checkAuthorities(b, t)
	}
	t, cert, certOK := readPEM(b, "client_cert")
	_, key, keyOK := readPEM(b, "client_key")
	for have, lacks := range map[string]string{"client_cert": "client_key", "client_key": "client_cert"} {
		if b.has(have) && !b.has(lacks) {
			b.d.fail(b.at(have), say("%s needs %s", have, lacks).hint("add %s = …", lacks))
		}
	}
	if certOK && keyOK {
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			b.d.fail(t.at, say("client_cert and client_key do not work together").because("%s", strings.TrimPrefix(err.Error(), "tls: ")))
		}
	}
	if v.Address == nil || v.Address.Scheme == "https" {
		return
	}
	for _, name := range []string{"ca_cert", "ca_path", "client_cert", "client_key", "tls_server_name", "tls_skip_verify"} {
		if b.has(name) {
			b.d.warn(b.sourceRange(name), say("%s has no effect with %s://", name, v.Address.Scheme))
		}
	}
}

// checkAuthorities looks at a folder of certificates, and at each of them.
func checkAuthorities(b *block, dir text) {
	entries, err := os.ReadDir(dir.value)
	if err != nil {
		b.d.fail(dir.at, wordsUnreadable("ca_path", dir, err))
		return
	}
	if !b.d.safe("ca_path", dir, ownership.Check) {
		return
	}
	for _, e := range entries {
		file := dir
		file.value = filepath.Join(dir.value, e.Name())
		if !b.d.safe("ca_path", file, ownership.Check) {
			return
		}
	}
}

// readPEM reads the file that an argument names. If it cannot be used, that has been reported.
func readPEM(b *block, name string) (t text, content []byte, ok bool) {
	t, ok = b.text(name)
	if !ok || !b.d.safe(name, t, ownership.Check) {
		return t, nil, false
	}
	content, err := layers.ReadFile(t.value, maxPemFile)
	if err != nil {
		b.d.fail(t.at, wordsUnreadable(name, t, err))
	}
	return t, content, err == nil
}

// resolve looks up the addresses of host, once and within maxResolve.
func (d *decoder) resolve(host string) []netip.Addr {
	if addrs, done := d.resolved[host]; done {
		return addrs
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxResolve)
	defer cancel()
	addrs, err := d.opt.Resolve(ctx, host)
	if err != nil {
		addrs = nil // offline is no reason not to start; the relay notices loops at run time
	}
	d.resolved[host] = addrs
	return addrs
}
