package cli

import (
	"context"
	"errors"

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
