package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/listener"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/ownership"
)

// Texts of both kinds of addresses.
const (
	textServed    = "served by the agent"
	textFree      = "free for the agent"
	textTaken     = "taken by %s: your programs would send their tokens there"
	textTakerUser = "a program of user %d"
	textTaker     = "another program"
	hintTaken     = "stop that program, or choose another address in the %s block"
)

// checkListener finds out whether the agent has, or could have, an address.
func checkListener(d *doctor, f findings, l agent.Listener) {
	for _, served := range d.agent.Listeners {
		if served.Network == l.Network && served.Address == l.Address {
			f.pass(textServed)
			return
		}
	}
	switch {
	case slices.Contains(d.service.Listening, l.Address):
		f.pass("held open by %s; the next connection starts the agent", d.service.Manager)
	case l.Network == "unix":
		checkSocketFile(f, l.Address)
	default:
		checkPort(f, l.Address, "listener", textTaken)
	}
}

// checkTelemetry is checkListener for the address of the metrics, to which no
// program sends a token.
func checkTelemetry(d *doctor, f findings, address string) {
	if d.agent.Telemetry == address {
		f.pass(textServed)
		return
	}
	checkPort(f, address, "telemetry", "taken by %s")
}

// checkPort looks at a TCP address that no agent is known to serve. It is bound for a
// moment and not connected to: a connection could start something.
func checkPort(f findings, address, block, taken string) {
	ln, err := listener.Listen(context.Background(), "tcp", address)
	if err == nil {
		err = ln.Close()
	}
	switch {
	case err == nil:
		f.pass(textFree)
	case !cli.AddressTaken(err):
		f.fail("%v", err).with("choose another address in the %s block", block)
	default:
		var holder peer.Peer
		if at, err := netip.ParseAddrPort(address); err == nil {
			holder = peer.Listener(at)
		}
		addressTaken(f, taken, holder, block)
	}
}

// addressTaken fails with the program that has an address. It never advises to stop an agent: that
// agent may be the one that serves this person's programs.
func addressTaken(f findings, text string, holder peer.Peer, block string) {
	if !isAgent(holder) {
		f.fail(text, taker(holder)).with(hintTaken, block)
		return
	}
	f.fail("taken by %s: an agent of yours, it seems, that is not in the runtime folder of this shell", taker(holder)).
		with("give this shell the XDG_RUNTIME_DIR or STEPUP_RUNTIME_DIR of that agent, or choose another address in the %s block for a second one", block)
}

// isAgent reports whether a program of this user is probably stepup. It is not asked: that
// could start something.
func isAgent(p peer.Peer) bool {
	if p.UID != os.Getuid() {
		return false
	}
	ours := func(name string) bool { return name == "stepup" }
	return ours(filepath.Base(p.Exe)) || len(p.Chain) > 0 && ours(p.Chain[0]) ||
		slices.ContainsFunc(p.MayBe, func(c peer.Candidate) bool { return ours(c.Name) })
}

// taker names the process that has an address of the agent.
func taker(p peer.Peer) string {
	switch {
	case p.UID >= 0 && p.UID != os.Getuid():
		return fmt.Sprintf(textTakerUser, p.UID)
	case p.PID > 0:
		return fmt.Sprintf("%s (pid %d)", filepath.Base(p.Exe), p.PID)
	case !p.Hidden:
		return textTaker
	}
	var candidates []string
	for _, c := range p.MayBe {
		candidates = append(candidates, fmt.Sprintf("%s (pid %d)", cli.Printable(c.Name), c.PID))
	}
	const hidden = "a program that hides its process, as stepup does"
	if len(candidates) == 0 {
		return hidden
	}
	return hidden + " (it may be " + strings.Join(candidates, ", ") + ")"
}

// checkSocketFile looks at the place of a unix socket that no agent is known to
// serve.
func checkSocketFile(f findings, path string) {
	const hint = "choose a path in a folder of your own, such as ${runtime_dir}/vault.sock"
	folder := filepath.Dir(path)
	if info, err := os.Stat(folder); err == nil && !ownership.Ours(info) {
		f.fail(textOwner, folder, ownership.UID(info)).with(hint)
		return
	}
	if f.changeable(ownership.Check(folder)) {
		return
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.pass(textFree)
	case err != nil:
		f.fail("%v", err).with(hint)
	case info.Mode().Type() != fs.ModeSocket:
		f.fail("there is something else than a socket").with("remove it, or choose another path in the listener block")
	case !ownership.Ours(info):
		f.fail(textTaken, fmt.Sprintf(textTakerUser, ownership.UID(info))).with(hint)
	default:
		conn, err := net.Dial("unix", path)
		if err != nil {
			f.pass("left by an agent that is gone; the next one removes it")
			return
		}
		defer conn.Close()
		addressTaken(f, textTaken, peer.Identify(conn).Describe(), "listener")
	}
}
