package main

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// The words of stepup service, and what the agent tells the service manager. The
// rules are those of ui.go.

const ()

// What the agent tells the service manager.
const ()

// Results.
const (
	textServiceStarted   = "started, pid %d; it starts by itself when you log in"
	textServiceRestarted = "restarted, pid %d"
	textServiceRuns      = "runs already, pid %d"

	textServiceNone = "the service is not installed"
	textServiceGone = "stopped and removed"
)

// What is wrong.
const (
	textServiceMasked = "%s is masked: you, or the administrator, has said that it must not start"
	textServiceFailed = "the service manager says: %w"

	hintServiceMasked = "`systemctl --user unmask %s` allows it again"

	hintServiceUnfit = "use paths without control characters"
)

// What the person should know besides.
const ()

var (
	errServiceNoFile = errors.New("is no regular file")

	errServiceNoSession = errors.New("this shell belongs to no login session (XDG_RUNTIME_DIR is not set), so your systemd cannot be found")
)

// serviceText is what stepup service status prints. The agent is the one of this
// runtime folder, if there is one.
func serviceText(st serviceState, agent control.Status, there bool) string {
	var s cli.Sheet
	state := cli.Printable(st.doing)
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
	s.Row("service", state)
	if st.said != "" && st.running {
		s.Row("", "says: "+cli.Printable(st.said))
	}
	if st.masked != "" {
		s.Row("masked", cli.Printable(st.masked))
	}
	s.Row("program", existing(st.program)...)
	var files []string
	for _, f := range st.files {
		files = append(files, cli.Printable(f.path)+"\t"+string(f.origin))
	}
	for _, path := range st.dropIns {
		files = append(files, cli.Printable(path)+"\tdrop-in")
	}
	s.Row("files", files...)
	if st.outdated {
		s.Row("", "changed on disk: `systemctl --user daemon-reload`")
	}
	if len(st.listening) > 0 {
		s.Row("sockets", "held open by "+st.manager+": "+cli.Printable(strings.Join(st.listening, ", ")))
	}
	switch {
	case !there:
		s.Row("agent", "none answers: `stepup doctor` may know why")
	case st.running && agent.PID != st.pid:
		s.Row("agent", "pid "+number(agent.PID)+" in this runtime folder is not the service")
	case !st.running:
		s.Row("agent", "pid "+number(agent.PID)+" runs, but not as the service")
	default:
		s.Row("agent", "stepup "+cli.Printable(agent.Version))
	}
	return s.String()
}

// existing says so where a program is not there any more.
func existing(program string) []string {
	if program == "" {
		return nil
	}
	if _, err := os.Stat(program); err != nil {
		return []string{cli.Printable(program) + " is not there any more: `stepup service install` again"}
	}
	return []string{cli.Printable(program)}
}

func number(n int) string { return strconv.Itoa(n) }
