package main

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"github.com/vault-stepup/stepup/agent/control"
)

// The words of stepup service, and what the agent tells the service manager. The
// rules are those of ui.go.

const (
	textService          = "the agent as a service of your session"
	textServiceInstall   = "install and start the service"
	textServiceUninstall = "stop and remove the service"
	textServiceStatus    = "say whether the service runs"
	textServicePrint     = "print the service's files"
	textServiceForce     = "also replace or remove a file that was edited by hand (it is kept as *.saved)"
	textServiceFor       = "for which service manager"
	textServicePackage   = "print the systemd units for a package that installs the program at this path"

	textServiceLong = `The agent can be started when you log in, and be started again when it fails, by
the service manager of your system: the user instance of systemd on Linux, a
launchd agent on macOS, a task at logon on Windows. It is always your own
service, never one of the system: it asks you, on your screen.

Questions then come on the desktop, in terminals with "stepup attach" and
"stepup exec", and by "stepup prompts"; a service has no terminal of its own.`

	textServiceInstallLong = `Checks the configuration, writes the files of the service for it, and starts it.
Doing so again is right after an upgrade, when the program has moved, or when
the addresses of the listeners have changed: what changed is said, and the
service is started again if it runs.

On Linux these are stepup.service and stepup.socket of your systemd. The socket
keeps the addresses of the listeners open while the agent does not run, so that
no other user can take them. Put changes of your own into a drop-in:

  systemctl --user edit stepup.service

A file that was edited by hand is left alone, unless you say --force.`

	textServiceUninstallLong = `Stops the service and removes what "install" wrote. The configuration, the audit
log and what is in the keyring stay. Drop-ins stay, too.`

	textServiceStatusLong = `Says what the service manager knows of the service. Exits with 0 when the
service runs, with 4 when no agent runs at all, and with 1 when one runs that is
not the service.`

	textServicePrintLong = `Prints the files that "install" would write and changes nothing: for
configuration management, or to read them first.

  stepup service print --package /usr/bin/stepup   what a package installs`
)

// What the agent tells the service manager.
const (
	textServing     = "serving"
	textNotReloaded = "the configuration has an error, the one from before stays in force: %v"
)

// Results.
const (
	textServiceWrote     = "wrote %s"
	textServiceUpdated   = "updated %s"
	textServiceSame      = "unchanged %s"
	textServiceRemoved   = "removed %s"
	textServiceSaved     = "kept what was there as %s"
	textServiceDropIn    = "in force beside it: %s"
	textServiceStarted   = "started, pid %d; it starts by itself when you log in"
	textServiceRestarted = "restarted, pid %d"
	textServiceRuns      = "runs already, pid %d"
	textServiceStopped   = "installed; it does not run now: the next connection starts it, or `systemctl --user start stepup.service`"
	textServiceNone      = "the service is not installed"
	textServiceGone      = "stopped and removed"
	textServicePackaged  = "%s belongs to a package and stays"
	textServiceTaskState = "unknown: `schtasks /Query /TN stepup` shows the task"
)

// What is wrong.
const (
	textServiceOther       = "an agent that is not the service runs already (pid %d)"
	textServiceEdited      = "%s was not written by this command, or was edited since"
	textServiceMasked      = "%s is masked: you, or the administrator, has said that it must not start"
	textServiceFailed      = "the service manager says: %w"
	textServiceNotUp       = "the service has not come up: %s"
	textServiceUnreachable = "your systemd cannot be reached: %w"
	textServiceSlow        = "%s has not answered within %s"
	textServiceBadFor      = "must be systemd, launchd or windows"

	hintServiceOther      = "stop it (ctrl-c in its terminal), then install again"
	hintServiceEdited     = "move your changes into a drop-in (`systemctl --user edit stepup.service`), or say --force"
	hintServiceMasked     = "`systemctl --user unmask %s` allows it again"
	hintServiceJournal    = "`journalctl --user -u stepup.service -u stepup.socket -n 30` says more, `stepup doctor` may know why"
	hintServiceLog        = "%s says more, `stepup doctor` may know why"
	hintServiceByHand     = "let your session start `stepup agent`, or run it in a terminal (tmux); `stepup service print` shows what a service would be"
	hintServiceWSL        = "add the lines [boot] and systemd=true to /etc/wsl.conf and run `wsl --shutdown` in Windows, or run `stepup agent` in a terminal"
	hintServiceRuntimeDir = "`export XDG_RUNTIME_DIR=%s` and try again (su and sudo take it away)"
	hintServiceLogin      = "log in as this user (at the screen or by ssh; su and sudo are no login), or run `stepup agent` in a terminal"
	hintServiceNoScreen   = "log in at the screen once, or run `stepup agent` in a terminal"
	hintServiceSudo       = "run it without sudo"
	hintServiceUnfit      = "use paths without control characters"
	hintServiceTask       = "in PowerShell: Register-ScheduledTask -TaskName stepup -Xml (stepup service print | Out-String)"
	hintServiceTaskGone   = "in PowerShell: Unregister-ScheduledTask -TaskName stepup"
)

// What the person should know besides.
const (
	noteServiceEnv    = "%s is set in this shell, but not for the service; if it needs it, put it into a file in ~/.config/environment.d and log in again"
	noteServicePath   = "the service does not find %s in its PATH; write the full path into the configuration"
	noteServiceLinger = "without anybody logged in, the service stops with the last ssh connection; `loginctl enable-linger` keeps it running"
	noteServiceAlone  = "nothing could be stopped: %v"
)

var (
	errServiceTask      = errors.New("on Windows the task is yours to register; this command does not")
	errServiceNoFile    = errors.New("is no regular file")
	errServiceSudo      = errors.New("with sudo this would be root's service, which serves and asks nobody but root")
	errServiceNoSystemd = errors.New("this system is not run by systemd, so there is nothing that could start the agent for you")
	errServiceWSL       = errors.New("systemd is not switched on in this WSL distribution")
	errServiceNoSession = errors.New("this shell belongs to no login session (XDG_RUNTIME_DIR is not set), so your systemd cannot be found")
	errServiceNoScreen  = errors.New("nobody is logged in at the screen of this Mac: there is no keychain and no window for a question")
)

// serviceText is what stepup service status prints. The agent is the one of this
// runtime folder, if there is one.
func serviceText(st serviceState, agent control.Status, there bool) string {
	var s sheet
	state := printable(st.doing)
	switch {
	case len(st.files) == 0 && len(st.units) == 0 && !st.unknown:
		state = textServiceNone
	case st.running:
		state = "runs, pid " + number(st.pid)
	case len(st.listening) > 0:
		state += ", the next connection starts it"
	}
	if st.enabled {
		state += ", starts when you log in"
	}
	s.row("service", state)
	if st.said != "" && st.running {
		s.row("", "says: "+printable(st.said))
	}
	if st.masked != "" {
		s.row("masked", printable(st.masked))
	}
	s.row("program", existing(st.program)...)
	var files []string
	for _, f := range st.files {
		files = append(files, printable(f.path)+"\t"+string(f.origin))
	}
	for _, path := range st.dropIns {
		files = append(files, printable(path)+"\tdrop-in")
	}
	s.row("files", files...)
	if st.outdated {
		s.row("", "changed on disk: `systemctl --user daemon-reload`")
	}
	if len(st.listening) > 0 {
		s.row("sockets", "held open by "+st.manager+": "+printable(strings.Join(st.listening, ", ")))
	}
	switch {
	case !there:
		s.row("agent", "none answers: `stepup doctor` may know why")
	case st.running && agent.PID != st.pid:
		s.row("agent", "pid "+number(agent.PID)+" in this runtime folder is not the service")
	case !st.running:
		s.row("agent", "pid "+number(agent.PID)+" runs, but not as the service")
	default:
		s.row("agent", "stepup "+printable(agent.Version))
	}
	return s.String()
}

// existing says so where a program is not there any more.
func existing(program string) []string {
	if program == "" {
		return nil
	}
	if _, err := os.Stat(program); err != nil {
		return []string{printable(program) + " is not there any more: `stepup service install` again"}
	}
	return []string{printable(program)}
}

func number(n int) string { return strconv.Itoa(n) }
