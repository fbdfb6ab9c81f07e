package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// laterCommands are those that are promised and not there yet: nobody shall read
// "unknown command" about something that the documentation has.
func (a *app) laterCommands() []*cobra.Command {
	all := []*cobra.Command{
		group(later("service", textService),
			later("install", textServiceInstall), later("uninstall", textServiceUninstall),
			later("status", textServiceStatus), later("print", textServicePrint)),
		later("doctor", textDoctor),
	}
	for _, cmd := range all {
		cmd.Hidden = true
	}
	return all
}

// later makes a command that says that it is not supported yet, whatever it is
// given.
func later(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: fmt.Sprintf(textLaterLong, short),
		Args: cobra.ArbitraryArgs, FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fmt.Errorf(textNotYet, cmd.CommandPath())
		},
	}
}
