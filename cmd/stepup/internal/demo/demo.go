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
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// Command is stepup demo.
func Command(c *cli.Console) *cobra.Command {
	var auto bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: textDemo,
		Long:  textDemoLong,
		Args:  cli.Takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{Console: c, auto: auto, openTTY: terminal.Open}
			return d.main(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&auto, "auto", false, textDemoAuto)
	return cmd
}

// A demo is one run of the tour.
type demo struct {
	*cli.Console
	auto    bool
	openTTY func() (terminal.TTY, error)
	// between is put between the tap and the Vault; nil puts nothing there. It is
	// how the tests break the Vault, to see that the demo notices.
	between func(*devvault.Server) http.Handler

	page     *page
	stage    *stage
	recorder *recorder // of everything that is asked
	script   *scripted // nil at a terminal
	guide    *guide    // nil with --auto
}

// errLeft: the person wants to go. It is not an error of the demo.
var errLeft = errors.New("left")

// main runs the demo until it is over or ctx or the person ends it, and leaves
// nothing behind.
func (d *demo) main(ctx context.Context) (err error) {
	// A Terminal that is closed, or `| head`, must not leave the folder behind either.
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
	d.cast(vault)
	d.stage, err = openStage(ctx, vault, d.recorder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stage.close()) }()

	d.page.print(d.page.opening(d.auto))
	err = d.tour(ctx)
	if err == nil && !d.auto {
		err = d.play(ctx)
	}
	switch {
	case !d.auto && (errors.Is(err, errLeft) || ctx.Err() != nil):
		d.page.print(textDemoOver)
		return nil
	case ctx.Err() != nil:
		return errDemoInterrupted
	case err == nil:
		d.page.print(d.page.bold(textDemoPassed))
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
		err = errDemoOutput
	}
	return &cli.Error{Err: fmt.Errorf("%w: %w", errDemoTerminal, err), Hint: hintDemoAuto}
}

// cast puts a person, or the script of one, in front of the prompts.
func (d *demo) cast(v *demoVault) {
	d.recorder = &recorder{}
	if d.auto {
		d.script = &scripted{vault: v, say: d.page.detail}
		d.recorder.Prompter = d.script
		return
	}
	d.guide = newGuide(v, d.page, d.openTTY)
	d.recorder.Prompter = d.guide
}

// tour runs the steps. The scripted person does everything right, so that with
// --auto whatever is not as it should be is an error; at a terminal it is shown.
func (d *demo) tour(ctx context.Context) error {
	all := steps()
	for i, s := range all {
		d.page.print(d.page.title(i+1, len(all), s.words.title))
		if !d.auto {
			d.page.print(s.words.before())
			if err := d.pause(ctx, s.words.question()); err != nil {
				return err
			}
		} else {
			d.script.expect(s.replies)
		}
		err := s.run(ctx, d)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			d.page.print(s.words.ending(d.auto))
		case d.auto:
			return stepFailed(i+1, s.words.title, err)
		default:
			d.page.print(otherwise(err))
		}
	}
	return nil
}

// demoApp is the program that the tour looks at.
func (d *demo) demoApp() demoApp { return d.stage.apps[0] }

// call shows a call, makes it, and shows the answer.
func (d *demo) call(ctx context.Context, a demoApp, c appCall) (appAnswer, error) {
	token := c.token
	if token == "" && !c.login {
		token = d.stage.vault.token
	}
	if !d.auto {
		d.page.print(callLine(a, c))
	}
	before := d.recorder.count()
	got, err := a.do(ctx, c, token)
	d.recorder.wait()
	if err != nil {
		return got, fmt.Errorf("%s /v1/%s: %w", c.method, c.path, err)
	}
	if d.auto {
		d.page.detail(shortAnswer(a, c, got))
	} else {
		if d.recorder.count() > before {
			d.page.print("\n") // the prompt stands between the call and its answer
		}
		d.page.print(longAnswer(got))
	}
	return got, nil
}

// pause waits until the person wants to go on.
func (d *demo) pause(ctx context.Context, question string) error {
	_, err := d.guide.keyboard.ask(ctx, question)
	return left(err)
}

// left makes errLeft of a person's ways to end a question of the demo's own.
func left(err error) error {
	if errors.Is(err, prompt.ErrDenied) || errors.Is(err, io.EOF) {
		return errLeft
	}
	return err
}

// play leaves the agent to the person until they have enough.
func (d *demo) play(ctx context.Context) error {
	d.stage.vault.tap.off()
	_, err := exec.LookPath("vault")
	d.page.print(d.page.playground(d.stage, err == nil))
	for {
		err := d.guide.keyboard.idle(ctx, textDemoIdle)
		switch {
		case err == nil:
			for _, m := range []string{methodCorp, methodPayroll, methodSigning, methodLogin} {
				code := d.stage.vault.UnusedCode(m, demoUser)
				d.page.print(d.page.phoneLine(m, code, code == d.stage.vault.Code(m, demoUser)))
			}
		case !errors.Is(err, errWanted):
			return left(err)
		}
		d.recorder.take() // it is not looked at any more
	}
}

// A page is where the story is written: standard output.
type page struct {
	terminal bool
	bolds    bool

	mu  sync.Mutex // keeps what is written together
	out io.Writer
}

func newPage(c *cli.Console) *page {
	p := &page{out: c.Out}
	if f, ok := c.Out.(*os.File); ok {
		p.terminal = terminal.IsTerminal(f)
	}
	term := c.Env("TERM")
	p.bolds = p.terminal && c.Env("NO_COLOR") == "" && term != "" && term != "dumb"
	return p
}

func (p *page) print(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.out, text) // fails without a reader, and then there is nothing to do
}

// detail writes a line below a step's title.
func (p *page) detail(line string) { p.print(wrap(line, 5, 7)) }

// bold makes text stand out where the terminal can.
func (p *page) bold(text string) string {
	if !p.bolds {
		return text
	}
	body, end := strings.TrimRight(text, "\n"), ""
	end = text[len(body):]
	return "\x1b[1m" + body + "\x1b[0m" + end
}
