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

	"github.com/vault-stepup/stepup/agent/listener"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/supervisor"
	"github.com/vault-stepup/stepup/config"
	"github.com/vault-stepup/stepup/ownership"
)

func (d *doctor) checkAgent(context.Context) []finding {
	const what = "agent"
	switch {
	case d.noAgentRuns() && d.service.Running:
		return []finding{fail(what, "the service runs, pid %d, but not in the runtime folder of this shell, %s", d.service.PID, d.RuntimeDir()).
			with("XDG_RUNTIME_DIR or STEPUP_RUNTIME_DIR is another here than for the service; log in anew, or `stepup service install` again")}
	case d.noAgentRuns():
		return []finding{warn(what, "none is running in %s", d.RuntimeDir()).with("`stepup service install` starts it with your session, `stepup agent` in this terminal")}
	case !d.running():
		return []finding{fail(what, "does not answer: %v", d.agentErr).with("stop it and start it again")}
	}
	all := []finding{pass(what, "stepup %s runs, pid %d", d.agent.Version, d.agent.PID)}
	if d.agent.Version != cli.Version() {
		all[0] = warn(what, "stepup %s runs, pid %d, but this program is %s", d.agent.Version, d.agent.PID, cli.Version()).
			with("start it again: `stepup service install`, or ctrl-c and `stepup agent` where it runs in a terminal")
	}
	if d.agent.ConfigError != "" {
		all = append(all, warn(what, "the last reload failed, the configuration from before is in force: %s", d.agent.ConfigError).with(hintConfig))
	}
	if d.noConfig == nil && d.agent.ConfigFile != d.file {
		all = append(all, warn(what, "it uses %s, this shell %s", d.agent.ConfigFile, d.file).with("set STEPUP_CONFIG to that file, or start the agent again"))
	}
	if len(d.agent.Prompters) == 0 && d.agent.Attached == 0 {
		all = append(all, warn(what, "nobody is asked: no prompter is configured and no terminal is attached").with("`stepup attach` answers on this terminal"))
	}
	if audit := d.agent.Audit; audit != nil && audit.Error != "" {
		all = append(all, fail(what, textAudit, audit.Error).with("`stepup status` says since when, and what is missing"))
	}
	for _, note := range d.agent.Notes {
		all = append(all, warn(what, "%s", note))
	}
	return all
}

func (d *doctor) checkService(context.Context) []finding {
	const what = "service"
	st := d.service
	if d.serviceErr != nil {
		f := pass(what, "%v", d.serviceErr)
		if errors.Is(d.serviceErr, supervisor.ErrNoSession) {
			f.Verdict = doubted // the agent of a login session will not be found, either
		}
		if h := (*cli.Error)(nil); errors.As(d.serviceErr, &h) {
			f = f.with("%s", h.Hint)
		}
		return []finding{f}
	}
	if st.Unknown {
		return []finding{pass(what, "%s", st.Doing)}
	}
	if len(st.Files) == 0 && st.Masked == "" {
		return []finding{pass(what, supervisor.NotInstalled).with("`stepup service install` starts the agent when you log in")}
	}
	var all []finding
	switch {
	case st.Masked != "":
		unit := supervisor.Masked(st.Masked)
		all = append(all, warn(what, "%v", unit.Err).with("%s", unit.Hint))
	case st.Running:
		all = append(all, pass(what, "runs, pid %d", st.PID))
	case st.Failed:
		all = append(all, fail(what, "%s", st.Doing).with("%s", hintFailed(st.Manager)))
	default:
		all = append(all, warn(what, "%s", st.Doing).with("%s", hintStart(st.Manager)))
	}
	if st.Program != "" {
		all = append(all, d.checkProgram(st.Program)...)
	}
	if st.Outdated {
		all = append(all, warn(what, "its files have changed since they were read").with("`systemctl --user daemon-reload`"))
	}
	return append(all, d.checkSockets()...)
}

// checkProgram compares what the service starts with what this is.
func (d *doctor) checkProgram(program string) []finding {
	there, err := os.Stat(program)
	if err != nil {
		return []finding{fail("service", "starts %s, which is not there any more", program).with(hintReinstall)}
	}
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	if here, err := os.Stat(self); err == nil && !os.SameFile(there, here) {
		return []finding{warn("service", "starts %s, this program is %s", program, self).with(hintReinstall)}
	}
	return nil
}

// checkSockets compares the addresses that the service manager holds with those
// that the agent would ask for.
func (d *doctor) checkSockets() []finding {
	if d.config == nil || len(d.service.Listening) == 0 {
		return nil
	}
	var missing []string
	for _, l := range supervisor.FixedAddresses(d.config) {
		if !slices.Contains(d.service.Listening, l.Name) {
			missing = append(missing, l.Name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return []finding{warn("service", "holds other addresses than the configuration has: %s is missing", strings.Join(missing, ", ")).with(hintReinstall)}
}

// checkListener finds out whether the agent has, or could have, an address.
func (d *doctor) checkListener(l config.Listener) []finding {
	what := "listener " + l.Address
	for _, served := range d.agent.Listeners {
		if served.Network == l.Network && served.Address == l.Address {
			return []finding{pass(what, textServed)}
		}
	}
	if slices.Contains(d.service.Listening, l.Address) {
		return []finding{pass(what, "held open by %s; the next connection starts the agent", d.service.Manager)}
	}
	if l.Network == config.Unix {
		return []finding{checkSocketFile(what, l.Address)}
	}
	by, err := d.holder(l.Address)
	switch {
	case err == nil:
		return []finding{pass(what, textFree)}
	case !cli.AddressTaken(err):
		return []finding{fail(what, "%v", err).with("choose another address in the listener block")}
	}
	return []finding{fail(what, textTaken, taker(by)).with(hintTaken)}
}

// holder returns nil when a TCP address is free, and else the process that has it. It is bound
// for a moment and not connected to: a connection could start something.
func (d *doctor) holder(address string) (peer.Peer, error) {
	ln, err := listener.Listen(context.Background(), "tcp", address)
	if err == nil {
		return peer.Peer{}, ln.Close()
	}
	at, parseErr := netip.ParseAddrPort(address)
	if parseErr != nil {
		return peer.Peer{}, err
	}
	return peer.Listener(at), err
}

// checkTelemetry is checkListener for the address of the metrics, to which no
// program sends a token.
func (d *doctor) checkTelemetry(address string) []finding {
	what := "telemetry " + address
	if d.agent.Telemetry == address {
		return []finding{pass(what, textServed)}
	}
	by, err := d.holder(address)
	switch {
	case err == nil:
		return []finding{pass(what, textFree)}
	case !cli.AddressTaken(err):
		return []finding{fail(what, "%v", err).with(hintMetrics)}
	}
	return []finding{fail(what, "taken by %s", taker(by)).with(hintMetrics)}
}

// taker names the process that has an address of the agent.
func taker(p peer.Peer) string {
	switch {
	case p.UID >= 0 && p.UID != os.Getuid():
		return fmt.Sprintf(textTakerUser, p.UID)
	case p.PID > 0:
		return fmt.Sprintf("%s (pid %d)", filepath.Base(p.Exe), p.PID)
	case p.Hidden:
		return takerHidden(p.MayBe)
	}
	return textTaker
}

// checkSocketFile looks at the place of a unix socket that no agent is known to
// serve.
func checkSocketFile(what, path string) finding {
	folder := filepath.Dir(path)
	if info, err := os.Stat(folder); err == nil && !ownership.Ours(info) {
		return fail(what, textOwner, folder, ownership.UID(info)).with(hintSocketFolder)
	}
	var unsafe *ownership.Unsafe
	if err := ownership.Check(folder); errors.As(err, &unsafe) {
		return fail(what, textChangeable, unsafe).with("%s", unsafe.Fix())
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return pass(what, textFree)
	case err != nil:
		return fail(what, "%v", err).with(hintSocketFolder)
	case info.Mode().Type() != fs.ModeSocket:
		return fail(what, "there is something else than a socket").with("remove it, or choose another path in the listener block")
	case !ownership.Ours(info):
		return fail(what, textTaken, fmt.Sprintf(textTakerUser, ownership.UID(info))).with(hintSocketFolder)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		return pass(what, "left by an agent that is gone; the next one removes it")
	}
	_ = conn.Close()
	return fail(what, textTaken, textTaker).with(hintTaken)
}

// Texts of several places.
const (
	hintReinstall    = "`stepup service install` again"
	textServed       = "served by the agent"
	textFree         = "free for the agent"
	textTaken        = "taken by %s: your programs would send their tokens there"
	textTaker        = "another program"
	textTakerUser    = "a program of user %d"
	hintTaken        = "stop that program, or choose another address in the listener block"
	hintMetrics      = "stop that program, or choose another address in the telemetry block"
	hintSocketFolder = "choose a path in a folder of your own, such as ${runtime_dir}/vault.sock"
)

// hintStart is for a service that is installed and does not run.
func hintStart(manager string) string {
	if manager == supervisor.ManagerLaunchd {
		return "`stepup service install` starts it"
	}
	return "`systemctl --user start stepup.service` starts it"
}

func hintFailed(manager string) string {
	if manager == supervisor.ManagerLaunchd {
		return "~/Library/Logs/stepup.log says why, `stepup service install` tries again"
	}
	return "`journalctl --user -u stepup.service -u stepup.socket -n 30` says why, `stepup service install` tries again"
}

// takerHidden says which programs may have an address that should be ours.
func takerHidden(candidates []peer.Candidate) string {
	var names []string
	for _, c := range candidates {
		names = append(names, fmt.Sprintf("%s (pid %d)", cli.Printable(c.Name), c.PID))
	}
	if len(names) == 0 {
		return textHidden
	}
	return textHidden + " (it may be " + strings.Join(names, ", ") + ")"
}

// Listeners.
const (
	textHidden = "a program that hides its process, as stepup does"
)
