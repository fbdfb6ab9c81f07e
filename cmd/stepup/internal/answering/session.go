// Package answering puts the prompts of an agent on a terminal, and sends the answers
// back.
package answering

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/prompt"
)

// leaveInterval: two denials within this time end the session.
const leaveInterval = time.Second

// A Decider takes answers and denials of prompts. [control.Client] is one.
type Decider interface {
	Answer(ctx context.Context, id, answer string) error
	Deny(ctx context.Context, id string) error
}

// A Session shows the prompts of one stream of events on a terminal.
type Session struct {
	Terminal prompt.Prompter
	Agent    Decider
	Notify   func(format string, args ...any) // writes a line beside the prompts
	Leave    context.CancelFunc               // ends the stream of events
	Now      func() time.Time

	Quiet    bool                 // prints nothing for an answer that was taken: a command's output may be there already
	Watching func()               // called when nothing is missed any more
	Unseen   func(prompt.Request) // called for a question that could not be shown; nil prints that it is open

	withdraw context.CancelCauseFunc // takes everything off the screen; set by Run

	open    map[string]context.CancelCauseFunc // by ID: takes a prompt off the screen; only Run touches it
	queue   []queued                           // the questions in their order; likewise
	aside   map[string]bool                    // by ID: it was put aside, and comes again; likewise
	notices map[string]chan struct{}           // by ID: closed when a notice is off the screen; likewise
	saying  chan struct{}                      // holds one element while an answer is on its way and "sent" is not printed
	last    chan struct{}                      // closed when the newest question is over; only Run touches it
	shown   sync.WaitGroup                     // one for each prompt
	denied  time.Time                          // handed on from question to question, one after the other
}

// Run shows every prompt until the stream ends, then takes those that are open
// off the screen and waits until they are.
func (s *Session) Run(ctx context.Context, events iter.Seq2[prompt.Event, error]) error {
	s.open, s.notices, s.aside = make(map[string]context.CancelCauseFunc), make(map[string]chan struct{}), make(map[string]bool)
	s.last, s.saying = make(chan struct{}), make(chan struct{}, 1)
	close(s.last)
	// Not the stream's own context: the terminal shows why a question goes away.
	shown, withdraw := context.WithCancelCause(context.WithoutCancel(ctx))
	s.withdraw = withdraw
	defer s.shown.Wait()
	defer withdraw(prompt.ErrUnavailable)
	// The terminal is left without waiting for the agent to notice.
	defer context.AfterFunc(ctx, func() { withdraw(prompt.ErrUnavailable) })()
	for e, err := range events {
		if err != nil {
			return err
		}
		s.event(shown, e)
	}
	return nil
}

func (s *Session) event(ctx context.Context, change prompt.Event) {
	if change.Type == control.Watching {
		s.Watching()
		return
	}
	id := change.Request.ID
	if id == "" {
		return
	}
	withdraw, known := s.open[id]
	switch {
	case change.Ended() && known:
		withdraw(change.Cause())
		delete(s.open, id)
		s.queue = slices.DeleteFunc(s.queue, func(q queued) bool { return q.id == id })
		if change.Type == prompt.EventPutAside {
			s.aside[id] = true
		}
		if off, notified := s.notices[id]; notified {
			<-off // so that what follows comes below the line that says how it ended
			delete(s.notices, id)
		}
	case !change.Ended() && !known:
		ctx, withdraw := context.WithCancelCause(ctx)
		s.open[id] = withdraw
		s.show(ctx, change)
	}
	s.update()
}

// A queued question is on the terminal, or behind others.
type queued struct {
	id     string
	behind chan int // how many are behind it, for the terminal
}

// update lets the question that is shown say how many others wait.
func (s *Session) update() {
	for i, q := range s.queue {
		select {
		case <-q.behind: // it is old
		default:
		}
		q.behind <- len(s.queue) - 1 - i // there is room: nothing else puts anything there
	}
}

// show starts the goroutine of a prompt. Questions come one after the other, in
// their order; a notice comes at once.
func (s *Session) show(ctx context.Context, e prompt.Event) {
	if e.Type == prompt.EventTold {
		off := make(chan struct{})
		s.notices[e.Request.ID] = off
		s.shown.Go(func() {
			defer close(off)
			s.tell(ctx, e.Request)
		})
		return
	}
	before, over, came, again := s.last, make(chan struct{}), s.Now(), s.aside[e.Request.ID]
	s.last = over
	delete(s.aside, e.Request.ID)
	behind := make(chan int, 1)
	s.queue = append(s.queue, queued{e.Request.ID, behind})
	ctx = prompt.WithUpdates(ctx, behind)
	s.shown.Go(func() {
		defer close(over)
		<-before
		select {
		case e.Request.Queued = <-behind:
		default:
		}
		if !again {
			// The agent counts the time of a question from its turn on, too.
			e.Request.Deadline = e.Request.Deadline.Add(s.Now().Sub(came))
		}
		s.ask(ctx, e.Request)
	})
}

func (s *Session) tell(ctx context.Context, r prompt.Request) {
	// A notice that an answer causes comes after the line that the answer was sent.
	select {
	case s.saying <- struct{}{}:
		<-s.saying
	case <-ctx.Done():
	}
	if _, err := s.Terminal.Prompt(ctx, r); ctx.Err() == nil && err != nil {
		s.Notify("stepup: a notice cannot be shown: %v", err)
	}
}

// ask puts one question until the agent takes the answer, or it is withdrawn.
func (s *Session) ask(ctx context.Context, r prompt.Request) {
	for {
		answer, err := s.Terminal.Prompt(ctx, r)
		switch {
		case err == nil:
			if s.sent(ctx, r, answer) {
				return
			}
			r.Message = textAskAgain
		case errors.Is(err, prompt.ErrDenied):
			s.deny(ctx, r)
			return
		case ctx.Err() != nil:
			return // the terminal has shown why
		case s.Unseen != nil && errors.Is(err, ErrNotShown):
			s.Unseen(r)
			return
		default:
			s.Notify("  Still open: stepup answer %s", r.ID)
			return
		}
	}
}

// sent reports whether the question is over.
func (s *Session) sent(ctx context.Context, r prompt.Request, answer string) bool {
	// What was typed in time is sent, even when the person leaves meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cli.CallTimeout)
	defer cancel()
	s.saying <- struct{}{}
	defer func() { <-s.saying }()
	err := s.Agent.Answer(ctx, r.ID, answer)
	switch {
	case err == nil && s.Quiet:
	case err == nil:
		s.Notify(textSent)
	case errors.Is(err, prompt.ErrAnswer):
		return false
	case errors.Is(err, prompt.ErrUnknown):
		s.Notify(textTooLate)
	default:
		s.Notify(textNotSent, err)
	}
	return true
}

func (s *Session) deny(ctx context.Context, r prompt.Request) {
	if again := s.Now(); again.Sub(s.denied) < leaveInterval {
		s.withdraw(prompt.ErrUnavailable) // before the next question is up
		s.Leave()
	} else {
		s.denied = again
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cli.CallTimeout)
	defer cancel()
	if err := s.Agent.Deny(ctx, r.ID); err != nil && !errors.Is(err, prompt.ErrUnknown) {
		s.Notify(textNotSent, err)
	}
}

// Texts of several places.
const (
	textSent     = "  Sent"
	textTooLate  = "  Too late: it was decided already"
	textNotSent  = "  The agent did not get it: %v"
	textAskAgain = "that answer does not fit"
)

// ErrNotShown: the terminal has not shown the question at all.
var ErrNotShown = errors.New("the terminal is in use")
