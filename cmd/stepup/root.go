package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/attach"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/configtest"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/daemon"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/demo"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/doctor"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/exec"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/history"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/policies"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/secrets"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/service"
)

// The groups of the help.
const (
	groupAgent   = "agent"
	groupPrompts = "prompts"
	groupSecrets = "secrets"
)

// rootCommand is stepup with all its commands.
func rootCommand(c *cli.Console) *cobra.Command {
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
		Version: versionText(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetVersionTemplate("{{.Version}}\n")
	root.Flags().BoolP("version", "v", false, "print the version")
	root.SetHelpCommand(helpCommand())
	root.PersistentFlags().StringVar(&c.ConfigFlag, "config", "", "configuration file (default: $STEPUP_CONFIG, else the user's configuration folder)")
	cli.CompleteFlag(root, "config", cli.CompleteConfig)
	root.AddGroup(
		&cobra.Group{ID: groupAgent, Title: "The agent:"},
		&cobra.Group{ID: groupPrompts, Title: "Its questions:"},
		&cobra.Group{ID: groupSecrets, Title: "The keyring:"})
	root.AddCommand(commands(c)...)
	// The help fits a terminal of 80 columns.
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped 80"))
	return root
}

// commands are all subcommands.
func commands(c *cli.Console) []*cobra.Command {
	return slices.Concat(
		inGroup(groupAgent,
			daemon.Config(c, policies.Command(c), configtest.Command(c)),
			daemon.Agent(c),
			daemon.Status(c),
			history.Command(c),
			exec.Command(c),
			service.Command(c),
			doctor.Command(c, policies.UnknownMethods),
		),
		inGroup(groupPrompts, append(attach.Commands(c), exec.Up(c), daemon.Lock(c), daemon.Resume(c))...),
		inGroup(groupSecrets,
			secrets.TokenHelper(c),
			secrets.TOTP(c),
		),
		[]*cobra.Command{
			demo.Command(c),
			versionCommand(c),
			completionCommand(c),
			keyringCommand(c),
		},
	)
}

func inGroup(id string, all ...*cobra.Command) []*cobra.Command {
	for _, cmd := range all {
		cmd.GroupID = id
	}
	return all
}

const textLong = `stepup stands between programs and HashiCorp Vault or OpenBao. Programs set
VAULT_ADDR to it; when Vault wants a second factor, it asks you, completes the
exchange and gives the program the answer it wanted.

Start with:
  stepup demo                  a tour, with a Vault of its own
  stepup config init           write a first configuration
  stepup agent                 run it`
