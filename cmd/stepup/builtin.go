package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

func completionCommand(c *cli.Console) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use: "completion SHELL", Short: "print a shell's completion script", Long: textCompletionLong, Args: cli.Takes(0, "SHELL"), ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(c.Out, true)
			case "zsh":
				return root.GenZshCompletion(c.Out)
			case "fish":
				return root.GenFishCompletion(c.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(c.Out)
			}
			return cli.Usage(fmt.Errorf("there is no completion for %q", args[0]), fmt.Sprintf("there is one for %s", strings.Join(shells, ", ")))
		},
	}
}

// helpCommand is cobra's, but an unknown topic is an error.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "help about a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return cli.UnknownCommand(about, rest[0])
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// keyringCommand is called by [cli.Keyring] only. It reads no configuration.
func keyringCommand(c *cli.Console) *cobra.Command {
	return &cobra.Command{
		Use: cli.KeyringCommand, Hidden: true, Args: cli.Takes(0),
		RunE: func(*cobra.Command, []string) error { return keyring.Serve(c.In, c.Out) },
	}
}

func versionCommand(c *cli.Console) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version", Args: cli.Takes(0),
		RunE: func(*cobra.Command, []string) error {
			c.Say("%s", versionText())
			return nil
		},
	}
}

func versionText() string {
	return fmt.Sprintf("stepup %s %s %s/%s", cli.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

const textCompletionLong = `Prints the completion script for SHELL: bash, zsh, fish or powershell.

  bash         source <(stepup completion bash)
  zsh          stepup completion zsh > "${fpath[1]}/_stepup"
  fish         stepup completion fish | source
  powershell   stepup completion powershell | Out-String | Invoke-Expression`
