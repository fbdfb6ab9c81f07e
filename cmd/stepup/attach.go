package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/control"
)

func (a *app) attachCommand() *cobra.Command {
	return &cobra.Command{
		Use: "attach", Short: textAttach, Long: textAttachLong, Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runAttach(cmd.Context()) },
	}
}

// runAttach answers prompts until the person leaves. It does not connect again
// when the agent restarts: who is asked by which agent must not change without
// the person's doing.
func (a *app) runAttach(ctx context.Context) error {
	client := a.client()
	if err := haveTerminal(); err != nil {
		if gone := reach(ctx, client); gone != nil {
			return gone
		}
		return &hinted{error: err, hint: hintNoTerminal}
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
	s := &session{terminal: a.newTerminal(), agent: client, notify: a.notify, leave: leave, now: time.Now}
	s.watching = func() { a.notify(textAttached) }
	err = s.run(ctx, events)
	if ctx.Err() != nil {
		a.notify(textLeft)
		return nil
	}
	return a.disconnected(client, err)
}

// reach fails when no agent is there. It is not a look at the prompts, which
// would make the agent wait for an answer.
func reach(ctx context.Context, client *control.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, err := client.Events(ctx, false)
	return err
}

// disconnected tells an agent that has ended from one that has let us go,
// because we did not read (stopped by ctrl-z).
func (a *app) disconnected(client *control.Client, err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	switch again := reach(ctx, client); {
	case errors.Is(again, control.ErrNoAgent):
		return &hinted{error: errAgentStopped, hint: hintAttachLater, code: exitNoAgent}
	case err == nil:
		err = errDropped
	}
	return &hinted{error: err, hint: hintAttachAgain}
}
