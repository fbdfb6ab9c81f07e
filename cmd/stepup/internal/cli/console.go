// Package cli is what the commands of stepup share: the console, errors with a way
// out, exit codes, tables, the printing of text from elsewhere, completion, and the
// way to the agent and the configuration.
//
// The rules for words: lower case, no full stop. Results go to standard output,
// everything else to standard error. What is wrong starts with "error: ", the way out
// is a line that starts with "hint: " and names the command to run. Text that the
// agent, a file or a server supplies goes through [Printable].
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/listener"
	"github.com/vault-stepup/stepup/ownership"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// A Console is what a command gets from and gives to the outside.
type Console struct {
	ConfigFlag string // --config
	In         io.Reader
	Out, Err   io.Writer
	Env        func(string) string
	// Unprotected runs start, which starts a program of the person's, without what a
	// child would inherit of the protection of our memory; nil runs it as it is.
	Unprotected func(start func() error) error
}

// Say prints a line of a result.
func (c *Console) Say(format string, args ...any) { fmt.Fprintf(c.Out, format+"\n", args...) }

// Notify prints a line that is no result.
func (c *Console) Notify(format string, args ...any) { fmt.Fprintf(c.Err, format+"\n", args...) }

// Hint prints a way out.
func (c *Console) Hint(text string) { fmt.Fprintf(c.Err, "hint: %s\n", text) }

// fail prints what went wrong and the way out, if there is one.
func (c *Console) fail(err error, hint string) {
	fmt.Fprintf(c.Err, "error: %v\n", err)
	if hint != "" {
		c.Hint(hint)
	}
}

// Report prints an error for people and returns the exit code that it means.
func (c *Console) Report(err error) int {
	var h *Error
	errors.As(err, &h)
	var unsafe *ownership.Unsafe
	switch {
	case errors.Is(err, control.ErrNoAgent):
		c.fail(fmt.Errorf("%w in %s", control.ErrNoAgent, Printable(c.RuntimeDir())), "start it with `stepup agent`")
		return ExitNoAgent
	case errors.As(err, &unsafe):
		c.fail(err, unsafe.Fix())
	case errors.Is(err, listener.ErrRunning):
		c.fail(err, "`stepup status` shows it; set STEPUP_RUNTIME_DIR to run a second one")
	case AddressTaken(err):
		c.fail(err, "`stepup doctor` says who has the address")
	case errors.Is(err, prompt.ErrUnknown):
		c.fail(err, "`stepup prompts` lists what can be answered")
	case errors.Is(err, ErrReported):
	case h != nil:
		c.fail(err, h.Hint)
	default:
		c.fail(err, "")
	}
	if h != nil && h.Code != 0 {
		return h.Code
	}
	return ExitFailed
}

// Terminal returns standard error as a file if it is a terminal.
func (c *Console) Terminal() (*os.File, bool) {
	f, ok := c.Err.(*os.File)
	return f, ok && terminal.IsTerminal(f)
}

// Width is how wide text for people may be.
func (c *Console) Width() int {
	if f, ok := c.Terminal(); ok {
		if w := terminal.Columns(f); w > 0 {
			return w
		}
	}
	return 100
}

// Color reports whether text for people may have colours (no-color.org).
func (c *Console) Color() bool {
	_, ok := c.Terminal()
	return ok && c.Env("NO_COLOR") == "" && c.Env("TERM") != "dumb"
}

// Typed reports whether standard input is a keyboard.
func (c *Console) Typed() bool {
	f, ok := c.In.(*os.File)
	return ok && terminal.IsTerminal(f)
}

// FirstEnv returns the first of the variables that is set, and its value.
func (c *Console) FirstEnv(names []string) (name, value string) {
	for _, name := range names {
		if value := c.Env(name); value != "" {
			return name, value
		}
	}
	return "", ""
}
