package main

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
	"github.com/vault-stepup/stepup/config"
	"github.com/vault-stepup/stepup/packaging"
)

// systemd is the user's own instance of systemd.
type systemd struct {
	app *app
	run commander
	dir string // of the user's own units
	// booted reports whether this system is run by systemd (sd_booted(3)).
	booted func() bool
}

func (a *app) systemd(run commander) systemd {
	return systemd{
		app: a, run: run, dir: filepath.Join(config.UserConfigDir(a.Env), "systemd", "user"),
		booted: func() bool { _, err := os.Stat("/run/systemd/system"); return err == nil },
	}
}

func (s systemd) ctl(ctx context.Context, args ...string) (string, error) {
	return s.run(ctx, "systemctl", append([]string{"--user"}, args...)...)
}

// environment is what the user's systemd gives to its services.
func (s systemd) environment(ctx context.Context) (func(string) string, error) {
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
func (s systemd) unreachable(err error) error {
	env := s.app.Env
	missing := errors.Is(err, exec.ErrNotFound) || !s.booted()
	switch {
	case env("WSL_DISTRO_NAME") != "" && missing:
		return &cli.Error{Err: errServiceWSL, Hint: "add the lines [boot] and systemd=true to /etc/wsl.conf and run `wsl --shutdown` in Windows, or run `stepup agent` in a terminal"}
	case missing:
		return &cli.Error{Err: errServiceNoSystemd, Hint: "let your session start `stepup agent`, or run it in a terminal (tmux); `stepup service print` shows what a service would be"}
	case env("XDG_RUNTIME_DIR") == "":
		own := fmt.Sprintf("/run/user/%d", os.Getuid())
		if info, err := os.Stat(own); err == nil && info.IsDir() {
			return &cli.Error{Err: errServiceNoSession, Hint: fmt.Sprintf("`export XDG_RUNTIME_DIR=%s` and try again (su and sudo take it away)", own)}
		}
		return &cli.Error{Err: errServiceNoSession, Hint: hintServiceLogin}
	}
	return &cli.Error{Err: fmt.Errorf("your systemd cannot be reached: %w", err), Hint: hintServiceLogin}
}

func (s systemd) install(ctx context.Context, p servicePlan, force bool) error {
	files, err := packaging.Systemd(p.agent)
	if err != nil {
		return cli.Usage(err, hintServiceUnfit)
	}
	changes, err := s.compare(files)
	if err != nil {
		return err
	}
	before, err := s.state(ctx)
	if err != nil {
		return err
	}
	if before.masked != "" {
		return &cli.Error{Err: fmt.Errorf(textServiceMasked, before.masked), Hint: fmt.Sprintf(hintServiceMasked, before.masked)}
	}
	if err := refuseEdited(changes, force); err != nil {
		return err
	}
	units := make([]string, len(files))
	for i, f := range files {
		units[i] = f.Name
	}
	// A socket cannot be started beside its running service, nor be closed at an
	// address that is no longer in its file.
	reopened := slices.ContainsFunc(changes, func(c fileChange) bool { return filepath.Base(c.path) == packaging.Socket && c.needed() })
	if reopened && before.running {
		if _, err := s.ctl(ctx, append([]string{"stop"}, before.units...)...); err != nil {
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
	return s.start(ctx, before, units, startReason{changed: changed, reopened: reopened})
}

// compare includes a unit that is not needed any more.
func (s systemd) compare(files []packaging.File) ([]fileChange, error) {
	var changes []fileChange
	for _, name := range []string{packaging.Service, packaging.Socket} {
		want := packaging.File{Name: name}
		if i := slices.IndexFunc(files, func(f packaging.File) bool { return f.Name == name }); i >= 0 {
			want = files[i]
		}
		c, err := compareFile(s.dir, want)
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
func (s systemd) write(ctx context.Context, changes []fileChange, before serviceState) (changed bool, err error) {
	for _, c := range changes {
		if c.needed() {
			if c.text == "" {
				_, _ = s.ctl(ctx, "disable", filepath.Base(c.path)) // its links would be left
			}
			if err := c.apply(); err != nil {
				return false, err
			}
			changed = true
		}
		s.app.tellChange(c)
	}
	if changed || before.outdated {
		if _, err := s.ctl(ctx, "daemon-reload"); err != nil {
			return changed, s.failed(err)
		}
	}
	for _, path := range before.dropIns {
		s.app.Say("in force beside it: %s", cli.Printable(path))
	}
	return changed || before.outdated, nil
}

// A startReason is why a service that runs may have to be started again.
type startReason struct {
	changed  bool // a file is another
	reopened bool // the sockets were closed for it
}

func (s systemd) start(ctx context.Context, before serviceState, units []string, why startReason) error {
	verb, done := append([]string{"start"}, units...), textServiceStarted
	switch {
	case before.running && !why.changed:
		s.app.Say(textServiceRuns, before.pid)
		return nil
	case before.running:
		done = textServiceRestarted
		if !why.reopened {
			verb = []string{"restart", packaging.Service}
		}
	case before.stopped:
		s.app.Say("installed; it does not run now: the next connection starts it, or `systemctl --user start stepup.service`")
		return nil
	}
	// It may have been started, or have failed, too often for one minute (StartLimitBurst).
	_, _ = s.ctl(ctx, append([]string{"reset-failed"}, units...)...)
	if _, err := s.ctl(ctx, verb...); err != nil {
		return s.failed(err)
	}
	now, err := s.state(ctx)
	if err != nil {
		return err
	}
	if !now.running {
		return s.failed(fmt.Errorf("the service has not come up: %s", now.doing))
	}
	s.app.Say(done, now.pid)
	s.app.lingerNote()
	return nil
}

func (s systemd) failed(err error) error {
	return &cli.Error{Err: fmt.Errorf(textServiceFailed, err), Hint: "`journalctl --user -u stepup.service -u stepup.socket -n 30` says more, `stepup doctor` may know why"}
}

func (s systemd) uninstall(ctx context.Context, force bool) error {
	changes, err := s.compare(nil)
	if err != nil {
		return err
	}
	if err := refuseEdited(changes, force); err != nil {
		return err
	}
	before, err := s.state(ctx)
	if err != nil {
		return s.removeAlone(changes, err)
	}
	if len(before.units) == 0 && len(changes) == 0 {
		s.app.Say(textServiceNone)
		return nil
	}
	if len(before.units) > 0 {
		if _, err := s.ctl(ctx, append([]string{"disable", "--now"}, before.units...)...); err != nil {
			return s.failed(err)
		}
	}
	if _, err := s.write(ctx, changes, before); err != nil {
		return err
	}
	if len(before.units) > 0 {
		_, _ = s.ctl(ctx, append([]string{"reset-failed"}, before.units...)...) // fails where nothing had failed
	}
	s.app.Say(textServiceGone)
	for _, f := range before.files {
		if f.origin == originSystem {
			s.app.Say("%s belongs to a package and stays", cli.Printable(f.path))
		}
	}
	return nil
}

// removeAlone removes the files where no systemd is there to be told.
func (s systemd) removeAlone(changes []fileChange, why error) error {
	if len(changes) == 0 {
		return why
	}
	for _, c := range changes {
		if err := c.apply(); err != nil {
			return err
		}
		for _, target := range []string{"default.target.wants", "sockets.target.wants"} {
			_ = os.Remove(filepath.Join(s.dir, target, filepath.Base(c.path))) // the link that enable has made
		}
		s.app.tellChange(c)
	}
	s.app.Notify("note: %s", fmt.Sprintf("nothing could be stopped: %v", why))
	return nil
}

// Its texts.
const (
	hintServiceLogin = "log in as this user (at the screen or by ssh; su and sudo are no login), or run `stepup agent` in a terminal"
)

var (
	errServiceNoSystemd = errors.New("this system is not run by systemd, so there is nothing that could start the agent for you")
	errServiceWSL       = errors.New("systemd is not switched on in this WSL distribution")
)
