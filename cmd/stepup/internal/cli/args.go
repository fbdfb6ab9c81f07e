package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// Takes wants an argument for each name; optional more may follow. Arguments are
// counted, never quoted: one of them may be a password that was put there.
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

// Group makes a command that only holds others.
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

// A Format is how a result is written to standard output.
type Format string

// The formats of a result.
const (
	formatText Format = "text"
	FormatJSON Format = "json"
)

// Set implements pflag.Value.
func (f *Format) Set(s string) error {
	switch Format(s) {
	case formatText, FormatJSON:
		*f = Format(s)
		return nil
	}
	return errors.New("must be text or json")
}

// String implements pflag.Value.
func (f *Format) String() string { return string(*f) }

// Type implements pflag.Value: what stands behind the flag in the help.
func (f *Format) Type() string { return "text|json" }

// FormatFlag gives cmd the flag --format.
func FormatFlag(cmd *cobra.Command) *Format {
	f := formatText
	cmd.Flags().Var(&f, "format", "how the result is written")
	CompleteFlag(cmd, "format", CompleteWords(string(formatText), string(FormatJSON)))
	return &f
}
