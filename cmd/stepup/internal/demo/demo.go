// Package demo is stepup demo: a tour with an agent and a development Vault of its own.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

const textLong = `Runs a development Vault and an agent in one process, on loopback addresses,
and walks through what stepup does in six steps. You answer the questions; the
demo shows the codes that your phone would show, and in the end leaves the
agent to you until ctrl-c. Nothing has to be configured, no network is used,
and nothing is left behind.

With --auto it needs no terminal: it answers its own questions, checks at every
step what the program received, what was asked and what Vault saw, and exits
with 0 only if all of it is as it should be.`

// Command is stepup demo.
func Command(c *cli.Console) *cobra.Command {
	d := demo{Console: c, openTTY: terminal.Open}
	cmd := &cobra.Command{
		Use: "demo", Short: "a tour, with a Vault of its own", Long: textLong, Args: cli.Takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return d.main(cmd.Context()) },
	}
	cmd.Flags().BoolVar(&d.auto, "auto", false, "play the person too, and check every step")
	return cmd
}

// A demo is one run of the tour.
type demo struct {
	*cli.Console
	auto    bool
	openTTY func() (terminal.TTY, error)
	// between is put between the wire log and the Vault; nil puts nothing there. It is
	// how the tests break the Vault, to see that the demo notices.
	between func(*devvault.Server) http.Handler

	page    *page
	sandbox *sandbox
	prompts *promptLog
	script  *scripted // nil at a terminal
	guide   *guide    // nil with --auto
}

// errLeft: the person wants to go. It is not an error of the demo.
var errLeft = errors.New("left")

// errInterrupted: with --auto, because not every step was checked.
var errInterrupted = errors.New("the demo was interrupted")

const textPassed = "\nall steps did what they say\n"

// main runs the demo until it is over or ctx or the person ends it, and leaves
// nothing behind.
func (d *demo) main(ctx context.Context) (err error) {
	// A terminal that is closed, or `| head`, must not leave the folder behind either.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	d.page = newPage(d.Console)
	if !d.auto {
		if err := d.needTerminal(); err != nil {
			return err
		}
	}
	vault, err := newDemoVault(ctx, d.between)
	if err != nil {
		return err
	}
	defer vault.Close()
	if d.auto {
		d.script = &scripted{vault: vault, say: d.page.detail}
		d.prompts = &promptLog{Prompter: d.script}
	} else {
		d.guide = newGuide(vault, d.page, d.openTTY)
		d.prompts = &promptLog{Prompter: d.guide}
	}
	d.sandbox, err = openSandbox(ctx, vault, d.prompts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.sandbox.close()) }()

	d.page.print(d.page.opening(d.auto))
	err = d.tour(ctx)
	if err == nil && !d.auto {
		err = d.playground(ctx)
	}
	switch {
	case !d.auto && (errors.Is(err, errLeft) || ctx.Err() != nil):
		d.page.print("\n" + d.page.wrap("the demo is over; its Vault, its agent and its folder are gone", 0, 0))
		return nil
	case ctx.Err() != nil:
		return errInterrupted
	case err == nil:
		d.page.print(d.page.bold(textPassed))
	}
	return err
}

// needTerminal fails without a terminal to ask on.
func (d *demo) needTerminal() error {
	tty, err := d.openTTY()
	if err == nil {
		_ = tty.Close()
		if d.page.terminal {
			return nil
		}
		err = errors.New("standard output is none")
	}
	return &cli.Error{Err: fmt.Errorf("the demo asks you on a terminal: %w", err), Hint: "`stepup demo --auto` needs none: it answers its own questions"}
}

// tour runs the steps. The scripted person does everything right, so that with
// --auto whatever is not as it should be is an error; at a terminal it is shown.
func (d *demo) tour(ctx context.Context) error {
	all := steps()
	for i, s := range all {
		d.page.print(d.page.title(i+1, len(all), s.title))
		if d.auto {
			d.script.expect(s.replies)
		} else {
			d.page.print(d.page.wrap(s.story, 2, 2))
			if _, err := d.guide.keyboard.ask(ctx, s.question(d.page)); err != nil {
				return left(err)
			}
		}
		err := d.runStep(ctx, s)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && d.auto:
			return fmt.Errorf("step %d, %s: %s", i+1, s.title, strings.ReplaceAll(err.Error(), "\n", "; "))
		case err != nil:
			d.page.print("\n" + d.page.wrap(anotherWay(err, i+1 < len(all)), 2, 2))
		case d.auto:
			d.page.detail(s.after)
		default:
			d.page.print("\n" + d.page.wrap(s.after, 2, 2))
		}
	}
	return nil
}

// left makes errLeft of a person's ways to end a question of the demo's own.
func left(err error) error {
	if errors.Is(err, prompt.ErrDenied) || errors.Is(err, io.EOF) {
		return errLeft
	}
	return err
}

// playground leaves the agent to the person until they have enough.
func (d *demo) playground(ctx context.Context) error {
	d.sandbox.vault.wire.off()
	_, err := exec.LookPath("vault")
	d.page.print(d.page.playground(d.sandbox, err == nil, ownCommand()))
	for {
		err := d.guide.keyboard.idle(ctx, "\n  enter shows your codes, ctrl-c ends the demo\n")
		switch {
		case err == nil:
			for _, m := range []string{methodCorp, methodPayroll, methodSigning, methodLogin} {
				code, current := d.sandbox.vault.phoneCode(m)
				d.page.print(d.page.phoneLine(m, code, current))
			}
		case !errors.Is(err, errWanted):
			return left(err)
		}
		d.prompts.take() // it is not looked at any more
	}
}

// ownCommand is how a shell finds this program: "make demo" runs one that is not
// installed.
func ownCommand() string {
	const name = "stepup"
	if _, err := exec.LookPath(name); err == nil {
		return name
	}
	path, err := cli.ProgramPath()
	if err != nil || strings.ContainsAny(path, " \t'\"\\") {
		return name
	}
	return path
}
