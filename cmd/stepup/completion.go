package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

func (a *app) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use: "completion SHELL", Short: "print a shell's completion script", Long: textCompletionLong, Args: cli.Takes(0, "SHELL"), ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.Out, true)
			case "zsh":
				return root.GenZshCompletion(a.Out)
			case "fish":
				return root.GenFishCompletion(a.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.Out)
			}
			return cli.Usage(fmt.Errorf("there is no completion for %q", args[0]), fmt.Sprintf("there is one for %s", strings.Join(shells, ", ")))
		},
	}
}

// Its texts.
const (
	textCompletionLong = `Prints the completion script for SHELL: bash, zsh, fish or powershell.

  bash         source <(stepup completion bash)
  zsh          stepup completion zsh > "${fpath[1]}/_stepup"
  fish         stepup completion fish | source
  powershell   stepup completion powershell | Out-String | Invoke-Expression`
)
