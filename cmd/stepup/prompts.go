package main

import (
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/control"
)

func (a *app) promptsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "prompts", Short: textPrompts, Args: takes(0)}
	f := formatFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		open, err := a.client().Prompts(cmd.Context())
		if err != nil {
			return err
		}
		if *f == formatJSON {
			// The same object as GET /v1/prompts.
			return writeJSON(a.out, map[string][]control.Prompt{"prompts": open})
		}
		if _, err := io.WriteString(a.out, promptsText(open, time.Now())); err != nil {
			return err
		}
		if len(open) > 0 {
			a.hint(hintAnswer)
		}
		return nil
	}
	return cmd
}

func (a *app) denyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "deny ID", Short: textDeny, Args: takes(0, "ID"), ValidArgsFunction: a.completeID,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.client().Deny(cmd.Context(), args[0]); err != nil {
				return err
			}
			a.say(textDenied, printable(args[0]))
			return nil
		},
	}
}
