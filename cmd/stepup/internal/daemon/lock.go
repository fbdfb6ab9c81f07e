package daemon

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// Lock is stepup lock.
func Lock(c *cli.Console) *cobra.Command {
	return &cobra.Command{
		Use: "lock", Short: "revoke and forget every step-up token, cancel every prompt", Long: textLockLong, Args: cli.Takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := c.Client().Lock(cmd.Context())
			if err != nil {
				return err
			}
			_, err = io.WriteString(c.Out, lockText(r))
			return err
		},
	}
}

const textLockLong = `Forgets every step-up token and revokes it at Vault, and cancels every open
prompt, as if it had been denied. The agent goes on running.`

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
	add(r.Prompts, "prompt", "cancelled")
	if len(done) == 0 {
		done = []string{"there were no tokens and no prompts"}
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
		Use: "resume", Short: "be asked again after three prompts were denied or not answered", Long: textResumeLong, Args: cli.Takes(0),
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

const textResumeLong = `After three prompts in ten minutes that were denied or not answered, a rule
is muted: its requests are refused without a prompt. An accepted second factor
ends that, and so does this command. It works once in ten minutes, and the audit
log says which process ran it: any program of your user can.`

func resumeText(r control.Resumed) string {
	if r.Rules == 0 {
		return "no rule was muted\n"
	}
	return "resumed: " + cli.Counted(r.Rules, "rule") + " may ask again\n"
}
