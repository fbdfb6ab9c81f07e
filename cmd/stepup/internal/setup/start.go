package setup

import (
	"context"

	"github.com/vault-stepup/stepup/agent"
)

// A Running agent is in this process.
type Running struct {
	*agent.Agent
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Run; read after ended is closed
}

// Start runs an agent and returns when it serves. The caller stops it: the end of ctx
// ends only the start, so that a signal does not take the agent from under a request.
func Start(ctx context.Context, c agent.Config, o agent.Options) (*Running, error) {
	ready := make(chan struct{})
	o.Ready = func() { close(ready) }
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &Running{Agent: agent.New(c, o), cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = r.Run(life)
	}()
	select {
	case <-ready:
		return r, nil
	case <-r.ended:
		return nil, r.Stop()
	case <-ctx.Done():
		_ = r.Stop()
		return nil, ctx.Err()
	}
}

// Stop ends the agent, and returns what it failed with.
func (r *Running) Stop() error {
	r.cancel()
	<-r.ended
	return r.err
}
