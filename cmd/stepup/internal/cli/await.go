package cli

import (
	"context"
	"path/filepath"

	"github.com/vault-stepup/stepup/agent/listener"
	"github.com/vault-stepup/stepup/agent/pathwatch"
	"github.com/vault-stepup/stepup/config/paths"
)

// AgentProcess is the number of the agent's process, 0 when none runs. It does not connect:
// that could start an agent which a person has just stopped.
func (c *Console) AgentProcess() int {
	for _, dir := range paths.RuntimeDirs(c.Env) {
		if pid := listener.LockHolder(dir); pid != 0 {
			return pid
		}
	}
	return 0
}

// AwaitAgent waits until done is true of the number of the agent's process, and returns it.
// It fails when ctx ends before.
func (c *Console) AwaitAgent(ctx context.Context, done func(pid int) bool) (pid int, err error) {
	var locks []string
	for _, dir := range paths.RuntimeDirs(c.Env) {
		locks = append(locks, filepath.Join(dir, listener.LockName))
	}
	watcher := pathwatch.New(locks...)
	watching, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); watcher.Run(watching) }()
	defer func() { cancel(); <-ended }()
	for {
		if pid = c.AgentProcess(); done(pid) {
			return pid, nil
		}
		select {
		case <-watcher.Changed():
		case <-ctx.Done():
			return pid, ctx.Err()
		}
	}
}
