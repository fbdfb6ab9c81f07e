package prompt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// A DesktopConfig says how a [Desktop] reaches the screen. The zero value is
// this machine.
type DesktopConfig struct {
	Sessions SessionConfig                // not used on macOS and Windows
	LookPath func(string) (string, error) // finds a program by its name; nil means exec.LookPath
	Environ  func() []string              // of the programs, less every secret; nil means os.Environ
	Log      *slog.Logger                 // nil means none
	Now      func() time.Time             // nil means time.Now
}

// A Desktop asks in a window, through whatever dialog program the session of
// the requester has when the question comes: pinentry, kdialog or zenity on Linux
// and the BSDs, osascript on macOS, PowerShell on Windows. A passcode is
// shown while it is typed unless only a pinentry is there, a password is not.
type Desktop struct {
	config DesktopConfig
}

var _ Prompter = (*Desktop)(nil)

// NewDesktop returns a prompter for the person's desktop.
func NewDesktop(c DesktopConfig) *Desktop {
	if c.LookPath == nil {
		c.LookPath = exec.LookPath
	}
	if c.Environ == nil {
		c.Environ = os.Environ
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Desktop{config: c}
}

const (
	// maxRounds bounds how often one question comes again after an answer that
	// does not fit: a program that answers by itself must not spin.
	maxRounds = 10
	// overtime is how long a window stays open beyond its deadline when nobody
	// takes it down. The broker does so on time, and knows the reason better.
	overtime = time.Second
)

// A dialog is one way to show a question.
type dialog struct {
	program string // looked up in PATH
	ask     func(ctx context.Context, j job) (string, error)
}

// A job is one question for a program that was found.
type job struct {
	path    string
	environ []string
	sheet   sheet
}

// Prompt implements [Prompter]. A push is not for a window that wants an answer,
// unless it comes with a number that the person must see: it gives ErrUnavailable, as
// does a question that nobody answered by r.Deadline.
func (d *Desktop) Prompt(ctx context.Context, r Request) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if r.Kind == Push && sanitizeNumber(r.Number) == "" {
		return "", fmt.Errorf("%w: a push is decided on the phone", ErrUnavailable)
	}
	limited, cancel := ctx, context.CancelFunc(func() {})
	if !r.Deadline.IsZero() {
		limited, cancel = context.WithDeadline(ctx, r.Deadline.Add(overtime))
	}
	defer cancel()
	answer, err := d.converse(limited, r)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case limited.Err() != nil:
		return "", fmt.Errorf("%w: %w", ErrUnavailable, ErrTimeout)
	}
	return answer, err
}

// converse asks until there is an answer that fits.
func (d *Desktop) converse(ctx context.Context, r Request) (string, error) {
	environ, dialogs, err := d.surface(ctx, r)
	if err != nil {
		return "", err
	}
	note := ""
	for range maxRounds {
		s := newSheet(r, d.config.Now())
		s.note = note
		answer, err := d.show(ctx, dialogs, job{environ: environ, sheet: s})
		if err != nil || r.Kind == Push {
			return "", seen(r, err)
		}
		answer, err = Check(s.request, answer)
		if errors.Is(err, ErrAnswer) {
			note = again(s.request)
			continue
		}
		if i := slices.Index(s.request.Choices, answer); r.Kind == Choose && i >= 0 {
			answer = r.Choices[i]
		}
		return answer, err
	}
	return "", ErrDismissed
}

// seen is the end of a window. One that only told something may be closed at will.
func seen(r Request, err error) error {
	if r.Kind == Push && errors.Is(err, ErrDismissed) {
		return nil
	}
	return err
}

// show asks once, through the first program that can.
func (d *Desktop) show(ctx context.Context, dialogs []dialog, j job) (string, error) {
	var tried []string
	for _, g := range dialogs {
		path, err := d.config.LookPath(g.program)
		if err != nil {
			continue
		}
		j.path = path
		answer, err := g.ask(ctx, j)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if !errors.Is(err, ErrUnavailable) {
			return answer, err
		}
		d.config.Log.Debug("dialog program cannot ask now", "program", g.program, "error", err)
		tried = append(tried, g.program)
	}
	if len(tried) > 0 {
		return "", fmt.Errorf("%w: no window could be opened by %s", ErrUnavailable, strings.Join(tried, ", "))
	}
	return "", fmt.Errorf("%w: no dialog program is installed", ErrUnavailable)
}

// An invocation is one run of a dialog program that needs no conversation. It is
// made without side effects, so that a test can hold it against what it should be.
type invocation struct {
	args  []string
	env   []string // in addition
	input string   // for its standard input
	file  []byte   // readable for it as openFile; nil for none
	// read says what the end of the program means: its exit code and its
	// standard output less one line end.
	read func(code int, output string) (string, error)
}

// oneShot makes a dialog of an invocation.
func oneShot(program string, build func(sheet) invocation) dialog {
	return dialog{program: program, ask: func(ctx context.Context, j job) (string, error) {
		v := build(j.sheet)
		cmd := exec.CommandContext(ctx, j.path, v.args...)
		cmd.Env = append(slices.Clip(j.environ), v.env...)
		cmd.Stdin = strings.NewReader(v.input)
		// More than fits, so that Check sees an answer that is too long.
		output := limitedBuffer{room: 2 * maxAnswer}
		cmd.Stdout = &output
		cmd.WaitDelay = killDelay
		if v.file != nil {
			f, err := memoryFile(v.file)
			if err != nil {
				return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
			defer f.Close()
			cmd.ExtraFiles = []*os.File{f}
		}
		release := ownWindow(cmd)
		err := cmd.Run()
		release()
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case cmd.ProcessState == nil:
			return "", fmt.Errorf("%w: %s cannot be started: %w", ErrUnavailable, program, err)
		}
		text := strings.TrimSuffix(strings.TrimSuffix(output.kept.String(), "\n"), "\r")
		return v.read(cmd.ProcessState.ExitCode(), text)
	}}
}

// openFile is where a program finds the file of its invocation: the first
// descriptor behind the three that every process has. The file has no name.
const openFile = "/proc/self/fd/3"

// failed is what a program's end means when it is none that a person causes.
func failed(program string, code int) error {
	return fmt.Errorf("%w: %s ended with code %d", ErrUnavailable, program, code)
}
