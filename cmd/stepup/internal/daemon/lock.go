package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// Lock is stepup lock.
func Lock(c *cli.Console) *cobra.Command {
	return &cobra.Command{
		Use: "lock [RULE]", Short: "revoke and forget every step-up token, cancel every question", Long: textLockLong, Args: cli.Takes(1),
		ValidArgsFunction: c.CompleteOneRule,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := lock(cmd.Context(), c.Client(), args)
			if err != nil {
				return err
			}
			_, err = io.WriteString(c.Out, lockText(r))
			return err
		},
	}
}

const textLockLong = `Forgets every step-up token and revokes it at Vault, and cancels every open
question, as if it had been denied. The agent goes on running.

With RULE, the name of a step_up block, it does that for this rule alone.`

func lock(ctx context.Context, client *control.Client, args []string) (control.LockResult, error) {
	switch {
	case len(args) == 0:
		return client.Lock(ctx)
	case args[0] == "":
		// An empty variable of a script must not lock more than was meant.
		return control.LockResult{}, cli.Usage(errors.New("the name of the rule is empty"), "`stepup lock` alone locks every rule")
	}
	r, err := client.LockRule(ctx, args[0])
	if errors.Is(err, control.ErrNoRule) {
		return r, cli.Usage(fmt.Errorf("no rule %s", cli.Printable(args[0])), "`stepup status` lists the rules")
	}
	return r, err
}

func lockText(r control.LockResult) string {
	var done []string
	add := func(n int, thing, verb string) {
		if n > 0 {
			done = append(done, cli.Counted(n, thing)+" "+verb)
		}
	}
	if r.Revoked == r.Forgotten {
		add(r.Forgotten, "token", "revoked and forgotten")
	} else {
		add(r.Revoked, "token", "revoked")
		add(r.Forgotten, "token", "forgotten")
	}
	add(r.Prompts, "question", "cancelled")
	if len(done) == 0 {
		done = []string{"there were no tokens and no questions"}
	}
	text := "locked: " + strings.Join(done, ", ") + "\n"
	for _, note := range r.Notes {
		text += "note: " + cli.Printable(note) + "\n"
	}
	return text
}

// Resume is stepup resume.
func Resume(c *cli.Console) *cobra.Command {
	return &cobra.Command{
		Use: "resume", Short: "be asked again after questions were denied or not answered", Long: textResumeLong, Args: cli.Takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := c.Client().Resume(cmd.Context())
			if err != nil {
				return err
			}
			_, err = io.WriteString(c.Out, resumeText(r))
			return err
		},
	}
}

const textResumeLong = `After a question that was denied or not answered, and after wrong codes, there
is a cool-down: for a while such requests are refused without a question. This
command ends every cool-down.

After three questions in ten minutes that were denied or not answered, a rule
is muted: its requests are refused without a question. An accepted second factor
ends that, and so does this command. It works once in ten minutes, and the audit
log says which process ran it: any program of your user can.`

func resumeText(r control.Resumed) string {
	var done []string
	if r.Rules > 0 {
		done = append(done, cli.Counted(r.Rules, "rule")+" may ask again")
	}
	if r.Pauses > 0 {
		done = append(done, cli.Counted(r.Pauses, "cool-down")+" ended")
	}
	if len(done) == 0 {
		return "no rule was muted or in a cool-down\n"
	}
	return "resumed: " + strings.Join(done, ", ") + "\n"
}
