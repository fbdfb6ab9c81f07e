package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// takes wants an argument for each name; optional more may follow. Arguments are
// counted, never quoted: one of them may be a password that was put there.
func takes(optional int, names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf(textMissing, names[len(args)])
		case len(args) > len(names)+optional:
			return errors.New(textTooMany)
		}
		return nil
	}
}

// group makes a command that only holds others.
func group(cmd *cobra.Command, subs ...*cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return errors.New(textNoSubcommand)
	}
	cmd.RunE = func(*cobra.Command, []string) error { return nil } // Args never lets it come to this
	cmd.AddCommand(subs...)
	return cmd
}

// A format is how a result is written to standard output.
type format string

const (
	formatText format = "text"
	formatJSON format = "json"
)

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	switch format(s) {
	case formatText, formatJSON:
		*f = format(s)
		return nil
	}
	return errors.New(textBadFormat)
}

// String implements pflag.Value.
func (f *format) String() string { return string(*f) }

// Type implements pflag.Value: what stands behind the flag in the help.
func (f *format) Type() string { return "text|json" }

// formatFlag gives cmd the flag --format.
func formatFlag(cmd *cobra.Command) *format {
	f := formatText
	cmd.Flags().Var(&f, "format", textFormatFlag)
	completeFlag(cmd, "format", completeWords(string(formatText), string(formatJSON)))
	return &f
}
