package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/packaging"
)

// serviceLimit bounds one call of a service manager. systemd itself gives a
// service 90 s to start.
const serviceLimit = 2 * time.Minute

// A supervisor starts the agent with the person's session. Its errors carry
// hints; what it did is said on the console of the command.
type supervisor interface {
	// install writes the files and starts the agent. force replaces files that a
	// person has changed.
	install(ctx context.Context, p servicePlan, force bool) error
	// uninstall undoes install and succeeds when there is nothing to undo.
	uninstall(ctx context.Context, force bool) error
	// state looks; it changes nothing.
	state(ctx context.Context) (serviceState, error)
}

// A servicePlan is what the service of this person is to be.
type servicePlan struct {
	agent packaging.Agent
	notes []string // what the person should know before they rely on it
}

func (a *app) serviceCommand() *cobra.Command {
	install := &cobra.Command{Use: "install", Short: "install and start the service", Long: textServiceInstallLong, Args: cli.Takes(0)}
	force := install.Flags().Bool("force", false, textServiceForce)
	install.RunE = func(cmd *cobra.Command, _ []string) error { return a.installService(cmd.Context(), *force) }

	uninstall := &cobra.Command{Use: "uninstall", Short: "stop and remove the service", Long: textServiceUninstallLong, Args: cli.Takes(0)}
	forceOut := uninstall.Flags().Bool("force", false, textServiceForce)
	uninstall.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := a.notBySudo(); err != nil {
			return err
		}
		return a.supervisor().uninstall(cmd.Context(), *forceOut)
	}

	return cli.Group(&cobra.Command{Use: "service", Short: "the agent as a service of your session", Long: textServiceLong},
		install, uninstall,
		&cobra.Command{
			Use: "status", Short: "say whether the service runs", Long: textServiceStatusLong, Args: cli.Takes(0),
			RunE: func(cmd *cobra.Command, _ []string) error { return a.serviceStatus(cmd.Context()) },
		},
		a.servicePrintCommand(),
	)
}

func (a *app) supervisor() supervisor {
	switch runtime.GOOS {
	case "darwin":
		return a.launchd(a.command)
	case "windows":
		return taskScheduler{}
	}
	return a.systemd(a.command)
}

func (a *app) installService(ctx context.Context, force bool) error {
	if err := a.notBySudo(); err != nil {
		return err
	}
	s := a.supervisor()
	p, err := a.servicePlan(ctx, s)
	if err != nil {
		return err
	}
	if err := a.noOtherAgent(ctx, s); err != nil {
		return err
	}
	if err := s.install(ctx, p, force); err != nil {
		return err
	}
	for _, note := range p.notes {
		a.Notify("note: %s", note)
	}
	return nil
}

// notBySudo: with sudo it would be the service of root, which answers nobody but
// root, and asks on no screen.
func (a *app) notBySudo() error {
	if os.Geteuid() == 0 && a.Env("SUDO_UID") != "" && a.Env("SUDO_UID") != "0" {
		return cli.Usage(errors.New("with sudo this would be root's service, which serves and asks nobody but root"), "run it without sudo")
	}
	return nil
}

// noOtherAgent refuses to install beside an agent that was started by hand: the
// service could neither take its runtime folder nor its addresses.
func (a *app) noOtherAgent(ctx context.Context, s supervisor) error {
	state, err := s.state(ctx)
	if err != nil {
		return err
	}
	if state.running {
		return nil
	}
	st, err := a.Client().Status(ctx)
	if err != nil {
		return nil // there is none, or it is none that answers: starting will say more
	}
	return &cli.Error{Err: fmt.Errorf("an agent that is not the service runs already (pid %d)", st.PID), Hint: "stop it (ctrl-c in its terminal), then install again"}
}

func (a *app) serviceStatus(ctx context.Context) error {
	state, err := a.supervisor().state(ctx)
	if err != nil {
		return err
	}
	running, err := a.Client().Status(ctx)
	if err != nil && !errors.Is(err, control.ErrNoAgent) {
		a.Notify("note: %v", err)
	}
	fmt.Fprint(a.Out, serviceText(state, running, err == nil))
	switch {
	case state.running:
		return nil
	case err == nil:
		return &cli.Error{Err: cli.ErrReported, Code: cli.ExitFailed} // an agent runs, but not as the service
	}
	return &cli.Error{Err: cli.ErrReported, Code: cli.ExitNoAgent}
}

// command runs a program of the system and returns its standard output. The
// error of one that failed is what it said.
func (a *app) command(ctx context.Context, name string, args ...string) (string, error) {
	limited, cancel := context.WithTimeout(ctx, serviceLimit)
	defer cancel()
	cmd := exec.CommandContext(limited, name, args...)
	cmd.WaitDelay = time.Second
	var out, complaint limitedText
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	switch said := strings.TrimSpace(complaint.String()); {
	case err == nil, errors.Is(err, exec.ErrNotFound):
		return out.String(), err
	case limited.Err() != nil && ctx.Err() == nil:
		return out.String(), fmt.Errorf("%s has not answered within %s", name, serviceLimit)
	case said != "":
		return out.String(), fmt.Errorf("%s: %s", name, cli.Printable(said))
	}
	return out.String(), fmt.Errorf("%s: %w", name, err)
}

// limitedText keeps the beginning of what a program prints.
type limitedText struct{ strings.Builder }

// Write implements io.Writer.
func (l *limitedText) Write(p []byte) (int, error) {
	const limit = 1 << 20
	l.Builder.Write(p[:min(len(p), max(0, limit-l.Len()))])
	return len(p), nil
}

// A commander runs programs of the system as [app.command] does.
type commander func(ctx context.Context, name string, args ...string) (string, error)

// Its texts.
const (
	textServiceForce = "also replace or remove a file that was edited by hand (it is kept as *.saved)"

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
)
