package config

import (
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/vault-stepup/stepup/ownership"
)

// A listening is an address that the agent will listen on.
type listening struct {
	what   string         // for messages
	key    string         // equal for equal addresses
	addr   netip.AddrPort // tcp
	unix   string         // unix: the path with its folder's links followed
	at     text
	header hcl.Range
	named  bool // says itself which vault
	index  int  // in Config.Listeners
}

func (b *block) listener() {
	d := b.d
	d.declared["listener"] = append(d.declared["listener"], b.label)
	known := d.oneOf("listener", b.label, []string{TCP, Unix})
	var l Listener
	b.read(&l)
	node := listening{what: b.title, header: b.header, index: len(d.cfg.Listeners), named: b.has("vault")}
	t, ok := b.text("address")
	switch {
	case !ok || !known:
	case l.Network == TCP:
		if node.addr, ok = d.loopback(b.title, t); ok {
			l.Address = node.addr.String()
			node.key = l.Address
		}
	default:
		if l.Address, ok = d.socket(t); ok {
			node.unix = followed(l.Address)
			node.key = "unix:" + node.unix
		}
	}
	node.at = t
	d.listeners = append(d.listeners, node)
	d.cfg.Listeners = append(d.cfg.Listeners, l)
}

func (b *block) telemetry() {
	c := &b.d.cfg.Telemetry
	b.read(c)
	t, ok := b.text("address")
	if !ok {
		return
	}
	if addr, ok := b.d.loopback("telemetry", t); ok {
		c.Address = addr.String()
		b.d.telemetry = &listening{what: "telemetry", header: b.header, key: c.Address, addr: addr, at: t}
	}
}

// loopback reads IP:port. The result has no name in it: a name that is looked
// up again when the socket is made could by then mean another address.
func (d *decoder) loopback(what string, t text) (netip.AddrPort, bool) {
	host, port, err := net.SplitHostPort(t.value)
	if err != nil {
		d.fail(t.at, say("%s is not an address with a port", t.shown).hint(`write "127.0.0.1:8100" or "[::1]:8100"`))
		return netip.AddrPort{}, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		d.fail(t.at, wordsPort(t))
		return netip.AddrPort{}, false
	}
	if isLocalhost(host) {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Zone() != "" || !ip.Unmap().IsLoopback() {
		problem := say("%s is not on a loopback address: %s", what, t.shown)
		if what == "telemetry" {
			d.fail(t.at, problem.because("anybody on the network could read which secrets you use and when").hint("listen on 127.0.0.1 or [::1]"))
		} else {
			d.fail(t.at, problem.because("anybody on the network could use your token and ask you for codes").
				hint("listen on 127.0.0.1, on [::1] or on a unix socket"))
		}
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), true
}

func isLocalhost(host string) bool {
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}

// socket reads the path of a unix socket.
func (d *decoder) socket(t text) (string, bool) {
	if !filepath.IsAbs(t.value) {
		d.fail(t.at, wordsRelative("address", t))
		return "", false
	}
	d.notFolder("address", t)
	d.safe("address", t, ownership.CheckWay)
	path := filepath.Clean(t.value)
	if len(path) > maxUnixPath {
		d.fail(t.at, say("the path of the unix socket has %d bytes; systems allow at most %d", len(path), maxUnixPath).
			hint("use a shorter folder, such as ${runtime_dir}"))
		return "", false
	}
	return path, true
}

// followed gives a path by which two spellings of one socket can be compared.
func followed(path string) string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return path // the folder is not there yet
	}
	return filepath.Join(dir, filepath.Base(path))
}

// allListening are the listeners and, if there is one, that of the metrics.
func (d *decoder) allListening() []listening {
	if d.telemetry == nil {
		return d.listeners
	}
	return append(slices.Clip(d.listeners), *d.telemetry)
}

// checkListeners refuses two listeners on one address. The second would fail to
// start, or on a unix socket take the place of the first.
func (d *decoder) checkListeners() {
	seen := map[string]listening{}
	if d.opt.RuntimeDir != "" {
		control := followed(filepath.Join(d.opt.RuntimeDir, "control.sock"))
		seen["unix:"+control] = listening{what: "the agent's control socket"}
	}
	for _, l := range d.allListening() {
		if l.key == "" || (l.addr.IsValid() && l.addr.Port() == 0) {
			continue
		}
		switch first, taken := seen[l.key]; {
		case !taken:
			seen[l.key] = l
		case first.at.at.Start.Line == 0:
			d.fail(l.at.at, say("%s is the address of %s", l.at.shown, first.what).hint("use another name in that folder"))
		default:
			d.fail(l.at.at, say("two listeners use the address %s", l.at.shown).
				hint("the first is %s on line %d", first.what, first.at.at.Start.Line))
		}
	}
}
