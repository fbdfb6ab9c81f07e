package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/config/paths"
	"github.com/vault-stepup/stepup/packaging"
)

// Systemd is the user's own instance of systemd.
type Systemd struct {
	console *cli.Console
	run     commander
	dir     string // of the user's own units
	// booted reports whether this system is run by systemd (sd_booted(3)).
	booted func() bool
}

func newSystemd(c *cli.Console, run commander) Systemd {
	return Systemd{
		console: c, run: run, dir: filepath.Join(paths.UserConfigDir(c.Env), "systemd", "user"),
		booted: func() bool { _, err := os.Stat("/run/systemd/system"); return err == nil },
	}
}

func (s Systemd) ctl(ctx context.Context, args ...string) (string, error) {
	return s.run(ctx, "systemctl", append([]string{"--user"}, args...)...)
}

// Environment is what the user's systemd gives to its services.
func (s Systemd) Environment(ctx context.Context) (func(string) string, error) {
	out, err := s.ctl(ctx, "show-environment")
	if err != nil {
		return nil, s.unreachable(err)
	}
	all := make(map[string]string)
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		all[name] = shellValue(value)
	}
	return func(name string) string { return all[name] }, nil
}

// shellValue undoes the quoting of systemctl show-environment, $'…' with
// backslashes, as far as paths and names need it.
func shellValue(s string) string {
	inner, ok := strings.CutPrefix(s, "$'")
	if !ok {
		return s
	}
	inner = strings.TrimSuffix(inner, "'")
	var b strings.Builder
	for i := 0; i < len(inner); i++ {
		if inner[i] == '\\' && i+1 < len(inner) {
			i++
		}
		b.WriteByte(inner[i])
	}
	return b.String()
}

// unreachable says why there is no service manager, and what to do instead.
func (s Systemd) unreachable(err error) error {
	env := s.console.Env
	missing := errors.Is(err, exec.ErrNotFound) || !s.booted()
	switch {
	case env("WSL_DISTRO_NAME") != "" && missing:
		return &cli.Error{Err: errWSL, Hint: "add the lines [boot] and systemd=true to /etc/wsl.conf and run `wsl --shutdown` in Windows, or run `stepup agent` in a terminal"}
	case missing:
		return &cli.Error{Err: errNoSystemd, Hint: "let your session start `stepup agent`, or run it in a terminal (tmux); `stepup service print` shows what a service would be"}
	case env("XDG_RUNTIME_DIR") == "":
		own := fmt.Sprintf("/run/user/%d", os.Getuid())
		if info, err := os.Stat(own); err == nil && info.IsDir() {
			return &cli.Error{Err: ErrNoSession, Hint: fmt.Sprintf("`export XDG_RUNTIME_DIR=%s` and try again (su and sudo take it away)", own)}
		}
		return &cli.Error{Err: ErrNoSession, Hint: hintLogin}
	}
	return &cli.Error{Err: fmt.Errorf("your systemd cannot be reached: %w", err), Hint: hintLogin}
}

// Install implements Supervisor.
func (s Systemd) Install(ctx context.Context, a packaging.Agent, force bool) error {
	files, err := packaging.Systemd(a)
	if err != nil {
		return Unfit(err)
	}
	before, err := s.State(ctx)
	if err != nil {
		return err
	}
	if before.Masked != "" { // before its file is looked at, which is a link then
		return Masked(before.Masked)
	}
	changes, err := s.compare(files, force)
	if err != nil {
		return err
	}
	units := make([]string, len(files))
	for i, f := range files {
		units[i] = f.Name
	}
	// A socket cannot be started beside its running service, nor be closed at an
	// address that is no longer in its file.
	reopen := before.Running && slices.ContainsFunc(changes, func(c fileChange) bool { return filepath.Base(c.path) == packaging.Socket && c.needed() })
	if reopen {
		if _, err := s.ctl(ctx, append([]string{"stop"}, before.Units...)...); err != nil {
			return s.failed(err)
		}
	}
	changed, err := s.write(ctx, changes, before)
	if err != nil {
		return err
	}
	if _, err := s.ctl(ctx, append([]string{"enable"}, units...)...); err != nil {
		return s.failed(err)
	}
	start := append([]string{"start"}, units...)
	switch {
	case before.Running && !changed:
		s.console.Say(textRuns, before.PID)
		return nil
	case before.Running && !reopen:
		return s.start(ctx, units, textRestarted, "restart", packaging.Service)
	case before.Running:
		return s.start(ctx, units, textRestarted, start...)
	case before.stopped:
		s.console.Say("installed; it does not run now: the next connection starts it, or `systemctl --user start stepup.service`")
		return nil
	}
	return s.start(ctx, units, textStarted, start...)
}

// restart makes the agent one of the program and the files as they are now. Its sockets stay
// open meanwhile, so that no program is refused.
func (s Systemd) restart(ctx context.Context) error {
	before, err := s.State(ctx)
	switch {
	case err != nil:
		return err
	case before.Masked != "":
		return Masked(before.Masked)
	case !slices.Contains(before.Units, packaging.Service):
		return errNotInstalled()
	}
	if before.Outdated {
		if _, err := s.ctl(ctx, "daemon-reload"); err != nil {
			return s.failed(err)
		}
	}
	done := textRestarted
	if !before.Running {
		done = textBegun
	}
	return s.start(ctx, []string{packaging.Service}, done, "restart", packaging.Service)
}

// compare includes a unit that is not needed any more.
func (s Systemd) compare(files []packaging.File, force bool) ([]fileChange, error) {
	var changes []fileChange
	for _, name := range []string{packaging.Service, packaging.Socket} {
		want := packaging.File{Name: name}
		if i := slices.IndexFunc(files, func(f packaging.File) bool { return f.Name == name }); i >= 0 {
			want = files[i]
		}
		c, err := compareFile(s.dir, want, force)
		if err != nil {
			return nil, err
		}
		if want.Text != "" || c.exists {
			changes = append(changes, c)
		}
	}
	return changes, nil
}

// write makes the changes and lets systemd read them.
func (s Systemd) write(ctx context.Context, changes []fileChange, before State) (changed bool, err error) {
	for _, c := range changes {
		if c.text == "" {
			_, _ = s.ctl(ctx, "disable", filepath.Base(c.path)) // its links would be left
		}
		if err := c.apply(s.console); err != nil {
			return false, err
		}
		changed = changed || c.needed()
	}
	if changed || before.Outdated {
		if _, err := s.ctl(ctx, "daemon-reload"); err != nil {
			return changed, s.failed(err)
		}
	}
	for _, path := range before.DropIns {
		s.console.Say("in force beside it: %s", cli.Printable(path))
	}
	return changed || before.Outdated, nil
}

// start runs the command that starts the units, and says what was done.
func (s Systemd) start(ctx context.Context, units []string, done string, command ...string) error {
	// It may have been started, or have failed, too often for one minute (StartLimitBurst).
	_, _ = s.ctl(ctx, append([]string{"reset-failed"}, units...)...)
	if _, err := s.ctl(ctx, command...); err != nil {
		return s.failed(err)
	}
	now, err := s.State(ctx)
	if err != nil {
		return err
	}
	if !now.Running {
		return s.failed(fmt.Errorf("the service has not come up: %s", now.Doing))
	}
	s.console.Say(done, now.PID)
	lingerNote(s.console)
	return nil
}

func (s Systemd) failed(err error) error {
	return &cli.Error{Err: fmt.Errorf(textFailed, err), Hint: "`journalctl --user -u stepup.service -u stepup.socket -n 30` says more, `stepup doctor` may know why"}
}

// Uninstall implements Supervisor.
func (s Systemd) Uninstall(ctx context.Context, force bool) error {
	changes, err := s.compare(nil, force)
	if err != nil {
		return err
	}
	before, err := s.State(ctx)
	if err != nil {
		return s.removeAlone(changes, err)
	}
	if len(before.Units) == 0 && len(changes) == 0 {
		s.console.Say(NotInstalled)
		return nil
	}
	if len(before.Units) > 0 {
		if _, err := s.ctl(ctx, append([]string{"disable", "--now"}, before.Units...)...); err != nil {
			return s.failed(err)
		}
	}
	if _, err := s.write(ctx, changes, before); err != nil {
		return err
	}
	if len(before.Units) > 0 {
		_, _ = s.ctl(ctx, append([]string{"reset-failed"}, before.Units...)...) // fails where nothing had failed
	}
	s.console.Say(textGone)
	for _, f := range before.Files {
		if f.Origin == originSystem {
			s.console.Say("%s belongs to a package and stays", cli.Printable(f.Path))
		}
	}
	return nil
}

// removeAlone removes the files where no systemd is there to be told.
func (s Systemd) removeAlone(changes []fileChange, why error) error {
	if len(changes) == 0 {
		return why
	}
	for _, c := range changes {
		if err := c.apply(s.console); err != nil {
			return err
		}
		for _, target := range []string{"default.target.wants", "sockets.target.wants"} {
			_ = os.Remove(filepath.Join(s.dir, target, filepath.Base(c.path))) // the link that enable has made
		}
	}
	s.console.Notify("note: nothing could be stopped: %v", why)
	return nil
}

const hintLogin = "log in as this user (at the screen or by ssh; su and sudo are no login), or run `stepup agent` in a terminal"

var (
	errNoSystemd = errors.New("this system is not run by systemd, so there is nothing that could start the agent for you")
	errWSL       = errors.New("systemd is not switched on in this WSL distribution")
)
