package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/config"
)

// Exit codes of a shell for a command that could not be run.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignal        = 128 // and the number of the signal that ended the command
)

// The values of --listen.
const (
	listenShared      = "shared"
	listenPrivate     = "private"
	listenPrivateUnix = "private-unix"
)

// execOptions are the flags of exec.
type execOptions struct {
	rule   string // step up under this rule first
	listen string // one of the values above
	vault  string // "" is the only one
}

func (a *app) execCommand() *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use: "exec [flags] [--] [COMMAND [ARGUMENT...]]", Short: textExec, Long: textExecLong,
		Args: cobra.ArbitraryArgs, DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runExec(cmd.Context(), o, args) },
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // what follows COMMAND is the command's
	flags.StringVar(&o.rule, "rule", "", textExecRule)
	flags.StringVar(&o.listen, "listen", listenShared, textExecListen)
	flags.StringVar(&o.vault, "vault", "", textExecVault)
	completeFlag(cmd, "rule", a.completeRule)
	completeFlag(cmd, "listen", completeWords(listenShared, listenPrivate, listenPrivateUnix))
	completeFlag(cmd, "vault", a.completeVault)
	return cmd
}

func (o execOptions) check() error {
	if !slices.Contains([]string{listenShared, listenPrivate, listenPrivateUnix}, o.listen) {
		return usage(errBadListen, seeHelp("stepup exec"))
	}
	return nil
}

// runExec runs a command whose Vault is the agent. It returns when the command
// has ended, and never before.
func (a *app) runExec(ctx context.Context, o execOptions, args []string) error {
	if err := o.check(); err != nil {
		return err
	}
	cmd, err := a.program(args)
	if err != nil {
		return err
	}
	signals, starting := newCourier(ctx)
	defer signals.stop()
	err = a.prepareExec(starting, &execution{app: a, execOptions: o, life: ctx, cmd: cmd, signals: signals})
	if sig, ok := errors.AsType[interrupted](context.Cause(starting)); ok && err != nil {
		return &hinted{error: errReported, code: sig.code()} // before the command was there
	}
	return err
}

// An execution is one command on its way. What it opens is closed by finish,
// the newest first.
type execution struct {
	*app
	execOptions
	life    context.Context // ends with the whole, not by a signal
	cmd     *exec.Cmd
	signals *courier

	client     *control.Client // of the agent that serves the command
	runtimeDir string          // of that agent
	own        bool            // the agent is in this process
	address    string          // for VAULT_ADDR
	vaultName  string
	asker      int // process that asks on this terminal; 0 when none does
	closers    []func()
}

func (x *execution) later(closer func()) { x.closers = append(x.closers, closer) }

func (x *execution) finish() {
	for i := len(x.closers) - 1; i >= 0; i-- {
		x.closers[i]()
	}
}

func (a *app) prepareExec(starting context.Context, x *execution) error {
	defer x.finish()
	if err := x.findAgent(starting); err != nil {
		return err
	}
	if err := x.listenPrivate(starting); err != nil {
		return err
	}
	x.attach(starting)
	if x.rule != "" {
		if err := x.stepUp(starting); err != nil {
			return err
		}
	}
	if err := starting.Err(); err != nil {
		return err
	}
	return x.run()
}

// program finds the command, before anything is started for it.
func (a *app) program(args []string) (*exec.Cmd, error) {
	if len(args) == 0 {
		args = []string{a.shell()}
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return nil, cannotRun(args[0], err)
	}
	cmd := exec.Command(path, args[1:]...) //nolint:gosec // running it is what we are for
	cmd.Args[0] = args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.out, a.err
	return cmd, nil
}

func (a *app) shell() string {
	if runtime.GOOS == "windows" {
		return cmp.Or(a.env("ComSpec"), "cmd.exe")
	}
	return cmp.Or(a.env("SHELL"), "/bin/sh")
}

// cannotRun gives the codes of a shell.
func cannotRun(name string, err error) error {
	code := exitNotExecutable
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = exitNotFound
	}
	if inner, ok := errors.AsType[*exec.Error](err); ok {
		err = inner.Err
	}
	if inner, ok := errors.AsType[*os.PathError](err); ok {
		err = inner.Err
	}
	return &hinted{error: fmt.Errorf(textCannotRun, printable(name), err), code: code}
}

// findAgent takes the agent that is running, or starts one in this process.
func (x *execution) findAgent(ctx context.Context) error {
	x.client, x.runtimeDir = x.app.client(), x.app.runtimeDir()
	listeners, err := x.client.Listeners(ctx)
	if errors.Is(err, control.ErrNoAgent) {
		return x.startAgent(ctx)
	}
	if err != nil {
		return err
	}
	return x.choose(listeners)
}

// choose takes the listener that the most clients can use: one that speaks TCP
// and asks for no header before one that asks, and a unix socket last.
func (x *execution) choose(all []control.Listener) error {
	var names []string
	for _, l := range all {
		if l.PID == 0 {
			names = append(names, l.Vault)
		}
	}
	name, err := chooseVault(x.vault, names)
	if err != nil {
		return err
	}
	x.vaultName = name
	best := -1
	for _, l := range all {
		rank := listenerRank(l)
		if l.PID != 0 || l.Vault != name || rank <= best {
			continue
		}
		best = rank
		x.address = clientAddress(l.Network, l.Address)
	}
	return nil
}

// clientAddress is a listener as VAULT_ADDR has it.
func clientAddress(network, address string) string {
	if network == config.Unix {
		return "unix://" + address
	}
	return "http://" + address
}

func listenerRank(l control.Listener) int {
	switch {
	case l.Network == config.Unix:
		return 0
	case l.RequireHeader:
		return 1
	}
	return 2
}

// chooseVault finds the vault that is meant; names may repeat.
func chooseVault(want string, names []string) (string, error) {
	known := make(map[string]bool)
	for _, name := range names {
		known[name] = true
	}
	switch {
	case want != "" && known[want]:
		return want, nil
	case want != "":
		return "", usage(fmt.Errorf(textNoVault, printable(want)), vaultHint(names))
	case len(known) > 1:
		return "", usage(errWhichVault, vaultHint(names))
	case len(names) == 0:
		return "", errNoListener
	}
	return names[0], nil
}

// listenPrivate asks for a listener that serves nobody else, where that is wanted.
func (x *execution) listenPrivate(ctx context.Context) error {
	if x.listen == listenShared {
		return nil
	}
	adoptOrphans()
	if err := ctx.Err(); err != nil {
		return err
	}
	held, release := context.WithCancel(x.life)
	wanted := control.Wanted{Vault: x.vaultName, Network: config.TCP}
	if x.listen == listenPrivateUnix {
		wanted.Network = config.Unix
	}
	lease, err := x.client.Lease(held, wanted)
	if err != nil {
		release()
		return err
	}
	x.later(func() {
		defer release()
		// When we have ended, it has: the connection alone would be a moment later.
		ctx, cancel := context.WithTimeout(x.life, answerTimeout)
		defer cancel()
		_ = x.client.Release(ctx, lease.ID) // the agent has ended before us
	})
	x.address = clientAddress(lease.Network, lease.Address)
	return nil
}
