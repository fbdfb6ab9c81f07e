package stepup

import (
	"context"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/prompt"
)

// tell shows the person what the request waits for: at first, and whenever
// somebody has approved. Nobody is told where the rule or the requester says so;
// the wait itself costs no attention.
func (w *groupWait) tell(app context.Context, state mfa.GroupState) {
	if w.notice != nil && len(state.By) == w.by {
		return
	}
	if _, silent := w.silent(); silent {
		return
	}
	if w.notice == nil {
		w.record(audit.Prompt, 0)
	}
	w.hide(approvedSoFar(state.By))
	w.by = len(state.By)
	told := w.fill(prompt.Request{
		Kind: prompt.Push, MethodType: prompt.ControlGroup,
		Message: waitsForApproval(w.access, w.asks.Approvers, state),
	})
	told.Deadline = told.Deadline.Add(lastWordsTime)
	w.notice = w.config.Asker.Tell(app, told)
}

// lastWordsTime keeps the broker from ending the notice before the wait does,
// which has something better to say.
const lastWordsTime = 10 * time.Second

// hide takes what the person was told off the screen.
func (w *groupWait) hide(message string) {
	if w.notice != nil {
		w.notice.Done(message)
	}
}

// denied is closed when the person no longer wants to wait.
func (w *groupWait) denied() <-chan struct{} {
	if w.notice == nil {
		return nil
	}
	return w.notice.Denied()
}

// lastWords is how the wait ended, for the person.
func (w *groupWait) lastWords() string {
	switch {
	case !isDone(w.done):
		return groupStillOpen
	case w.verdict.Outcome == mfa.Approved:
		return groupApproved
	case w.verdict.Outcome == mfa.Denied:
		return groupDeniedHere
	}
	return groupEnded
}
