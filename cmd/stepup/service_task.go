package main

import "context"

// taskScheduler is that of Windows. A task is the person's to register: it is
// printed, with the command that does so.
type taskScheduler struct{}

func (taskScheduler) install(context.Context, servicePlan, bool) error {
	return &hinted{error: errServiceTask, hint: hintServiceTask}
}

func (taskScheduler) uninstall(context.Context, bool) error {
	return &hinted{error: errServiceTask, hint: hintServiceTaskGone}
}

func (taskScheduler) state(context.Context) (serviceState, error) {
	return serviceState{manager: "the task scheduler", unknown: true, doing: textServiceTaskState}, nil
}
