// Package dialog asks in a window, through the dialog programs of the desktop.
package dialog

import (
	"cmp"
	"context"
	_ "embed" // for the icon
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

// A Config says how a [Prompter] reaches the screen.
type Config struct {
	// Session finds the screen for a question of the requester; its error wraps
	// ErrUnavailable. macOS and Windows do not use it, other systems must have it.
	Session  func(context.Context, prompt.Requester) (prompt.Session, error)
	Pinentry string                       // the person's own, as LookPath takes it; asked before the others; "" for none
	LookPath func(string) (string, error) // finds a program by its name; nil means exec.LookPath
	Environ  func() []string              // of the programs, less every secret; nil means os.Environ
	Log      *slog.Logger                 // nil means none
	Now      func() time.Time             // nil means time.Now
	// Patience is how long a program may run without a window on the display, as far as X can
	// tell; 0 means 20 s.
	Patience time.Duration
}

// A Prompter asks in a window, through a dialog program that the session of the
// requester has when the question comes: pinentry, kdialog or zenity on Linux
// and the BSDs, osascript on macOS, PowerShell on Windows. A passcode is
// shown while it is typed unless only a pinentry is there, a password is not. A pinentry of
// the person's own is asked first, on every system.
type Prompter struct {
	config Config
}

var _ prompt.Prompter = (*Prompter)(nil)

// New returns a prompter for the person's desktop.
func New(c Config) *Prompter {
	if c.LookPath == nil {
		c.LookPath = exec.LookPath
	}
	if c.Environ == nil {
		c.Environ = os.Environ
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	c.Patience = cmp.Or(c.Patience, windowPatience)
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Prompter{config: c}
}

const (
	// maxRounds bounds how often one question comes again after an answer that
	// does not fit: a program that answers by itself must not spin.
	maxRounds = 10
	// overtime is how long a window stays open beyond its deadline. The broker takes it
	// down before that, on time, and knows the reason better.
	overtime = time.Second
)

// A program is one way to show a question.
type program struct {
	name  string // looked up in PATH
	own   bool   // the configuration names it
	draws bool   // its window is its own, on the display of its environment
	ask   func(ctx context.Context, j job) (string, error)
}

// A job is one question for a program that was found.
type job struct {
	path    string
	environ []string
	text    dialogText
	watcher watcher
}

// Prompt implements [prompt.Prompter]. A push is not for a window that wants an answer,
// unless it comes with a number that the person must see: it gives ErrUnavailable, as
// does a question without an answer by r.Deadline.
func (d *Prompter) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if r.Kind == prompt.Push && r.Sanitized().Number == "" {
		return "", fmt.Errorf("%w: a push is decided on the phone", prompt.ErrUnavailable)
	}
	limited, cancel := context.WithDeadline(ctx, r.Deadline.Add(overtime))
	defer cancel()
	answer, err := d.converse(limited, r)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case limited.Err() != nil:
		return "", fmt.Errorf("%w: %w", prompt.ErrUnavailable, prompt.ErrTimeout)
	}
	return answer, err
}

// converse asks until there is an answer that fits.
func (d *Prompter) converse(ctx context.Context, r prompt.Request) (string, error) {
	environ, programs, err := d.capabilities(ctx, r)
	if err != nil {
		return "", err
	}
	asked := r
	for round := range maxRounds {
		t := newDialogText(asked, d.config.Now())
		t.again = round > 0
		typed, err := d.show(ctx, programs, job{environ: environ, text: t})
		if r.Kind == prompt.Push && errors.Is(err, prompt.ErrDismissed) {
			return "", nil // it only told something, and may be closed at will
		}
		if err != nil || r.Kind == prompt.Push {
			return "", err
		}
		answer, err := prompt.Check(t.request, typed)
		if errors.Is(err, prompt.ErrAnswer) {
			asked.Message = t.request.RetryNote(typed)
			continue
		}
		return r.ChoiceAsGiven(answer), err
	}
	return "", prompt.ErrDismissed
}

var errNoProgram = fmt.Errorf("%w: no dialog program is installed", prompt.ErrUnavailable)

// show asks once, through the first program that can.
func (d *Prompter) show(ctx context.Context, programs []program, j job) (string, error) {
	var tried []string
	for _, p := range programs {
		path, err := d.config.LookPath(p.name)
		if err != nil {
			d.failedOwn(p, err)
			continue
		}
		j.path, j.watcher = path, watcher{log: d.config.Log}
		if p.draws {
			j.watcher.patience = d.config.Patience
		}
		answer, err := p.ask(ctx, j)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if !errors.Is(err, prompt.ErrUnavailable) {
			return answer, err
		}
		if errors.Is(err, errUnseen) {
			d.config.Log.Warn("a dialog program runs and shows nothing", "program", p.name)
		}
		d.config.Log.Debug("dialog program cannot ask now", "program", p.name, "error", err)
		d.failedOwn(p, err)
		tried = append(tried, p.name)
	}
	if len(tried) > 0 {
		return "", fmt.Errorf("%w: no window could be opened by %s", prompt.ErrUnavailable, strings.Join(tried, ", "))
	}
	return "", errNoProgram
}

// failedOwn says that the program of the configuration did not ask: another one does in its
// place, and the person wonders why.
func (d *Prompter) failedOwn(p program, err error) {
	if p.own {
		d.config.Log.Warn("the pinentry of the configuration cannot ask", "program", filepath.Base(p.name), "error", err)
	}
}

// capabilities are those of the system, with the person's own pinentry before them. A new
// secret is for a window with a picture, if there is one, and a number to tap is not for a
// window that wants an answer.
func (d *Prompter) capabilities(ctx context.Context, r prompt.Request) (environ []string, programs []program, err error) {
	environ, programs, err = capabilities(ctx, d.config, r)
	if err != nil || d.config.Pinentry == "" || r.Kind == prompt.Push {
		return environ, programs, err
	}
	own := pinentryProgram(d.config.Pinentry, func(flavour string) bool { return !drawsOnTerminal(flavour) })
	own.own = true
	if r.Enrolment != nil {
		return environ, append(slices.Clip(programs), own), nil
	}
	return environ, append([]program{own}, programs...), nil
}

// An invocation is one run of a dialog program that needs no conversation. It is
// made without side effects, so that a test can compare it.
type invocation struct {
	args  []string
	env   []string // in addition
	input string   // for its standard input
	file  []byte   // readable for it as memoryFilePath; nil for none
	icon  string   // option for the picture of the window; "" for none
	// read returns the answer that the end of the program means: its exit code and its
	// standard output less one line end.
	read func(code int, output string) (string, error)
}

// icon is packaging/icons/stepup.svg in 48 pixels.
//
//go:embed icon.png
var icon []byte

// oneShot returns a program that runs once for a question.
func oneShot(name string, build func(dialogText) invocation) program {
	return program{name: name, ask: func(ctx context.Context, j job) (string, error) {
		v := build(j.text)
		code, output, err := v.run(ctx, j)
		if err == nil && code == unknownOption {
			// zenity 4 says that it will not know the option for the icon one day.
			v.icon = ""
			code, output, err = v.run(ctx, j)
		}
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case errors.Is(err, errUnseen):
			return "", err
		case err != nil:
			return "", fmt.Errorf("%w: %s cannot be started: %w", prompt.ErrUnavailable, name, err)
		}
		return v.read(code, output)
	}}
}

// unknownOption is how zenity ends that was given an option it does not have.
const unknownOption = 255

// run runs the program until its end. An error means that it was not started, or has
// shown nothing.
func (v invocation) run(ctx context.Context, j job) (code int, output string, err error) {
	ctx, end := j.watcher.watch(ctx, append(slices.Clip(j.environ), v.env...))
	defer end()
	cmd := exec.CommandContext(ctx, j.path, v.args...)
	cmd.Env = append(slices.Clip(j.environ), v.env...)
	cmd.Stdin = strings.NewReader(v.input)
	if v.file != nil {
		f, err := memoryFile(v.file)
		if err != nil {
			return 0, "", err
		}
		defer f.Close()
		cmd.ExtraFiles = []*os.File{f}
	}
	// Without a name it needs no folder where another user could put a file of theirs.
	if v.icon != "" {
		if f, err := memoryFile(icon); err == nil {
			defer f.Close()
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
			cmd.Args = append(cmd.Args, v.icon, fmt.Sprint("/proc/self/fd/", 2+len(cmd.ExtraFiles)))
		}
	}
	hideConsole(cmd)
	// More than fits, so that Check sees an answer that is too long.
	output, err = prompt.RunProgram(cmd, 2*prompt.MaxAnswer)
	if cause := context.Cause(ctx); errors.Is(cause, errUnseen) {
		return 0, "", cause
	}
	if cmd.ProcessState == nil {
		return 0, "", err
	}
	return cmd.ProcessState.ExitCode(), output, nil
}

// memoryFilePath is where a program finds the file of its invocation: the first
// descriptor behind the three that every process has. The file has no name.
const memoryFilePath = "/proc/self/fd/3"

// failed returns the error for an end of a program that no person causes.
func failed(program string, code int) error {
	return fmt.Errorf("%w: %s ended with code %d", prompt.ErrUnavailable, program, code)
}

// Available names the programs that could ask the person of this process now, best
// first. It opens no window and starts nothing; it blocks for a few seconds at most. The
// error wraps ErrUnavailable and names the missing part.
func (d *Prompter) Available(ctx context.Context) ([]string, error) {
	us := prompt.Requester{PID: os.Getpid(), UID: os.Getuid()}
	_, programs, err := d.capabilities(ctx, prompt.Request{Kind: prompt.Passcode, Requester: us})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range programs {
		if _, err := d.config.LookPath(p.name); err == nil {
			names = append(names, p.name)
		}
	}
	if len(names) == 0 {
		return nil, errNoProgram
	}
	return names, nil
}
