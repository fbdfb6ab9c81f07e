// Package attach is stepup attach, prompts, answer and deny: the commands about the
// prompts of the agent.
package attach

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/answering"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

func attachCommand(c *cli.Console) *cobra.Command {
	return &cobra.Command{
		Use: "attach", Short: "answer the agent's questions on this terminal", Long: textAttachLong, Args: cli.Takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return runAttach(cmd.Context(), c) },
	}
}

// runAttach answers prompts until the person leaves. When the agent stops, it waits for the
// next one of the same user.
func runAttach(ctx context.Context, c *cli.Console) error {
	client := c.Client()
	if err := haveTerminal(); err != nil {
		if gone := findAgent(ctx, client); gone != nil {
			return gone
		}
		return &cli.Error{Err: err, Hint: "without a terminal, use `stepup prompts` and `stepup answer ID`"}
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends us at once
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	events, err := client.Events(ctx, true)
	if err != nil {
		return err
	}
	attachment := answering.Attachment{
		Console: c, Client: client, Notify: c.Notify,
		Session: func() *answering.Session {
			return &answering.Session{
				Terminal: newTerminal(c), Agent: client, Notify: c.Notify, Leave: leave, Now: time.Now,
				Watching: func() { c.Notify(textAttached) },
			}
		},
		Again: func(_ context.Context, pid int) error {
			c.Notify("stepup: attached again, to the agent with process number %d", pid)
			return nil
		},
	}
	if err := attachment.Stay(ctx, events); err != nil {
		return &cli.Error{Err: err, Hint: hintAttachAgain}
	}
	c.Notify("\nstepup: no longer attached")
	return nil
}

// findAgent fails when no agent is there. It is not a look at the prompts, which
// would make the agent wait for an answer.
func findAgent(ctx context.Context, client *control.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, err := client.Events(ctx, false)
	return err
}

// The help, and texts of several places.
const (
	textAttachLong = `Shows the agent's questions on this terminal, one after the other, and sends
what you type. It is one more way to be asked, beside those of the
configuration: the first answer counts, and a question that is answered
elsewhere goes away.

ctrl-c   says no to the question on the screen; a second one within a second,
         or one while nothing is asked, leaves
ctrl-d   leaves the question open for another place to answer

When the agent stops, it waits, and goes on with the next one. Exits with 0 when
you leave, and with 4 when no agent runs at the beginning.`

	hintAttachAgain = "run `stepup attach` again"
	textAttached    = "stepup: waiting for questions (ctrl-c denies one, and leaves when there is none)"
)
