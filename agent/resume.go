package agent

import (
	"context"
	"fmt"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/peer"
)

// resume ends the silence after three denials, for the control socket. Any process of
// the user can call it, as it can run `stepup`: so it counts once in ten minutes, and
// the log and the audit log say which process it was.
func (a *Agent) resume(ctx context.Context) (control.Resumed, error) {
	ended, wait := a.state.Denials.Resume()
	caller := peer.FromContext(ctx)
	switch {
	case wait > 0:
		a.options.Log.Warn("not resumed: that was done in the last ten minutes", "pid", caller.PID, "exe", caller.Exe)
		return control.Resumed{}, &control.TooSoonError{Wait: wait}
	case ended > 0:
		a.options.Log.Warn("resumed: prompts are shown again", "rules", ended, "pid", caller.PID, "exe", caller.Exe)
		a.record(audit.Record{Event: audit.Resumed, Requester: caller})
	}
	return control.Resumed{Rules: ended}, nil
}

// notesSilent are notes of the status, one for each topic that is no longer asked about.
func notesSilent(topics []string) (notes []string) {
	for _, topic := range topics {
		notes = append(notes, fmt.Sprintf("%q was denied or left unanswered three times in ten minutes: nobody is asked about it until `stepup resume`", topic))
	}
	return notes
}
