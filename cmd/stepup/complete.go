package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/config"
)

// A completer gives the shell the words that can come next. What it cannot find
// out it leaves empty: the shell has no place for an error.
type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completeID gives the IDs that can be answered now.
func (a *app) completeID(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var ids []string
	if len(args) == 0 {
		open, err := a.client().Prompts(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		for _, p := range open {
			ids = append(ids, p.ID+"\t"+question(p))
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// completeRule gives the rules of the running agent, or of the file when none
// runs.
func (a *app) completeRule(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if status, ok := a.running(cmd.Context()); ok {
		for _, r := range status.Rules {
			names = append(names, printable(r.Name))
		}
	} else if c, ok := a.quietConfig(); ok {
		for _, r := range c.Rules {
			names = append(names, printable(r.Name))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeVault gives the vaults, like completeRule.
func (a *app) completeVault(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if status, ok := a.running(cmd.Context()); ok {
		for _, v := range status.Vaults {
			names = append(names, printable(v.Name)+"\t"+printable(v.Address))
		}
	} else if c, ok := a.quietConfig(); ok {
		for _, v := range c.Vaults {
			names = append(names, printable(v.Name)+"\t"+printable(v.Address.String()))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeMethod gives the mfa_method blocks of the file: the agent does not list
// them.
func (a *app) completeMethod(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if c, ok := a.quietConfig(); ok && len(args) == 0 {
		for _, m := range c.Methods {
			names = append(names, printable(m.Name)+"\t"+printable(m.Type))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeConfig gives one file with the ending of a configuration.
func completeConfig(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"hcl"}, cobra.ShellCompDirectiveFilterFileExt
}

// completeWords gives always the same words.
func completeWords(words ...string) completer {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlag ties a completer to a flag that cmd has.
func completeFlag(cmd *cobra.Command, flag string, c completer) {
	if err := cmd.RegisterFlagCompletionFunc(flag, c); err != nil {
		panic(err) // the flag is not there: a mistake in the line that called
	}
}

func (a *app) running(ctx context.Context) (control.Status, bool) {
	status, err := a.client().Status(ctx)
	return status, err == nil
}

// quietConfig is the configuration without a word about what is wrong with it.
func (a *app) quietConfig() (*config.Config, bool) {
	c, _ := config.Load(a.configFile(), a.configOptions())
	return c, c != nil
}
