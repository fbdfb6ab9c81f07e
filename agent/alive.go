package agent

import (
	"context"
	"path/filepath"
	"time"

	"github.com/vault-stepup/stepup/agent/control"
)

// Alive returns nil when the agent can still do its work: its state is not
// locked for ever, and its control socket accepts, lets us in and gets an answer
// from the prompts. It does not ask the network, Vault or the keyring: an agent
// that waits for them is alive. It returns when ctx ends.
func (a *Agent) Alive(ctx context.Context) error {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !a.mu.TryLock() {
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	running := a.running
	a.mu.Unlock()
	if !running {
		return errNotRunning
	}
	_, err := control.NewClient(filepath.Join(a.options.RuntimeDir, ControlSocket)).Prompts(ctx)
	return err
}
