package cli

import "github.com/spf13/cobra"

// A completer gives the shell the words that can come next. What it cannot find
// out it leaves empty: the shell has no place for an error.
type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// CompleteID gives the IDs that can be answered now.
func (c *Console) CompleteID(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var ids []string
	if len(args) == 0 {
		open, err := c.Client().Prompts(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		for _, p := range open {
			ids = append(ids, p.ID+"\t"+Question(p))
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// CompleteRule gives the rules of the running agent, or of the file when none
// runs.
func (c *Console) CompleteRule(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if status, err := c.Client().Status(cmd.Context()); err == nil {
		for _, r := range status.Rules {
			names = append(names, Printable(r.Name))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	for _, r := range c.quietConfig().Rules {
		names = append(names, Printable(r.Name))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// CompleteOneRule is CompleteRule for an argument.
func (c *Console) CompleteOneRule(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.CompleteRule(cmd, args, word)
}

// CompleteVault gives the vaults, like CompleteRule.
func (c *Console) CompleteVault(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if status, err := c.Client().Status(cmd.Context()); err == nil {
		for _, v := range status.Vaults {
			names = append(names, Printable(v.Name)+"\t"+Printable(v.Address))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	for _, v := range c.quietConfig().Vaults {
		names = append(names, Printable(v.Name)+"\t"+Printable(v.Address.String()))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// CompleteMethod gives the mfa_method blocks of the file: the agent does not list
// them.
func (c *Console) CompleteMethod(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, m := range c.quietConfig().Methods {
		names = append(names, Printable(m.Name)+"\t"+Printable(m.Type))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// CompleteConfig gives one file with the ending of a configuration.
func CompleteConfig(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"hcl"}, cobra.ShellCompDirectiveFilterFileExt
}

// CompleteWords gives always the same words.
func CompleteWords(words ...string) completer {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// CompleteFlag ties a completer to a flag that cmd has.
func CompleteFlag(cmd *cobra.Command, flag string, c completer) {
	if err := cmd.RegisterFlagCompletionFunc(flag, c); err != nil {
		panic(err) // the flag is not there: a mistake in the line that called
	}
}
