package supervisor

import (
	"context"
	"errors"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/packaging"
)

// taskScheduler is that of Windows. A task is the person's to register: it is
// printed, with the command that does so.
type taskScheduler struct{}

// Install implements Supervisor: it says how to do it by hand.
func (taskScheduler) Install(context.Context, packaging.Agent, bool) error {
	return &cli.Error{Err: errTask, Hint: "in PowerShell: Register-ScheduledTask -TaskName stepup -Xml (stepup service print | Out-String)"}
}

// Uninstall implements Supervisor, like Install.
func (taskScheduler) Uninstall(context.Context, bool) error {
	return &cli.Error{Err: errTask, Hint: "in PowerShell: Unregister-ScheduledTask -TaskName stepup"}
}

// State implements Supervisor: it does not know.
func (taskScheduler) State(context.Context) (State, error) {
	return State{Manager: "the task scheduler", Unknown: true, Doing: "unknown: `schtasks /Query /TN stepup` shows the task"}, nil
}

var errTask = errors.New("on Windows the task is yours to register; this command does not")
