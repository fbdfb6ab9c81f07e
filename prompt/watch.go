package prompt

import "context"

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
// for each prompt that is open. With attach, the watcher counts as a person who
// answers: questions that no prompter can show wait for it. The channel is closed when ctx ends,
// when the broker closes, and when the reader has fallen too far behind; the
// broker never waits for it.
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
