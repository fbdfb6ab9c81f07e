package config

import (
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// PushTimeout is the least that a server gets to begin its answer where methods
// push: Vault itself waits for a phone for up to 90 s.
const PushTimeout = 150 * time.Second

// A shortTimeout is a vault block whose timeout would end a push.
type shortTimeout struct {
	vault int // in cfg.Vaults
	at    hcl.Range
}

// checkTimeouts lets no timeout end a push.
func (d *decoder) checkTimeouts() {
	if !slices.ContainsFunc(d.cfg.Methods, func(m Method) bool { return m.Type != "totp" && m.Type != "" }) {
		return
	}
	for _, s := range d.short {
		d.warn(s.at, say("timeout is %s, which is shorter than a push takes", d.cfg.Vaults[s.vault].Timeout).
			because("there are methods that push, so stepup waits for %s; a request that is given up and repeated pushes again", PushTimeout).
			hint("leave timeout out"))
		d.cfg.Vaults[s.vault].Timeout = PushTimeout
	}
}

// An upstream is the address of a vault block.
type upstream struct {
	title string
	url   *url.URL
	at    text
}

func (b *block) vault() {
	v := defaultVault()
	b.read(&v)
	b.d.declare("vault", b.label)
	if t, ok := b.text("address"); ok && v.Address != nil {
		b.d.vaults = append(b.d.vaults, upstream{title: b.title, url: v.Address, at: t})
	}
	if b.has("timeout") && v.Timeout < PushTimeout {
		b.d.short = append(b.d.short, shortTimeout{vault: len(b.d.cfg.Vaults), at: b.whole("timeout")})
	}
	b.tls(&v)
	b.d.cfg.Vaults = append(b.d.cfg.Vaults, v)
}

// address reads the URL of a Vault server. Errors of url.Parse are not
// repeated: they quote the text, which may hold a password.
func (d *decoder) address(t text) (*url.URL, bool) {
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
	case u.Path != "" && u.Path != "/":
		problem = say("%s has a path", t.shown).hint("write only scheme, host and port: /v1/… comes from the app")
	case u.Port() != "" && !validPort(u.Port()) || strings.HasSuffix(u.Host, ":"):
		problem = wordsPort(t)
	default:
		return &url.URL{Scheme: u.Scheme, Host: u.Host}, true
	}
	d.fail(t.at, problem)
	return nil, false
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// checkUpstreams refuses an upstream that is one of our own listeners: each
// request would come back for ever. That happens easily, because VAULT_ADDR is
// both the server for people and the agent for apps (hashicorp/vault#15707).
func (d *decoder) checkUpstreams() {
	for _, up := range d.vaults {
		for _, l := range d.allListening() {
			if l.key != "" && d.sameSocket(up.url, l) {
				d.fail(up.at.at, say("%s points at stepup's own %s on line %d", up.title, l.what, l.header.Start.Line).
					because("every request would come back to the agent for ever").
					hint("address is the Vault server itself; only apps have the agent in VAULT_ADDR"))
				break
			}
		}
	}
}

// sameSocket reports whether dialling u reaches the listener l.
func (d *decoder) sameSocket(u *url.URL, l listening) bool {
	if u.Scheme == "unix" || l.unix != "" {
		return u.Scheme == "unix" && followed(u.Path) == l.unix
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
