package doctor

import (
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/supervisor"
)

func checkAgent(d *doctor, f findings) {
	switch {
	case d.service.Starts(d.ControlSocket()):
		f.pass("none runs now: the next program or command that needs it starts it")
		return
	case d.noAgentRuns() && d.service.Running:
		f.fail("the service runs, pid %d, but not in the runtime folder of this shell, %s", d.service.PID, d.RuntimeDir()).
			with("XDG_RUNTIME_DIR or STEPUP_RUNTIME_DIR is another here than for the service; log in anew, or `stepup service install` again")
		return
	case d.noAgentRuns():
		f.warn("none is running in %s", d.RuntimeDir()).with("`stepup service install` starts it with your session, `stepup agent` in this terminal")
		return
	case !d.running():
		f.fail("does not answer: %v", d.agentErr).with("restart it if programs get no answers either: %s", cli.HintRestart)
		return
	}
	if d.agent.Version == cli.Version() {
		f.pass("stepup %s runs, pid %d", d.agent.Version, d.agent.PID)
	} else {
		f.warn("stepup %s runs, pid %d, but this program is %s", d.agent.Version, d.agent.PID, cli.Version()).
			with("restart to run the new version: %s", cli.HintRestart)
	}
	if d.agent.ConfigError != "" {
		f.warn("the last reload failed, the configuration from before is in force: %s", d.agent.ConfigError).with(hintConfig)
	}
	if ours := fileInUse(d); d.noConfig == nil && d.agent.ConfigFile != ours {
		f.warn("it uses %s, this shell %s", d.agent.ConfigFile, ours).with("set STEPUP_CONFIG to that file, or start the agent again")
	}
	if len(d.agent.Prompters) == 0 && d.agent.Attached == 0 {
		f.warn("nobody is asked: no prompter is configured and no terminal is attached").with("`stepup attach` answers on this terminal")
	}
	if audit := d.agent.Audit; audit != nil && audit.Error != "" {
		f.fail(textAudit, audit.Error).with("`stepup status` says since when, and what is missing")
	}
	for _, v := range d.agent.Vaults {
		// Its way may be another than ours: other authorities, another proxy in its environment.
		if !v.Up && v.Error != "" {
			f.fail("it cannot reach vault %q: %s", v.Name, v.Error).
				with("if the line of that vault below is fine, the agent has another environment (SSL_CERT_FILE, HTTPS_PROXY): start it again")
		}
	}
	for _, note := range d.agent.Notes {
		f.warn("%s", note)
	}
}

// fileInUse is the user's own file, or the shared one where there is no other.
func fileInUse(d *doctor) string {
	if d.config != nil {
		return d.config.File
	}
	return d.file
}

const hintReinstall = "`stepup service install` again"

func checkService(d *doctor, f findings) {
	st := d.service
	start, why := "`systemctl --user start stepup.service`", "`journalctl --user -u stepup.service -u stepup.socket -n 30`"
	if st.Manager == supervisor.ManagerLaunchd {
		start, why = "`stepup service install`", "~/Library/Logs/stepup.log"
	}
	switch {
	case d.serviceErr != nil:
		find := f.pass
		if errors.Is(d.serviceErr, supervisor.ErrNoSession) {
			find = f.warn // the agent of a login session will not be found, either
		}
		found := find("%v", d.serviceErr)
		if h := (*cli.Error)(nil); errors.As(d.serviceErr, &h) {
			found.with("%s", h.Hint)
		}
		return
	case st.Unknown:
		f.pass("%s", st.Doing)
		return
	case st.Masked != "":
		unit := supervisor.Masked(st.Masked)
		f.warn("%v", unit.Err).with("%s", unit.Hint)
	case len(st.Files) == 0:
		f.pass(supervisor.NotInstalled).with("`stepup service install` starts the agent when you log in")
		return
	case st.Running:
		f.pass("runs, pid %d", st.PID)
	case st.Failed:
		f.fail("%s", st.Doing).with("%s says why, `stepup service install` tries again", why)
	default:
		f.warn("%s", st.Doing).with("%s starts it", start)
	}
	if st.Program != "" {
		checkProgram(f, st.Program)
	}
	if st.Outdated {
		f.warn("its files have changed since they were read").with("`systemctl --user daemon-reload`")
	}
	checkSockets(d, f)
}

// checkProgram compares what the service starts with what this is.
func checkProgram(f findings, program string) {
	there, err := os.Stat(program)
	if err != nil {
		f.fail("starts %s, which is not there any more", program).with(hintReinstall)
		return
	}
	self, err := os.Executable()
	if err != nil {
		return
	}
	if here, err := os.Stat(self); err == nil && !os.SameFile(there, here) {
		f.warn("starts %s, this program is %s", program, self).with(hintReinstall)
	}
}

// checkSockets compares the addresses that the service manager holds with those
// that the agent would ask for.
func checkSockets(d *doctor, f findings) {
	if d.config == nil || len(d.service.Listening) == 0 {
		return
	}
	var missing []string
	for _, l := range supervisor.FixedAddresses(d.config, d.ControlSocket()) {
		if !slices.Contains(d.service.Listening, l.Name) {
			missing = append(missing, l.Name)
		}
	}
	if len(missing) > 0 {
		f.warn("holds other addresses than the configuration has: %s is missing", strings.Join(missing, ", ")).with(hintReinstall)
	}
}
