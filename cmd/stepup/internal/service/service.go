// Package service is stepup service: the agent as a service of the user's session.
package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/supervisor"
)

// The actions of stepup service.
type actions struct{ *cli.Console }

// Command is stepup service.
func Command(c *cli.Console) *cobra.Command {
	a := &actions{c}
	install := &cobra.Command{Use: "install", Short: "install and start the service", Long: textServiceInstallLong, Args: cli.Takes(0)}
	force := install.Flags().Bool("force", false, textServiceForce)
	install.RunE = func(cmd *cobra.Command, _ []string) error { return a.installService(cmd.Context(), *force) }

	uninstall := &cobra.Command{Use: "uninstall", Short: "stop and remove the service", Long: textServiceUninstallLong, Args: cli.Takes(0)}
	forceOut := uninstall.Flags().Bool("force", false, textServiceForce)
	uninstall.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := a.notBySudo(); err != nil {
			return err
		}
		return supervisor.New(a.Console).Uninstall(cmd.Context(), *forceOut)
	}

	return cli.Group(&cobra.Command{Use: "service", Short: "the agent as a service of your session", Long: textServiceLong},
		install, uninstall,
		&cobra.Command{
			Use: "restart", Short: "restart the agent, for a new version of the program", Long: textServiceRestartLong, Args: cli.Takes(0),
			RunE: func(cmd *cobra.Command, _ []string) error { return a.restartService(cmd.Context()) },
		},
		&cobra.Command{
			Use: "status", Short: "say whether the service runs", Long: textServiceStatusLong, Args: cli.Takes(0),
			RunE: func(cmd *cobra.Command, _ []string) error { return a.serviceStatus(cmd.Context()) },
		},
		a.servicePrintCommand(),
	)
}

func (a *actions) installService(ctx context.Context, force bool) error {
	if err := a.notBySudo(); err != nil {
		return err
	}
	s := supervisor.New(a.Console)
	p, err := a.plan(ctx, s)
	if err != nil {
		return err
	}
	if err := a.noOtherAgent(ctx, s); err != nil {
		return err
	}
	if err := s.Install(ctx, p.agent, force); err != nil {
		return err
	}
	for _, note := range p.notes {
		a.Notify("note: %s", note)
	}
	return nil
}

// notBySudo refuses sudo: it would be the service of root, which serves only root, and
// asks on no screen.
func (a *actions) notBySudo() error {
	if os.Geteuid() == 0 && a.Env("SUDO_UID") != "" && a.Env("SUDO_UID") != "0" {
		return cli.Usage(errors.New("with sudo this would be root's service, which serves and asks nobody but root"), "run it without sudo")
	}
	return nil
}

// noOtherAgent refuses to install beside an agent that was started by hand: the
// service could neither take its runtime folder nor its addresses.
func (a *actions) noOtherAgent(ctx context.Context, s supervisor.Supervisor) error {
	state, err := s.State(ctx)
	if err != nil {
		return err
	}
	if state.Running || state.Starts(a.ControlSocket()) {
		return nil
	}
	st, err := a.Client().Status(ctx)
	if err != nil {
		return nil // there is none, or it is none that answers: starting will say more
	}
	return &cli.Error{Err: fmt.Errorf("an agent that is not the service runs already (pid %d)", st.PID), Hint: "stop it (ctrl-c in its terminal), then try again"}
}

// restartService restarts the agent and tells what became of its tokens.
func (a *actions) restartService(ctx context.Context) error {
	if err := a.notBySudo(); err != nil {
		return err
	}
	s := supervisor.New(a.Console)
	if err := a.noOtherAgent(ctx, s); err != nil {
		return err
	}
	var before control.Status
	if state, err := s.State(ctx); err == nil && state.Running {
		before, _ = a.Client().Status(ctx) // an agent that does not answer is restarted as well
	}
	if err := supervisor.Restart(ctx, a.Console); err != nil {
		return err
	}
	if len(before.Tokens) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, cli.CallTimeout)
	defer cancel()
	after, err := a.Client().Status(ctx)
	switch {
	case err != nil:
		return err
	case len(after.Tokens) > 0:
		a.Say("kept %s in the keyring", cli.Counted(len(after.Tokens), "step-up token"))
	default:
		a.Notify("note: the step-up tokens have ended: they were in memory only, or their rules have revoke_on_stop")
	}
	return nil
}

func (a *actions) serviceStatus(ctx context.Context) error {
	state, err := supervisor.New(a.Console).State(ctx)
	if err != nil {
		return err
	}
	var running control.Status
	err = control.ErrNoAgent
	if !state.Starts(a.ControlSocket()) { // a look starts nothing
		running, err = a.Client().Status(ctx)
	}
	if err != nil && !errors.Is(err, control.ErrNoAgent) {
		a.Notify("note: %v", err)
	}
	fmt.Fprint(a.Out, serviceText(state, running, err == nil))
	switch {
	case state.Running:
		return nil
	case err == nil:
		return &cli.Error{Err: cli.ErrReported, Code: cli.ExitFailed} // an agent runs, but not as the service
	}
	return &cli.Error{Err: cli.ErrReported, Code: cli.ExitNoAgent}
}

// The help, and texts of several places.
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

	textServiceRestartLong = `Restarts the agent, after an upgrade of the program ("stepup status" tells when
that is needed). Step-up tokens stay where they are kept in the keyring. On
Linux the addresses of the listeners stay open meanwhile, and programs wait;
"stepup attach" and shells of "stepup exec" are asked again by the new agent. A
request that is under way is answered within three seconds or cut off.`

	textServiceUninstallLong = `Stops the service and removes what "install" wrote. The configuration, the audit
log and what is in the keyring stay. Drop-ins stay, too.`

	textServiceStatusLong = `Says what the service manager knows of the service. Exits with 0 when the
service runs, with 4 when no agent runs at all, and with 1 when one runs that is
not the service.`
)

// serviceText is what stepup service status prints. The agent is the one of this
// runtime folder, if there is one.
func serviceText(st supervisor.State, agent control.Status, there bool) string {
	var s cli.Sheet
	state := cli.Printable(st.Doing)
	switch {
	case len(st.Files) == 0 && len(st.Units) == 0 && !st.Unknown:
		state = supervisor.NotInstalled
	case st.Running:
		state = fmt.Sprintf("runs, pid %d", st.PID)
	case len(st.Listening) > 0:
		state += ", the next connection starts it"
	}
	if st.Enabled {
		state += ", starts when you log in"
	}
	s.Row("service", state)
	if st.Said != "" && st.Running {
		s.Row("", "says: "+cli.Printable(st.Said))
	}
	if st.Masked != "" {
		s.Row("masked", cli.Printable(st.Masked))
	}
	if _, err := os.Stat(st.Program); err == nil {
		s.Row("program", cli.Printable(st.Program))
	} else if st.Program != "" {
		s.Row("program", cli.Printable(st.Program)+" is not there any more: `stepup service install` again")
	}
	var files []string
	for _, f := range st.Files {
		files = append(files, cli.Printable(f.Path)+"\t"+string(f.Origin))
	}
	for _, path := range st.DropIns {
		files = append(files, cli.Printable(path)+"\tdrop-in")
	}
	s.Row("files", files...)
	if st.Outdated {
		s.Row("", "changed on disk: `systemctl --user daemon-reload`")
	}
	if len(st.Listening) > 0 {
		s.Row("sockets", "held open by "+st.Manager+": "+cli.Printable(strings.Join(st.Listening, ", ")))
	}
	switch {
	case !there:
		s.Row("agent", "none answers: `stepup doctor` may know why")
	case st.Running && agent.PID != st.PID:
		s.Row("agent", fmt.Sprintf("pid %d in this runtime folder is not the service", agent.PID))
	case !st.Running:
		s.Row("agent", fmt.Sprintf("pid %d runs, but not as the service", agent.PID))
	default:
		s.Row("agent", "stepup "+cli.Printable(agent.Version))
	}
	return s.String()
}
