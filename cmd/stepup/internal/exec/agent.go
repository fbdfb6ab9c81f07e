package exec

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/listener"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/answering"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/setup"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// startAgent runs an agent in this process that ends with the command. It has
// the configuration of the one that is not running, but for the listeners: those
// addresses are left for it.
func (x *execution) startAgent(ctx context.Context) error {
	c, err := x.Load()
	if err != nil {
		return err
	}
	var names []string
	for _, v := range c.Vaults {
		names = append(names, v.Name)
	}
	if x.vaultName, err = chooseVault(x.vault, names); err != nil {
		return err
	}
	dir, err := listener.PrivateDir(x.RuntimeDir())
	if err != nil {
		return err
	}
	x.deferClose(func() { _ = os.RemoveAll(dir) })
	// On the terminal of a command only what needs the person.
	c.Log.Level = max(c.Log.Level, slog.LevelWarn)
	log := setup.NewLogOutput(c.Log, x.Err).Logger()
	running, err := setup.Start(ctx, x.privateSettings(*c, log), agent.Options{
		RuntimeDir: dir, Version: cli.Version(), Log: log, Keyring: cli.Keyring(),
	})
	if err != nil {
		return err
	}
	x.deferClose(func() { _ = running.Stop() })
	x.own, x.runtimeDir = true, dir
	x.client = control.NewClient(filepath.Join(dir, agent.ControlSocket))
	listeners, err := x.client.Listeners(ctx)
	if err != nil {
		return err
	}
	return x.choose(listeners)
}

// privateSettings are those of an agent for one command.
func (x *execution) privateSettings(c agent.Config, log *slog.Logger) agent.Config {
	c.Listeners = []agent.Listener{{Network: "tcp", Address: "127.0.0.1:0", Vault: x.vaultName}}
	c.Telemetry = agent.Telemetry{} // that address is for the one that is not running, too
	// The session that attaches asks on the terminal, as with any agent: two
	// readers of one terminal would take each other's lines.
	c.Prompt.Use = slices.DeleteFunc(slices.Clone(c.Prompt.Use), func(use string) bool { return use == agent.UseTerminal })
	if !slices.Contains(c.Prompt.Use, agent.UseAttached) && terminal.Announce("") == nil {
		c.Prompt.Use = append(c.Prompt.Use, agent.UseAttached)
	}
	c.Prompt.Prompters = setup.Prompters(c.Prompt, setup.NewAskpass(x.Env), log)
	return c
}

// attachedEnv tells a stepup exec inside the command that its terminal is already
// asked, by which process and for which agent.
const attachedEnv = "STEPUP_ATTACHED"

// attach answers prompts on this terminal until the command has ended. Without a
// terminal it does nothing; the agent's other prompters remain.
func (x *execution) attach(ctx context.Context) {
	if terminal.Announce("") != nil {
		return
	}
	if x.asker = x.outerAsker(); x.asker != 0 {
		return
	}
	life, detach := context.WithCancel(x.life)
	events, err := x.client.Events(life, true)
	if err != nil {
		detach()
		announce("stepup: nothing is asked on this terminal: %v", err)
		return
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	watching := sync.OnceFunc(func() { close(ready) })
	attachment := answering.Attachment{
		Console: x.Console, Client: x.client, Notify: announce, Again: x.attachedAgain,
		Session: func() *answering.Session {
			return &answering.Session{
				Terminal: terminal.New(terminal.Config{Getenv: x.Env, Open: x.openTerminal}),
				Agent:    x.client, Notify: announce, Now: time.Now, Quiet: true,
				Leave:    func() { announce("stepup: nothing more is asked here; `stepup attach` asks here again"); detach() },
				Watching: watching,
				Unseen:   func(r prompt.Request) { announce("\n%s\n  To answer: stepup answer %s", prompt.Brief(r), r.ID) },
			}
		},
	}
	go func() {
		defer close(ended)
		// The command goes on without us: it will say itself what it misses.
		if _ = attachment.Stay(life, events); life.Err() == nil {
			announce("stepup: nothing more is asked here; `stepup attach` asks here again")
		}
	}()
	x.deferClose(func() {
		detach()
		<-ended
	})
	x.asker = os.Getpid()
	// The command's first request must find us there.
	select {
	case <-ready:
	case <-ended:
	case <-ctx.Done():
	}
}

// attachedAgain says that another agent asks now, and whether the command still reaches it.
func (x *execution) attachedAgain(ctx context.Context, pid int) error {
	listeners, err := x.client.Listeners(ctx)
	if err != nil {
		return err
	}
	announce("stepup: the agent is there again (process %d), and asks here", pid)
	if !slices.ContainsFunc(listeners, func(l control.Listener) bool { return clientAddress(l.Network, l.Address) == x.address }) {
		announce("stepup: it does not listen at %s any more, where this command looks for it: start the command again", x.address)
	}
	return nil
}

// tellLeftBehind tells of the programs of the command that go on without it, and without us: a
// tmux that the command has started gives our VAULT_ADDR to all its windows, for days.
func (x *execution) tellLeftBehind() {
	if x.asker != os.Getpid() {
		return
	}
	for _, p := range peer.StartedWith(attachedEnv + "=" + attachedValue(x.asker, x.runtimeDir)) {
		name := cli.Printable(p.Name)
		switch {
		case !multiplexer(p.Name):
		case x.own:
			announce("stepup: %s (pid %d) goes on, and its VAULT_ADDR leads nowhere, as the agent of this command ends: start `stepup agent`, and then it anew", name, p.PID)
		default:
			announce("stepup: %s (pid %d) goes on, and nothing is asked on this terminal any more: run `stepup attach` in one of its windows", name, p.PID)
		}
	}
}

// multiplexer reports whether a program is the server of one: it gives its environment to
// shells that a person works in. Others that stay (an agent for keys, a browser) do not.
func multiplexer(name string) bool {
	return slices.ContainsFunc([]string{"tmux", "screen", "SCREEN", "zellij"}, func(known string) bool {
		return name == known || strings.HasPrefix(name, known+":")
	})
}

// outerAsker is the stepup exec around this one that asks on the same terminal
// for the same agent, 0 when there is none: two of them would take each
// other's lines.
func (x *execution) outerAsker() int {
	pid, dir, ok := parseAttached(x.Env(attachedEnv))
	if ok && dir == x.runtimeDir && peer.Descends(os.Getpid(), pid) && terminal.SameTerminal(pid) {
		return pid
	}
	return 0
}

// openTerminal opens the terminal, also while a job of a shell that is the
// command has the foreground. While the shell itself has it, what is typed is
// for the shell.
func (x *execution) openTerminal() (terminal.TTY, error) {
	child := x.signals.child()
	tty, err := terminal.Borrow(func(pgrp int) bool {
		return child != 0 && pgrp != child && peer.Descends(pgrp, child)
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", answering.ErrNotShown, err)
	}
	return tty, nil
}

// announce writes a line to the terminal itself: standard output and standard
// error are the command's.
func announce(format string, args ...any) {
	_ = terminal.Announce(fmt.Sprintf(format, args...) + "\n") // fails without a terminal: there is no reader then
}
