package prompt

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"time"
)

// An entry is one prompt from the moment it is asked until it is off every
// screen.
type entry struct {
	given    Request // as it came
	request  Request // sanitised; never changes but for ID and, under the broker's mu, Deadline
	created  time.Time
	withdraw context.CancelCauseFunc // takes it from the prompters, with the reason

	first   chan struct{} // closed when the prompters are free for it; a new one when it is put aside
	again   chan struct{} // holds one element when it has a new turn, after its last one is over
	noticed chan struct{} // closed when a person attached or listed the prompts
	done    chan struct{} // closed when decided; answer and err are final then
	hidden  chan struct{} // closed when no prompter shows it any more
	denied  chan struct{} // closed when a person refused it, or all were cancelled

	shown sync.WaitGroup // one for each prompter that has it on the screen
	// Guarded by the broker's mu.
	shownBefore bool                    // the prompters had it
	asking      int                     // prompters that may still bring an answer
	closedOn    []string                // the prompters that a person closed it on
	putAside    context.CancelCauseFunc // takes it from the prompters, and it stays open; nil where they do not have it
	updates     []chan int              // of the prompters that have it: how many others wait
	listed      bool                    // a person saw it in a list
	failed      *ProgramError           // of a program that was to ask

	by     string // the prompter that got the answer or denial; "" where none did
	answer string
	err    error
	left   func() bool // the caller has left
}

// An ending is how an entry was decided.
type ending struct {
	event string // for the watchers
	err   error  // for the caller of Ask
	cause error  // for the prompters that still show it
}

// failed is an ending for the same reason on every side.
func failed(event string, err error) ending { return ending{event, err, err} }

// markNoticedLocked notes that a person saw e in a list.
func (e *entry) markNoticedLocked() {
	if !isClosed(e.noticed) {
		close(e.noticed)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// enqueue makes r pending and starts the goroutine that delivers it to the
// prompters.
func (b *Broker) enqueue(ctx context.Context, r Request) (*entry, error) {
	e := &entry{
		given:   r,
		request: r.Sanitized(),
		first:   make(chan struct{}),
		again:   make(chan struct{}, 1),
		noticed: make(chan struct{}),
		done:    make(chan struct{}),
		hidden:  make(chan struct{}),
		denied:  make(chan struct{}),
		left:    func() bool { return ctx.Err() != nil },
	}
	// The prompters' context outlives the caller's by design: deciding the entry ends it,
	// and gives the reason.
	show, withdraw := context.WithCancelCause(context.WithoutCancel(ctx))
	e.withdraw = withdraw

	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.admitLocked(e); err != nil {
		withdraw(err)
		return nil, err
	}
	b.shows.Go(func() { b.deliver(show, e) })
	if r.Kind == Push {
		b.shows.Go(func() { b.expire(ctx, e) })
	}
	return e, nil
}

func (b *Broker) admitLocked(e *entry) error {
	if b.closed {
		return ErrCanceled
	}
	if len(b.pending) >= b.config.MaxPending {
		return ErrBusy
	}
	e.created = b.config.Now()
	latest := e.created.Add(b.config.Timeout)
	if start := e.request.NotBefore; start.After(e.created) {
		latest = start.Add(b.config.Timeout)
	}
	// Approving on a phone takes time, and setting one up too.
	slow := e.request.Kind == Push || e.request.Enrolment != nil
	if d := e.request.Deadline; d.IsZero() || (d.After(latest) && !slow) {
		e.request.Deadline = latest
	}
	// Wall clock: the deadline that is shown must not depend on how long we slept.
	e.request.Deadline = e.request.Deadline.Round(0)
	e.request.ID = b.newIDLocked()
	if b.attached > 0 {
		close(e.noticed)
	}
	b.pending = append(b.pending, e)
	if e.request.Kind == Push {
		close(e.first)
		b.publishLocked(EventTold, b.viewLocked(e))
		return nil
	}
	b.queue = append(b.queue, e)
	b.publishLocked(EventPrompt, b.viewLocked(e))
	b.advanceLocked()
	if b.showing != nil && len(b.showing.closedOn) > 0 {
		b.putAsideLocked(b.showing)
	}
	b.updateLocked()
	return nil
}

// updateLocked lets the question that is shown say how many others wait.
func (b *Broker) updateLocked() {
	if b.showing == nil || isClosed(b.showing.done) {
		return
	}
	for _, updates := range b.showing.updates {
		select {
		case <-updates: // it is old
		default:
		}
		updates <- len(b.queue) // there is room: nothing is put there without the lock
	}
}

type updatesKey struct{}

// Updates returns a channel with the newest [Request.Queued] of the question that a prompter
// is called for, where that changes while it is shown; nil where it never does.
func Updates(ctx context.Context) <-chan int {
	updates, _ := ctx.Value(updatesKey{}).(chan int)
	return updates
}

// WithUpdates returns ctx for a prompter that is called with these updates.
func WithUpdates(ctx context.Context, updates chan int) context.Context {
	return context.WithValue(ctx, updatesKey{}, updates)
}

// deliver hands e to the prompters when it is first in the queue. When none of them can
// show it, it waits for a person to attach.
func (b *Broker) deliver(ctx context.Context, e *entry) {
	defer close(e.hidden)
	for again := true; again; {
		select {
		case <-b.turn(e):
		case <-e.done:
		}
		// A caller that has left is about to end its question: it must not flash up.
		if !isClosed(e.done) && !e.left() {
			b.show(ctx, e)
		}
		// The next question comes only now: two at a time on one screen would mix.
		again = b.release(e)
		// One whose caller has left ends by that, not for want of a prompter.
		if !again && e.request.Kind != Push && !e.left() {
			again = b.awaitAttach(e)
		}
	}
	<-e.done
	b.release(e) // it may have got a turn at the moment of its end
	e.shown.Wait()
}

// awaitAttach ends a question that no prompter shows, unless a person attaches or lists
// the prompts within the grace period. A terminal that is attached is a way to ask, also
// where the configuration does not wait for one. again reports that the person wants it
// shown once more; else the question is decided.
func (b *Broker) awaitAttach(e *entry) (again bool) {
	b.mu.Lock()
	attachable, grace := b.config.Attachable || b.attached > 0, b.config.Grace
	b.mu.Unlock()
	if attachable {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-e.done:
			return false
		case <-e.again:
			return true
		case <-e.noticed: // it stays open until its deadline
			select {
			case <-e.done:
				return false
			case <-e.again:
				return true
			}
		case <-timer.C:
		}
	}
	b.mu.Lock()
	closed, program, over := e.closedOn, e.failed, !b.config.Now().Before(e.request.Deadline)
	b.mu.Unlock()
	switch {
	case over: // and the prompters have noticed that first
		b.decide(e, failed(EventTimeout, ErrTimeout))
	case len(closed) > 0:
		b.decide(e, failed(EventDismissed, ErrDismissed))
	case program != nil:
		b.decide(e, failed(EventUnavailable, program))
	default:
		b.decide(e, failed(EventUnavailable, ErrUnavailable))
	}
	return false
}

// programFailed remembers why a program did not ask.
func (b *Broker) programFailed(e *entry, err *ProgramError) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.failed = err
}

// markNotified notes that the person reads how to answer e from a terminal: that is a
// way to be asked.
func (b *Broker) markNotified(e *entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.config.Attachable {
		e.markNoticedLocked()
	}
}

// turn is closed when the prompters are free for e.
func (b *Broker) turn(e *entry) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return e.first
}

// dismissed remembers that the person closed e on one prompter. Where another question waits,
// that one is shown at once, everywhere: "not now" must not keep it out of sight for as long
// as e is open somewhere else.
func (b *Broker) dismissed(e *entry, prompter string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.closedOn = append(e.closedOn, prompter)
	switch {
	case b.showing != e || len(b.queue) == 0:
	case e.asking > 1: // another prompter has it, too
		b.putAsideLocked(e)
	case b.attached > 0:
		b.publishPutAsideLocked(e)
	}
}

// putAsideLocked takes e from the prompters and from attached terminals. It comes again, where
// it was not closed, when the others are decided. Its time goes on.
func (b *Broker) putAsideLocked(e *entry) {
	if e.putAside == nil || isClosed(e.done) {
		return
	}
	e.putAside(ErrPutAside)
	e.putAside = nil
	e.first = make(chan struct{})
	b.queue = append(b.queue, e)
	b.publishPutAsideLocked(e)
}

// reopen shows e on every prompter anew, before all others: the person has closed its window,
// or lost sight of it, and wants to answer now.
func (b *Broker) reopen(e *entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if isClosed(e.done) {
		return
	}
	e.closedOn = nil
	if e.putAside != nil {
		e.putAside(ErrReopened)
		e.putAside = nil
	}
	e.first = make(chan struct{})
	b.queue = slices.Insert(slices.DeleteFunc(b.queue, func(x *entry) bool { return x == e }), 0, e)
	switch b.showing {
	case e: // release lets it have the next turn
		return
	case nil:
		b.advanceLocked()
	default:
		b.putAsideLocked(b.showing)
	}
	select {
	case e.again <- struct{}{}:
	default: // it has a new turn already
	}
}

// publishPutAsideLocked has attached terminals put e behind the questions that wait.
func (b *Broker) publishPutAsideLocked(e *entry) {
	r := b.viewLocked(e)
	b.publishLocked(EventPutAside, r)
	b.publishLocked(EventPrompt, r)
}

// release gives the prompters to the next question. again reports that e was put aside.
func (b *Broker) release(e *entry) (again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.showing == e {
		b.showing = nil
	}
	if len(e.open(b.config.Prompters)) == 0 { // closed everywhere: it does not come again
		b.queue = slices.DeleteFunc(b.queue, func(x *entry) bool { return x == e })
	}
	again = slices.Contains(b.queue, e)
	b.advanceLocked()
	return again
}

// open are the prompters that e was not closed on.
func (e *entry) open(all []Named) []Named {
	return slices.DeleteFunc(slices.Clone(all), func(p Named) bool { return slices.Contains(e.closedOn, p.Name) })
}

func (b *Broker) advanceLocked() {
	if b.showing != nil || len(b.queue) == 0 {
		return
	}
	b.showing, b.queue = b.queue[0], b.queue[1:]
	if !b.showing.shownBefore {
		b.restartLocked(b.showing)
	}
	b.showing.shownBefore = true
	close(b.showing.first)
}

// restartLocked gives e, whose turn it is, the time that it had when it was asked: waiting
// behind other questions is not the person's doing.
func (b *Broker) restartLocked(e *entry) {
	if waited := b.config.Now().Sub(e.created); waited > 0 {
		e.request.Deadline = e.request.Deadline.Add(waited)
	}
}

// accept decides e by an answer that a prompter got, if the answer fits and e is undecided.
func (b *Broker) accept(e *entry, by, answer string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.acceptLocked(e, by, answer)
}

func (b *Broker) acceptLocked(e *entry, by, answer string) error {
	if isClosed(e.done) {
		return ErrUnknown
	}
	// Timers stand still while the machine sleeps: an answer counts by the clock.
	if b.config.Now().Round(0).After(e.request.Deadline) {
		b.decideLocked(e, failed(EventTimeout, ErrTimeout))
		return ErrUnknown
	}
	clean, err := Check(e.request, answer)
	if err == ErrDenied { //nolint:errorlint // Check returns it bare
		e.by = by
		b.decideLocked(e, failed(EventDenied, ErrDenied))
		return nil
	}
	if err != nil {
		return err
	}
	e.by = by
	e.answer = e.given.ChoiceAsGiven(clean)
	b.decideLocked(e, ending{EventAnswered, nil, ErrElsewhere})
	return nil
}

// decide ends e unless it is decided already.
func (b *Broker) decide(e *entry, v ending) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !isClosed(e.done) {
		b.decideLocked(e, v)
	}
}

// decideLocked ends e; the caller knows that it is undecided.
func (b *Broker) decideLocked(e *entry, v ending) {
	is := func(x *entry) bool { return x == e }
	b.pending = slices.DeleteFunc(b.pending, is)
	b.queue = slices.DeleteFunc(b.queue, is)
	e.err = v.err
	if b.config.OnEnd != nil { // before any caller can act on the end
		b.config.OnEnd(e.request.Kind, v.event, b.config.Now().Sub(e.created))
	}
	close(e.done)
	if v.event == EventDenied || v.err == ErrCanceled { //nolint:errorlint // an ending's own value
		close(e.denied)
	}
	e.withdraw(v.cause)
	b.updateLocked()
	r := b.viewLocked(e)
	if d, ok := v.cause.(Decided); ok { //nolint:errorlint // likewise
		r.Message = d.Message
	}
	b.publishLocked(v.event, r)
}

// viewLocked returns the request of e for the outside: a copy with its own slices.
func (b *Broker) viewLocked(e *entry) Request {
	r := e.request
	r.Choices, r.Keeps = slices.Clone(r.Choices), slices.Clone(r.Keeps)
	r.Requester.Chain = slices.Clone(r.Requester.Chain)
	r.Requester.MayBe = slices.Clone(r.Requester.MayBe)
	for _, q := range b.queue {
		if q != e {
			r.Queued++
		}
	}
	return r
}

func (b *Broker) findLocked(id string) *entry {
	id = strings.ToLower(strings.TrimSpace(id))
	for _, e := range b.pending {
		if e.request.ID == id {
			return e
		}
	}
	return nil
}

// newIDLocked returns 30 random bits that are easy to read out and to type: no l,
// o, 0 or 1. It is not a secret, but a program must not answer by guessing.
func (b *Broker) newIDLocked() string {
	const alphabet = "abcdefghijkmnpqrstuvwxyz23456789"
	for {
		var raw [6]byte
		rand.Read(raw[:]) // never fails
		for i := range raw {
			raw[i] = alphabet[raw[i]%byte(len(alphabet))]
		}
		if id := string(raw[:]); b.findLocked(id) == nil {
			return id
		}
	}
}
