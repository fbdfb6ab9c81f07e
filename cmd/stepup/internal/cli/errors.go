package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// Exit codes of every command.
const (
	ExitDone    = 0
	ExitFailed  = 1
	ExitUsage   = 2 // wrong usage or configuration
	ExitRefused = 3 // a person was asked by this command and denied or did not answer
	ExitNoAgent = 4
)

// An Error carries a way out, and the exit code of the command.
type Error struct {
	Err  error
	Hint string // "" where there is none
	Code int    // 0 means ExitFailed
}

// Error implements error.
func (h *Error) Error() string { return h.Err.Error() }

// Unwrap gives errors.Is and errors.As what is inside.
func (h *Error) Unwrap() error { return h.Err }

// Usage marks an error as the caller's.
func Usage(err error, hint string) error { return &Error{Err: err, Hint: hint, Code: ExitUsage} }

// Errors of several commands.
var (
	ErrReported       = errors.New("already reported") // on the console: nothing more is printed
	ErrNotAnswered    = errors.New("not answered")
	ErrNoConfigFolder = errors.New("cannot tell where the configuration is: neither HOME nor XDG_CONFIG_HOME is set")
)

// SeeHelp is the hint that leads to the help of a command.
func SeeHelp(command string) string { return fmt.Sprintf("see `%s --help`", command) }

// UnknownCommand is the error for a name that parent does not have. Its hint has a
// similar name, where there is one.
func UnknownCommand(parent *cobra.Command, name string) error {
	hint := SeeHelp(parent.CommandPath())
	parent.SuggestionsMinimumDistance = 2
	if near := parent.SuggestionsFor(name); len(near) > 0 {
		hint = fmt.Sprintf("did you mean `%s %s`?", parent.CommandPath(), near[0])
	}
	return Usage(fmt.Errorf("unknown command %q", name), hint)
}
