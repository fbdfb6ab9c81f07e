package main

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

const managerLaunchd = "launchd"

// launchd is the part of macOS's service manager that belongs to the person at
// the screen.
type launchd struct {
	app    *app
	run    commander
	home   string
	domain string        // gui/UID: where the keychain and dialogs are
	pause  time.Duration // between tries, while launchd is still taking the old one down
}

func (a *app) launchd(run commander) launchd {
	return launchd{app: a, run: run, home: a.Env("HOME"), domain: fmt.Sprintf("gui/%d", os.Getuid()), pause: 250 * time.Millisecond}
}

func (l launchd) dir() string    { return filepath.Join(l.home, "Library", "LaunchAgents") }
func (l launchd) target() string { return l.domain + "/" + packaging.Label }

func (l launchd) ctl(ctx context.Context, args ...string) (string, error) {
	return l.run(ctx, "launchctl", args...)
}

// file is what launchd reads.
func (l launchd) file(p servicePlan) (packaging.File, error) {
	p.agent.Listen = nil
	p.agent.Log = filepath.Join(l.home, "Library", "Logs", "stepup.log")
	// launchd knows the system's folders only, and not where a person's tools are.
	p.agent.Env = append(p.agent.Env, "PATH="+l.app.Env("PATH"))
	return packaging.Launchd(p.agent)
}

func (l launchd) install(ctx context.Context, p servicePlan, force bool) error {
	file, err := l.file(p)
	if err != nil {
		return cli.Usage(err, hintServiceUnfit)
	}
	change, err := compareFile(l.dir(), file)
	if err != nil {
		return err
	}
	if err := refuseEdited([]fileChange{change}, force); err != nil {
		return err
	}
	before, err := l.state(ctx)
	if err != nil {
		return err
	}
	if !change.needed() && before.running {
		l.app.tellChange(change)
		l.app.Say(textServiceRuns, before.pid)
		return nil
	}
	if len(before.units) > 0 {
		if _, err := l.ctl(ctx, "bootout", l.target()); err != nil {
			return l.failed(err)
		}
	}
	if change.needed() {
		if err := change.apply(); err != nil {
			return err
		}
	}
	l.app.tellChange(change)
	// A person may have disabled it, which bootstrap would not say.
	if _, err := l.ctl(ctx, "enable", l.target()); err != nil {
		return l.failed(err)
	}
	if err := l.bootstrap(ctx, change.path); err != nil {
		return l.failed(err)
	}
	now, err := l.state(ctx)
	if err != nil {
		return err
	}
	done := textServiceStarted
	if before.running {
		done = textServiceRestarted
	}
	l.app.Say(done, now.pid)
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
	return &cli.Error{Err: fmt.Errorf(textServiceFailed, err), Hint: fmt.Sprintf("%s says more, `stepup doctor` may know why", filepath.Join(l.home, "Library", "Logs", "stepup.log"))}
}

func (l launchd) uninstall(ctx context.Context, force bool) error {
	change, err := compareFile(l.dir(), packaging.File{Name: packaging.Plist})
	if err != nil {
		return err
	}
	if err := refuseEdited([]fileChange{change}, force); err != nil {
		return err
	}
	before, err := l.state(ctx)
	if err != nil && !change.exists {
		return err
	}
	if len(before.units) > 0 {
		if _, err := l.ctl(ctx, "bootout", l.target()); err != nil {
			return l.failed(err)
		}
	}
	if !change.exists {
		l.app.Say(textServiceNone)
		return nil
	}
	if err := change.apply(); err != nil {
		return err
	}
	l.app.tellChange(change)
	l.app.Say(textServiceGone)
	return nil
}

func (l launchd) state(ctx context.Context) (serviceState, error) {
	st := serviceState{manager: managerLaunchd, doing: "not loaded"}
	path := filepath.Join(l.dir(), packaging.Plist)
	if text, err := readServiceFile(path); err == nil {
		origin := originEdited
		if _, intact := packaging.Unseal(text); intact {
			origin = originOurs
		}
		st.files, st.enabled = []serviceFile{{path, origin}}, true
	} else if errors.Is(err, errServiceNoFile) {
		st.files = []serviceFile{{path, originEdited}}
	}
	if _, err := l.ctl(ctx, "print", l.domain); err != nil {
		return st, &cli.Error{Err: errServiceNoScreen, Hint: "log in at the screen once, or run `stepup agent` in a terminal"}
	}
	out, err := l.ctl(ctx, "print", l.target())
	if err != nil {
		return st, nil // it is not loaded
	}
	values := parsePrint(out)
	st.units = []string{packaging.Label}
	st.pid, _ = strconv.Atoi(values["pid"])
	st.doing, st.program = values["state"], values["program"]
	st.running = st.doing == "running"
	st.failed = !st.running && values["last exit code"] != "0" && values["last exit code"] != "(never exited)"
	if st.failed {
		st.doing += ", last exit code " + values["last exit code"]
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

var (
	errServiceNoScreen = errors.New("nobody is logged in at the screen of this Mac: there is no keychain and no window for a question")
)
