package main

import (
	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// An app is one run of stepup.
type app struct{ *cli.Console }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "stepup",
		Short: "the second factor of Vault, for programs and people",
		Long:  textLong,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.UnknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(helpCommand())
	root.PersistentFlags().StringVar(&a.ConfigFlag, "config", "", "configuration file (default: $STEPUP_CONFIG, else the user's configuration folder)")
	cli.CompleteFlag(root, "config", cli.CompleteConfig)
	root.AddGroup(
		&cobra.Group{ID: groupAgent, Title: "The agent:"},
		&cobra.Group{ID: groupPrompts, Title: "Its prompts:"},
		&cobra.Group{ID: groupSecrets, Title: "The keyring:"})
	root.AddCommand(a.commands()...)
	return root
}

// Its texts.
const (
	textLong = `stepup stands between programs and HashiCorp Vault or OpenBao. Programs set
VAULT_ADDR to it; when Vault wants a second factor, it asks you, completes the
exchange and gives the program the answer it wanted.

Start with:
  stepup demo                  a tour, with a Vault of its own
  stepup config init           write a first configuration
  stepup agent                 run it`
)
