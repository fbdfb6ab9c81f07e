// Package attach is stepup attach, prompts, answer and deny: the commands about the
// prompts of the agent.
package attach

import (
	"context"
	"errors"
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
		Use: "attach", Short: "answer the agent's prompts on this terminal", Long: textAttachLong, Args: cli.Takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return runAttach(cmd.Context(), c) },
	}
}

// runAttach answers prompts until the person leaves. It does not connect again
// when the agent restarts: the agent that asks must not change unless the person
// attaches again.
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
	s := &answering.Session{Terminal: newTerminal(c), Agent: client, Notify: c.Notify, Leave: leave, Now: time.Now}
	s.Watching = func() { c.Notify(textAttached) }
	err = s.Run(ctx, events)
	if ctx.Err() != nil {
		c.Notify("\nstepup: no longer attached")
		return nil
	}
	return disconnected(client, err)
}

// findAgent fails when no agent is there. It is not a look at the prompts, which
// would make the agent wait for an answer.
func findAgent(ctx context.Context, client *control.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, err := client.Events(ctx, false)
	return err
}

// disconnected distinguishes an agent that has ended from one that has closed the stream,
// because we did not read (stopped by ctrl-z).
func disconnected(client *control.Client, err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), cli.CallTimeout)
	defer cancel()
	switch again := findAgent(ctx, client); {
	case errors.Is(again, control.ErrNoAgent):
		return &cli.Error{Err: errors.New("the agent has stopped"), Hint: "start it with `stepup agent`, then attach again", Code: cli.ExitNoAgent}
	case err == nil:
		err = errDropped
	}
	return &cli.Error{Err: err, Hint: hintAttachAgain}
}

// The help, and texts of several places.
const (
	textAttachLong = `Shows the agent's prompts on this terminal, one after the other, and sends what
you type. It is one more way to be asked, beside those of the configuration:
the first answer counts, and a prompt that is answered elsewhere goes away.

ctrl-c   says no to the prompt on the screen; a second one within a second,
         or one while nothing is asked, leaves
ctrl-d   leaves the prompt open for another place to answer

Exits with 0 when you leave and with 4 when the agent stops; it does not wait
for the agent to come back.`

	hintAttachAgain = "run `stepup attach` again"
	textAttached    = "stepup: waiting for prompts (ctrl-c says no to one, and leaves when there is none)"
)

var errDropped = errors.New("the agent has closed the connection")
