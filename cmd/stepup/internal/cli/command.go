package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Run executes one command line below root and returns its exit code.
func Run(ctx context.Context, root *cobra.Command, args []string, c *Console) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(c.In)
	root.SetOut(c.Out)
	root.SetErr(c.Err)
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return Usage(err, SeeHelp(cmd.CommandPath()))
	})
	for _, cmd := range root.Commands() {
		wrapArgs(cmd)
	}
	if err := root.ExecuteContext(ctx); err != nil {
		return c.Report(err)
	}
	return ExitDone
}

// wrapArgs makes wrong arguments a usage error in every command below cmd.
func wrapArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			if h := (*Error)(nil); err != nil && !errors.As(err, &h) {
				return Usage(err, SeeHelp(cmd.CommandPath()))
			}
			return err
		}
	}
	for _, sub := range cmd.Commands() {
		wrapArgs(sub)
	}
}

// Takes requires an argument for each name; optional more may follow. Errors count the
// arguments and never quote one, which may be a password.
func Takes(optional int, names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("missing argument %s", names[len(args)])
		case len(args) > len(names)+optional:
			return errors.New("too many arguments")
		}
		return nil
	}
}

// Group returns cmd with the subcommands subs, and nothing that it does by itself.
func Group(cmd *cobra.Command, subs ...*cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return UnknownCommand(cmd, args[0])
		}
		return errors.New("missing subcommand")
	}
	cmd.RunE = func(*cobra.Command, []string) error { return nil } // Args never lets it come to this
	cmd.AddCommand(subs...)
	return cmd
}

// A choice is the value of a flag that takes one of several words.
type choice struct {
	value string
	words []string
}

// Set implements pflag.Value.
func (c *choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		last := len(c.words) - 1
		return fmt.Errorf("must be %s or %s", strings.Join(c.words[:last], ", "), c.words[last])
	}
	c.value = s
	return nil
}

// String implements pflag.Value.
func (c *choice) String() string { return c.value }

// Type implements pflag.Value: what stands behind the flag in the help.
func (c *choice) Type() string { return strings.Join(c.words, "|") }

// ChoiceFlag gives cmd a flag that takes one of the words. The first is the default.
func ChoiceFlag(cmd *cobra.Command, name, usage string, words ...string) *string {
	c := &choice{words[0], words}
	cmd.Flags().Var(c, name, usage)
	CompleteFlag(cmd, name, CompleteWords(words...))
	return &c.value
}

// FormatJSON is the value of --format for programs.
const FormatJSON = "json"

// FormatFlag gives cmd the flag --format.
func FormatFlag(cmd *cobra.Command) *string {
	return ChoiceFlag(cmd, "format", "how the result is written", "text", FormatJSON)
}

// Exit codes of every command.
const (
	ExitDone    = 0
	ExitFailed  = 1
	ExitUsage   = 2 // wrong usage or configuration
	ExitRefused = 3 // a person was asked by this command and denied or did not answer
	ExitNoAgent = 4
)

// An Error carries a hint, and the exit code of the command.
type Error struct {
	Err  error
	Hint string // "" where there is none
	Code int    // 0 means ExitFailed
}

// Error implements error.
func (h *Error) Error() string { return h.Err.Error() }

// Unwrap returns Err, for errors.Is and errors.As.
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
