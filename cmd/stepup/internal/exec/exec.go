// Package exec is stepup exec: it runs a command whose Vault is the agent, and asks on
// the command's terminal.
package exec

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
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
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

// options are the flags of exec.
type options struct {
	rule   string // step up under this rule first
	listen string // one of the values above
	vault  string // "" is the only one
	token  bool   // give the command the kept token, in its environment
}

// Command is stepup exec.
func Command(c *cli.Console) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: "exec [flags] [--] [COMMAND [ARGUMENT...]]", Short: "run a command and answer its questions on this terminal", Long: textExecLong,
		Args: cobra.ArbitraryArgs, DisableFlagsInUseLine: true,
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // what follows COMMAND is the command's
	flags.StringVar(&o.rule, "rule", "", "step up under this rule before the command starts")
	flags.StringVar(&o.vault, "vault", "", "name of the vault block, where there are several")
	flags.BoolVar(&o.token, "token", false, "give the command your Vault token as VAULT_TOKEN")
	cli.CompleteFlag(cmd, "rule", c.CompleteRule)
	cli.CompleteFlag(cmd, "vault", c.CompleteVault)
	listen := cli.ChoiceFlag(cmd, "listen", "shared: the agent's listener; private: one for this command alone; private-unix: as private, on a unix socket",
		listenShared, listenPrivate, listenPrivateUnix)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.listen = *listen
		return runExec(cmd.Context(), c, o, args)
	}
	return cmd
}

// runExec runs a command whose Vault is the agent. It returns when the command
// has ended, and never before.
func runExec(ctx context.Context, c *cli.Console, o options, args []string) error {
	cmd, err := program(c, args)
	if err != nil {
		return err
	}
	signals, starting := newSignalForwarder(ctx)
	defer signals.stop()
	x := &execution{Console: c, options: o, life: ctx, cmd: cmd, signals: signals}
	err = x.execute(starting)
	if sig, ok := errors.AsType[interrupted](context.Cause(starting)); ok && err != nil {
		return &cli.Error{Err: cli.ErrReported, Code: sig.code()} // before the command was there
	}
	return err
}

// An execution is one command on its way. What it opens is closed by finish,
// the newest first.
type execution struct {
	*cli.Console
	options
	life    context.Context //nolint:containedctx // of the whole; a signal ends only the preparations
	cmd     *exec.Cmd
	signals *signalForwarder

	client     *control.Client // of the agent that serves the command
	runtimeDir string          // of that agent
	own        bool            // the agent is in this process
	address    string          // for VAULT_ADDR
	vaultName  string
	asker      int           // process that asks on this terminal; 0 when none does
	kept       secret.Secret // for VAULT_TOKEN; "" without --token
	closers    []func()
}

func (x *execution) deferClose(closer func()) { x.closers = append(x.closers, closer) }

func (x *execution) finish() {
	for i := len(x.closers) - 1; i >= 0; i-- {
		x.closers[i]()
	}
}

// execute does what comes before the command, and then runs it. Its context ends with a
// signal that comes before the command is there.
func (x *execution) execute(starting context.Context) error {
	defer x.finish()
	if err := x.findAgent(starting); err != nil {
		return err
	}
	if err := x.listenPrivate(starting); err != nil {
		return err
	}
	if x.token {
		if err := x.takeToken(starting); err != nil {
			return err
		}
	}
	x.attach(starting)
	if x.rule != "" {
		awaitReload(starting, x.Console, x.client.Status)
		got, err := x.obtain(starting)
		if err != nil {
			return err
		}
		if !got.OK() {
			return notSteppedUp(got, "not stepped up, the command was not started: ")
		}
	}
	x.warnPastAgent(starting)
	if err := starting.Err(); err != nil {
		return err
	}
	return x.run()
}

// program finds the command, before anything is started for it.
func program(c *cli.Console, args []string) (*exec.Cmd, error) {
	if len(args) == 0 {
		args = []string{shell(c.Env)}
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return nil, cannotRun(args[0], err)
	}
	cmd := exec.Command(path, args[1:]...) //nolint:gosec // running it is what we are for
	cmd.Args[0] = args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.In, c.Out, c.Err
	return cmd, nil
}

func shell(env func(string) string) string {
	if runtime.GOOS == "windows" {
		return cmp.Or(env("ComSpec"), "cmd.exe")
	}
	return cmp.Or(env("SHELL"), "/bin/sh")
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
	return &cli.Error{Err: fmt.Errorf("cannot run %s: %w", cli.Printable(name), err), Code: code}
}

// findAgent takes the agent that is running, or starts one in this process.
func (x *execution) findAgent(ctx context.Context) error {
	x.client, x.runtimeDir = x.Client(), x.RuntimeDir()
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
		rank := 2
		switch {
		case l.Network == "unix":
			rank = 0
		case l.RequireHeader:
			rank = 1
		}
		if l.PID == 0 && l.Vault == name && rank > best {
			best, x.address = rank, clientAddress(l.Network, l.Address)
		}
	}
	return nil
}

// clientAddress is a listener as VAULT_ADDR has it.
func clientAddress(network, address string) string {
	if network == "unix" {
		return "unix://" + address
	}
	return "http://" + address
}

// chooseVault finds the vault that is meant; names may repeat.
func chooseVault(want string, names []string) (string, error) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	hint := "name one with --vault: " + cli.Printable(strings.Join(names, ", "))
	switch {
	case slices.Contains(names, want):
		return want, nil
	case want != "":
		return "", cli.Usage(fmt.Errorf("no vault %s", cli.Printable(want)), hint)
	case len(names) > 1:
		return "", cli.Usage(errors.New("the agent has several vaults"), hint)
	case len(names) == 0:
		return "", errors.New("the agent has no listener for programs")
	}
	return names[0], nil
}

// listenPrivate asks for a listener that serves only the command, where that is wanted.
func (x *execution) listenPrivate(ctx context.Context) error {
	if x.listen == listenShared {
		return nil
	}
	adoptOrphans()
	if err := ctx.Err(); err != nil {
		return err
	}
	held, release := context.WithCancel(x.life)
	wanted := control.Wanted{Vault: x.vaultName, Network: "tcp"}
	if x.listen == listenPrivateUnix {
		wanted.Network = "unix"
	}
	lease, err := x.client.Lease(held, wanted)
	if err != nil {
		release()
		return err
	}
	x.deferClose(func() {
		defer release()
		// When we have ended, it has: the connection alone would be a moment later.
		ctx, cancel := context.WithTimeout(x.life, cli.CallTimeout)
		defer cancel()
		_ = x.client.Release(ctx, lease.ID) // the agent has ended before us
	})
	x.address = clientAddress(lease.Network, lease.Address)
	return nil
}

const textExecLong = `Runs COMMAND, or your shell, with VAULT_ADDR, VAULT_AGENT_ADDR, BAO_ADDR and
BAO_AGENT_ADDR at the agent and VAULT_CLIENT_TIMEOUT of at least 120 s, leaves
the agent out of HTTP proxies (NO_PROXY), and asks on this terminal when Vault
wants a second factor. What is asked goes to the terminal itself (/dev/tty),
never into the command's output:

  stepup exec -- terraform apply
  stepup exec -- vault kv get -format=json kv/prod/db | jq .

When no agent is running, exec is one itself until the command ends, with the
same configuration but a port of its own.

With --rule it steps up before the command starts, with the token that the
command will use (VAULT_TOKEN, the token helper or ~/.vault-token), so that
nothing interrupts it later. That needs a rule with a token or login grant.

With --token the command finds your token in VAULT_TOKEN: that of "stepup
token-helper", of another token helper, or of ~/.vault-token. That is for
programs that ask no token helper, such as sops, vals and Ansible. What the
command starts inherits it, and your other programs can read it
(/proc/PID/environ), so leave --token out for a program that finds the token by
itself, as vault and Terraform do.

With --listen private the command gets a listener of its own. It serves the
processes that the command starts, as the system's table of processes has it,
and nobody else, not even other programs of yours. A program that hides its
process (the kernel does that for a file with capabilities, such as vault's
cap_ipc_lock) cannot be told by a TCP connection and is refused there. With
--listen private-unix the listener is a unix socket, where the kernel tells
which process it is; the command must take VAULT_ADDR=unix:///path, as vault and
Vault's library for Go do.

The command reads the same keyboard: while a question is open, what you type may
go to either if the command reads as well. In a shell that exec has started you
are asked while a command of it runs; at the shell's own prompt you are told
what to type.

ctrl-c   says no to the question on the screen; a second one within a second
         ends the asking here, for the command it is then an ordinary ctrl-c
ctrl-d   leaves the question open for another place to answer

Exits with the code of COMMAND (128 and the number of the signal that ended it),
126 when it cannot be run, 127 when there is none, and 3 when --rule asked you
and you said no or did not answer: COMMAND is not started then.`

// takeToken finds the token that VAULT_TOKEN is set to. It comes into an environment only
// because the flag asks for that.
func (x *execution) takeToken(ctx context.Context) error {
	environ := x.environ(os.Environ())
	token, err := vaultcli.Token(ctx, x.Console, environ)
	if errors.Is(err, vaultcli.ErrNoToken) {
		// There may be a kept one that no CLI was told of. A keyring that fails has said so.
		if token, err = vaultcli.KeptToken(ctx, x.Console, environ); err != nil {
			return &cli.Error{Err: errors.New("there is no token to give to the command"), Hint: "log in first (`" + vaultcli.InUse(x.Console).Name + " login`)"}
		}
	}
	x.kept = token
	return err
}

// obtain gets the token of a rule before anything needs it, so that nothing is
// interrupted later. A person's no is no error.
func (x *execution) obtain(ctx context.Context) (got control.Obtained, err error) {
	token := x.kept
	if token == "" {
		token, err = vaultcli.Token(ctx, x.Console, x.environ(os.Environ()))
	}
	if errors.Is(err, vaultcli.ErrNoToken) && !x.knownRule(ctx) {
		return got, x.noRule(ctx) // no login would help
	}
	if err != nil {
		return got, err
	}
	got, err = x.client.Obtain(ctx, control.Obtain{
		Rule: x.rule, Vault: x.vaultName, Namespace: cmp.Or(x.Env("VAULT_NAMESPACE"), x.Env("BAO_NAMESPACE")), Token: token,
	})
	switch {
	case errors.Is(err, control.ErrHeaderGrant):
		hint := "give the rule a token or login grant"
		if x.cmd != nil {
			hint = "leave --rule out, or " + hint
		}
		return got, cli.Usage(fmt.Errorf("rule %s has a header grant or none: it is asked about with each request", cli.Printable(x.rule)), hint)
	case errors.Is(err, control.ErrProgramScope):
		return got, cli.Usage(fmt.Errorf("rule %s: %w", cli.Printable(x.rule), control.ErrProgramScope), "run the program, which is asked about then, or give the grant scope = \"terminal\"")
	case errors.Is(err, control.ErrNoRule):
		return got, x.noRule(ctx)
	}
	return got, err
}

// noRule is the error for a rule that is not there; its hint has those that could be meant.
func (x *execution) noRule(ctx context.Context) error {
	hint := "rules are the step_up blocks of the configuration"
	var names []string
	if status, err := x.client.Status(ctx); err == nil {
		for _, r := range status.Rules {
			if r.Grant == "token" || r.Grant == "login" {
				names = append(names, cli.Printable(r.Name))
			}
		}
	}
	if len(names) > 0 {
		hint = "rules with a token or login grant are: " + strings.Join(names, ", ")
	}
	return cli.Usage(fmt.Errorf("no rule %s for vault %s", cli.Printable(x.rule), cli.Printable(x.vaultName)), hint)
}

// knownRule reports whether the agent has the rule, for any vault; it is true
// where the agent does not say.
func (x *execution) knownRule(ctx context.Context) bool {
	s, err := x.client.Status(ctx)
	return err != nil || slices.ContainsFunc(s.Rules, func(r control.Rule) bool { return r.Name == x.rule })
}
