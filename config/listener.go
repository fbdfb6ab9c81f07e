package config

import (
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/ownership"
)

// An endpoint is an address that the agent will listen on.
type endpoint struct {
	b    *block
	key  string         // equal for equal addresses; "" for one that is wrong
	addr netip.AddrPort // of tcp
}

func readListener(b *block) {
	d := b.d
	known := d.oneOf("listener", b.label, []string{"tcp", "unix"})
	var l agent.Listener
	b.read(&l)
	at := endpoint{b: b}
	t, ok := b.text("address")
	switch {
	case !ok || !known:
	case l.Network == "tcp":
		at = loopback(b, t)
		l.Address = at.key
	default:
		if l.Address, ok = socket(b, t); ok {
			at.key = socketKey(l.Address)
		}
	}
	// A vault of the user's own is not what a shared listener could mean.
	vaults := slices.Clone(d.names["vault"])
	if d.tree.Shared(b.header) {
		vaults = slices.DeleteFunc(vaults, func(name string) bool { return !d.tree.Shared(d.first[titled{"vault", name}]) })
	}
	switch {
	case b.has("vault"):
	case len(vaults) > 1:
		d.fail(b.header, say("the listener does not say which vault it stands for").because("there are several vault blocks").
			hint(`add vault = "NAME"; declared are: %s`, strings.Join(vaults, ", ")))
	case len(vaults) == 1:
		l.Vault = vaults[0]
	}
	d.listeners = append(d.listeners, at)
	d.cfg.Listeners = append(d.cfg.Listeners, l)
}

func readTelemetry(b *block) {
	c := &b.d.cfg.Telemetry
	b.read(c)
	if t, ok := b.text("textfile"); ok {
		b.d.notFolder("textfile", t)
		if filepath.Ext(t.value) != ".prom" {
			b.d.fail(t.at, say("%s does not end in .prom", t.shown).because("node_exporter reads no other files in its folder").
				hint(`write it as in "/var/lib/prometheus/node-exporter/stepup.prom"`))
		}
	} else if !b.has("textfile") {
		b.need("address")
	}
	if t, ok := b.text("address"); ok {
		at := loopback(b, t)
		c.Address = at.key
		b.d.listeners = append(b.d.listeners, at)
	}
}

// loopback reads IP:port. The result has no name in it: a name that is looked
// up again when the socket is made could by then mean another address.
func loopback(b *block, t text) endpoint {
	none := endpoint{b: b}
	host, port, err := net.SplitHostPort(t.value)
	if err != nil {
		b.d.fail(t.at, say("%s is not an address with a port", t.shown).hint(`write "127.0.0.1:8100" or "[::1]:8100"`))
		return none
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		b.d.fail(t.at, wordsPort(t))
		return none
	}
	if isLocalhost(host) {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err == nil && ip.Zone() == "" && ip.Unmap().IsLoopback() {
		addr := netip.AddrPortFrom(ip.Unmap(), uint16(n))
		return endpoint{b: b, key: addr.String(), addr: addr}
	}
	problem := say("%s is not on a loopback address: %s", b.title, t.shown)
	if b.title == "telemetry" {
		problem = problem.because("anybody on the network could read which secrets you use and when").hint("listen on 127.0.0.1 or [::1]")
	} else {
		problem = problem.because("anybody on the network could use your token and ask you for codes").
			hint("listen on 127.0.0.1, on [::1] or on a unix socket")
	}
	b.d.fail(t.at, problem)
	return none
}

func isLocalhost(host string) bool {
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}

// socket reads the path of a unix socket.
func socket(b *block, t text) (string, bool) {
	if !filepath.IsAbs(t.value) {
		b.d.fail(t.at, wordsRelative("address", t))
		return "", false
	}
	b.d.notFolder("address", t)
	b.d.safe("address", t, ownership.CheckPlace)
	path := filepath.Clean(t.value)
	if len(path) > maxUnixPath {
		b.d.fail(t.at, say("the path of the unix socket has %d bytes; systems allow at most %d", len(path), maxUnixPath).
			hint("use a shorter folder, such as ${runtime_dir}"))
		return "", false
	}
	return path, true
}

// socketKey is equal for two spellings of one socket.
func socketKey(path string) string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "unix:" + path // the folder is not there yet
	}
	return "unix:" + filepath.Join(dir, filepath.Base(path))
}

// checkListeners refuses two listeners on one address. The second would fail to
// start, or on a unix socket take the place of the first.
func (d *decoder) checkListeners() {
	seen := map[string]*block{}
	if d.opt.RuntimeDir != "" {
		seen[socketKey(filepath.Join(d.opt.RuntimeDir, "control.sock"))] = nil
	}
	for _, l := range d.listeners {
		if l.key == "" || l.addr.IsValid() && l.addr.Port() == 0 {
			continue
		}
		at, _ := l.b.text("address")
		switch first, taken := seen[l.key]; {
		case !taken:
			seen[l.key] = l.b
		case first == nil:
			d.fail(at.at, say("%s is the address of the agent's control socket", at.shown).hint("use another name in that folder"))
		default:
			t, _ := first.text("address")
			d.fail(at.at, say("two listeners use the address %s", at.shown).hint("the first is %s on line %d", first.title, t.at.Start.Line))
		}
	}
}
