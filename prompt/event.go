package prompt

import (
	"errors"
	"time"
)

// The types of an [Event]; they are sent over the control socket, so their
// texts are a promise.
const (
	EventPrompt      = "prompt"      // a question is pending
	EventTold        = "told"        // the person was told of a push, which takes no answer
	EventAnswered    = "answered"    // an answer was accepted
	EventDenied      = "denied"      // the person said no
	EventTimeout     = "timeout"     // the deadline passed
	EventCanceled    = "canceled"    // the caller has left, or all were cancelled
	EventUnavailable = "unavailable" // no prompter could ask
	EventDismissed   = "dismissed"   // the person closed it everywhere without an answer
	EventDone        = "done"        // a push, or a question beside one, was decided by the phone; Request.Message says how
)

// An Event is one change of the pending prompts.
type Event struct {
	Time    time.Time
	Type    string  // one of the Event constants
	Request Request // sanitised; the answer is never in it, an Enrolment only for watchers that attach
}

// Ended reports whether the event ends its prompt.
func (e Event) Ended() bool { return e.Type != EventPrompt && e.Type != EventTold }

// Reasons for which the broker takes a question from a prompter, as
// [context.Cause] tells them; the others are ErrDenied, ErrTimeout, ErrCanceled
// and Decided.
var (
	// ErrElsewhere: another prompter was faster.
	ErrElsewhere = errors.New("answered elsewhere")
	// ErrNotNeeded: the caller has left.
	ErrNotNeeded = errors.New("no longer needed")
)

// Decided is the reason for which a push notice ends, and a question that a push
// has answered.
type Decided struct {
	Message string // how, for the person; may be ""
}

func (d Decided) Error() string { return "push was decided: " + d.Message }

// Cause returns the reason for which a prompter that shows the event's prompt
// elsewhere (stepup attach) must take it back: the same that the broker gives to
// its own prompters. It is nil when the prompt has not ended.
func (e Event) Cause() error {
	switch e.Type {
	case EventPrompt, EventTold:
		return nil
	case EventAnswered:
		return ErrElsewhere
	case EventDenied:
		return ErrDenied
	case EventDismissed:
		return ErrDismissed
	case EventTimeout:
		return ErrTimeout
	case EventUnavailable:
		return ErrUnavailable
	case EventDone:
		return Decided{Message: e.Request.Message}
	}
	return ErrNotNeeded
}
