package answering

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"time"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/prompt"
)

const (
	// stopTime is longer than an agent takes to stop, with all that it revokes at Vault. One
	// that is there for longer has closed the stream and goes on.
	stopTime = 15 * time.Second
	// startTry is the pause between tries to connect to an agent that is starting.
	startTry = 100 * time.Millisecond
)

// errDropped: the agent runs, and has closed the stream, because it was not read.
var errDropped = errors.New("the agent has closed the connection")

// An Attachment shows the prompts of the agent on a terminal, also of one that comes in its
// place.
type Attachment struct {
	Console *cli.Console
	Client  *control.Client
	Session func() *Session                          // makes one for each stream of events
	Notify  func(format string, args ...any)         // as that of the session
	Again   func(ctx context.Context, pid int) error // called when another agent is there

	patience time.Duration // 0 means stopTime
}

// Stay runs a session on the stream, and when the agent has stopped, on that of the next
// agent, until ctx ends. It fails with the error of the session, or errDropped, where the
// agent still runs.
func (a Attachment) Stay(ctx context.Context, events iter.Seq2[prompt.Event, error]) error {
	for {
		pid := a.Console.AgentProcess()
		broken := a.Session().Run(ctx, events)
		if ctx.Err() != nil {
			return nil
		}
		a.Notify("stepup: the agent has stopped, or let go of this terminal; waiting for it")
		stopping, cancel := context.WithTimeout(ctx, cmp.Or(a.patience, stopTime))
		_, err := a.Console.AwaitAgent(stopping, func(now int) bool { return now != pid })
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && broken != nil:
			return broken
		case err != nil:
			return errDropped
		}
		if events, err = a.next(ctx, pid); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// next connects to the agent that comes after another one.
func (a Attachment) next(ctx context.Context, before int) (iter.Seq2[prompt.Event, error], error) {
	for ctx.Err() == nil {
		pid, err := a.Console.AwaitAgent(ctx, func(now int) bool { return now != 0 && now != before })
		if err != nil {
			return nil, nil // ctx has ended
		}
		events, err := a.Client.Events(ctx, true)
		if err == nil {
			return events, a.Again(ctx, pid)
		}
		if !errors.Is(err, control.ErrNoAgent) && ctx.Err() == nil {
			return nil, err
		}
		select {
		case <-time.After(startTry): // its socket comes a moment after its lock
		case <-ctx.Done():
		}
	}
	return nil, nil
}
