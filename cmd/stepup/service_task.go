package main

import (
	"context"
	"errors"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// taskScheduler is that of Windows. A task is the person's to register: it is
// printed, with the command that does so.
type taskScheduler struct{}

func (taskScheduler) install(context.Context, servicePlan, bool) error {
	return &cli.Error{Err: errServiceTask, Hint: "in PowerShell: Register-ScheduledTask -TaskName stepup -Xml (stepup service print | Out-String)"}
}

func (taskScheduler) uninstall(context.Context, bool) error {
	return &cli.Error{Err: errServiceTask, Hint: "in PowerShell: Unregister-ScheduledTask -TaskName stepup"}
}

func (taskScheduler) state(context.Context) (serviceState, error) {
	return serviceState{manager: "the task scheduler", unknown: true, doing: textServiceTaskState}, nil
}

// Its texts.
const (
	textServiceTaskState = "unknown: `schtasks /Query /TN stepup` shows the task"
)

var (
	errServiceTask = errors.New("on Windows the task is yours to register; this command does not")
)
