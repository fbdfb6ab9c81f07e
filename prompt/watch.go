package prompt

import (
	"context"
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
	EventPutAside    = "put_aside"   // another question is shown first; EventPrompt follows for the same prompt
	EventDone        = "done"        // a push, or a question beside one, was decided by the phone; Request.Message says how
)

// An Event is one change of the pending prompts. The JSON tags are those of the control
// socket.
type Event struct {
	Time    time.Time `json:"time"`
	Type    string    `json:"type"`            // one of the Event constants
	Request Request   `json:"prompt,omitzero"` // sanitised; the answer is never in it, an Enrolment only for watchers that attach
}

// Ended reports whether the event takes its prompt off the screen: it is decided, or comes
// again later.
func (e Event) Ended() bool { return e.Type != EventPrompt && e.Type != EventTold }

// Reasons for which the broker takes a question from a prompter, as
// [context.Cause] tells them; the others are ErrDenied, ErrTimeout, ErrCanceled
// and Decided.
var (
	// ErrElsewhere: another prompter was faster.
	ErrElsewhere = errors.New("answered elsewhere")
	// ErrPutAside: another question is shown first, and this one after it.
	ErrPutAside = errors.New("put aside")
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
	case EventPutAside:
		return ErrPutAside
	case EventDone:
		return Decided{Message: e.Request.Message}
	}
	return ErrNotNeeded
}

// watchBuffer is how many events a watcher may be behind; a person's prompts come slowly, so
// one that is further behind has stopped reading.
const watchBuffer = 64

// A watcher is one receiver of events.
type watcher struct {
	events chan Event
	attach bool
	stop   func() bool // ends the watch of its context
}

// event returns what this watcher may see of e: the secret of an enrolment goes only to
// a watcher that can answer.
func (w *watcher) event(e Event) Event {
	if !w.attach || e.Ended() {
		e.Request = e.Request.withoutSecret()
	}
	return e
}

// Watch returns the changes of the pending prompts from now on, after one event
// for each prompt that is open. With attach, the watcher can answer: questions that no
// prompter can show wait for it. The channel is closed when ctx ends, when the broker
// closes, and when the reader has fallen too far behind; the broker never waits for it.
func (b *Broker) Watch(ctx context.Context, attach bool) <-chan Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := &watcher{events: make(chan Event, len(b.pending)+watchBuffer), attach: attach}
	if b.closed || ctx.Err() != nil {
		close(w.events)
		return w.events
	}
	for _, e := range b.pending {
		kind := EventPrompt
		if e.request.Kind == Push {
			kind = EventTold
		}
		if attach {
			e.markNoticedLocked()
		}
		w.events <- w.event(Event{Time: b.config.Now(), Type: kind, Request: b.viewLocked(e)})
	}
	b.watchers[w] = struct{}{}
	if attach {
		b.attached++
	}
	w.stop = context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.dropLocked(w)
	})
	return w.events
}

// Attached returns the number of watchers that can answer.
func (b *Broker) Attached() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.attached
}

func (b *Broker) dropLocked(w *watcher) {
	if _, ok := b.watchers[w]; !ok {
		return
	}
	delete(b.watchers, w)
	if w.attach {
		b.attached--
	}
	w.stop()
	close(w.events)
}

func (b *Broker) publishLocked(kind string, r Request) {
	event := Event{Time: b.config.Now(), Type: kind, Request: r}
	for w := range b.watchers {
		select {
		case w.events <- w.event(event):
		default:
			b.dropLocked(w)
		}
	}
}
