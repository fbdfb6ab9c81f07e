package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/packaging"
)

// ManagerLaunchd is the [State.Manager] of macOS.
const ManagerLaunchd = "launchd"

// launchd is the part of macOS's service manager that belongs to the person at
// the screen.
type launchd struct {
	console *cli.Console
	run     commander
	home    string
	domain  string        // gui/UID: where the keychain and dialogs are
	pause   time.Duration // between tries, while launchd is still taking the old one down
}

func newLaunchd(c *cli.Console, run commander) launchd {
	return launchd{console: c, run: run, home: c.Env("HOME"), domain: fmt.Sprintf("gui/%d", os.Getuid()), pause: 250 * time.Millisecond}
}

// LaunchdFile is the file that launchd reads for an agent.
func LaunchdFile(c *cli.Console, a packaging.Agent) (packaging.File, error) {
	return newLaunchd(c, runProgram).file(a)
}

func (l launchd) dir() string    { return filepath.Join(l.home, "Library", "LaunchAgents") }
func (l launchd) target() string { return l.domain + "/" + packaging.Label }
func (l launchd) log() string    { return filepath.Join(l.home, "Library", "Logs", "stepup.log") }

func (l launchd) ctl(ctx context.Context, args ...string) (string, error) {
	return l.run(ctx, "launchctl", args...)
}

// file is what launchd reads.
func (l launchd) file(a packaging.Agent) (packaging.File, error) {
	a.Listen = nil
	a.Log = l.log()
	// launchd knows the system's folders only, and not where a person's tools are.
	a.Env = append(a.Env, "PATH="+l.console.Env("PATH"))
	return packaging.Launchd(a)
}

// Install implements Supervisor.
func (l launchd) Install(ctx context.Context, a packaging.Agent, force bool) error {
	file, err := l.file(a)
	if err != nil {
		return Unfit(err)
	}
	change, err := compareFile(l.dir(), file, force)
	if err != nil {
		return err
	}
	before, err := l.State(ctx)
	if err != nil {
		return err
	}
	keep := !change.needed() && before.Running
	if len(before.Units) > 0 && !keep {
		if _, err := l.ctl(ctx, "bootout", l.target()); err != nil {
			return l.failed(err)
		}
	}
	if err := change.apply(l.console); err != nil {
		return err
	}
	if keep {
		l.console.Say(textRuns, before.PID)
		return nil
	}
	// A person may have disabled it, which bootstrap would not say.
	if _, err := l.ctl(ctx, "enable", l.target()); err != nil {
		return l.failed(err)
	}
	if err := l.bootstrap(ctx, change.path); err != nil {
		return l.failed(err)
	}
	now, err := l.State(ctx)
	if err != nil {
		return err
	}
	done := textStarted
	if before.Running {
		done = textRestarted
	}
	l.console.Say(done, now.PID)
	return nil
}

// restart ends the agent and starts it again, if it is loaded.
func (l launchd) restart(ctx context.Context) error {
	before, err := l.State(ctx)
	if err != nil {
		return err
	}
	if len(before.Units) == 0 {
		return errNotInstalled()
	}
	if _, err := l.ctl(ctx, "kickstart", "-k", l.target()); err != nil {
		return l.failed(err)
	}
	now, err := l.State(ctx)
	if err != nil {
		return err
	}
	l.console.Say(textRestarted, now.PID)
	return nil
}

// bootstrap loads the file. launchd refuses while it still takes the old one
// down, and has no way to wait for that.
func (l launchd) bootstrap(ctx context.Context, path string) error {
	const tries = 20
	for try := 1; ; try++ {
		_, err := l.ctl(ctx, "bootstrap", l.domain, path)
		if err == nil || try == tries {
			return err
		}
		select {
		case <-time.After(l.pause):
		case <-ctx.Done():
			return err
		}
	}
}

func (l launchd) failed(err error) error {
	return &cli.Error{Err: fmt.Errorf(textFailed, err), Hint: l.log() + " says more, `stepup doctor` may know why"}
}

// Uninstall implements Supervisor.
func (l launchd) Uninstall(ctx context.Context, force bool) error {
	change, err := compareFile(l.dir(), packaging.File{Name: packaging.Plist}, force)
	if err != nil {
		return err
	}
	before, err := l.State(ctx)
	if err != nil && !change.exists {
		return err
	}
	if len(before.Units) > 0 {
		if _, err := l.ctl(ctx, "bootout", l.target()); err != nil {
			return l.failed(err)
		}
	}
	if !change.exists {
		l.console.Say(NotInstalled)
		return nil
	}
	if err := change.apply(l.console); err != nil {
		return err
	}
	l.console.Say(textGone)
	return nil
}

// State implements Supervisor.
func (l launchd) State(ctx context.Context) (State, error) {
	st := State{Manager: ManagerLaunchd, Doing: "not loaded"}
	path := filepath.Join(l.dir(), packaging.Plist)
	if info, err := os.Lstat(path); err == nil {
		st.Files, st.Enabled = []File{{path, ownOrigin(path)}}, info.Mode().IsRegular()
	}
	if _, err := l.ctl(ctx, "print", l.domain); err != nil {
		return st, &cli.Error{Err: errNoScreenSession, Hint: "log in at the screen once, or run `stepup agent` in a terminal"}
	}
	out, err := l.ctl(ctx, "print", l.target())
	if err != nil {
		return st, nil // it is not loaded
	}
	values := parsePrint(out)
	st.Units = []string{packaging.Label}
	st.PID, _ = strconv.Atoi(values["pid"])
	st.Doing, st.Program = values["state"], values["program"]
	st.Running = st.Doing == "running"
	st.Failed = !st.Running && values["last exit code"] != "0" && values["last exit code"] != "(never exited)"
	if st.Failed {
		st.Doing += ", last exit code " + values["last exit code"]
	}
	return st, nil
}

// parsePrint reads the "name = value" lines of launchctl print that belong to the
// service itself: those one level deep, the first of a name.
func parsePrint(out string) map[string]string {
	values := make(map[string]string)
	depth := 0
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasSuffix(line, "{"):
			depth++
		case line == "}":
			depth--
		case depth == 1:
			name, value, ok := strings.Cut(line, " = ")
			if _, seen := values[name]; ok && !seen {
				values[name] = value
			}
		}
	}
	return values
}

var errNoScreenSession = errors.New("nobody is logged in at the screen of this Mac: there is no keychain and no window for a question")
