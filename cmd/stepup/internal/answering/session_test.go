package answering

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/prompt"
)

// A desk is a session with a person who answers when the test says so.
type desk struct {
	Session
	ctx    context.Context
	events chan prompt.Event
	ended  chan error

	mu      sync.Mutex
	waiting []chan said       // answers of the prompts on the terminal, oldest first
	shown   []string          // IDs that were put on the terminal, and why they went away
	lines   []string          // what was said beside them
	decided map[string]string // by ID
	refuse  error             // what the agent says to the next answer
}

type said struct {
	answer string
	err    error
}

func newDesk(t *testing.T) *desk {
	d := &desk{events: make(chan prompt.Event), ended: make(chan error, 1), decided: make(map[string]string)}
	d.ctx, d.Leave = context.WithCancel(t.Context())
	d.Terminal, d.Agent, d.Now = d, d, time.Now
	d.Watching = func() { d.Notify("watching") }
	d.Notify = func(format string, args ...any) { d.note(&d.lines, fmt.Sprintf(format, args...)) }
	go func() { d.ended <- d.Run(d.ctx, d.stream) }()
	return d
}

func (d *desk) note(list *[]string, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*list = append(*list, text)
}

// stream is the agent's events until the session leaves.
func (d *desk) stream(yield func(prompt.Event, error) bool) {
	for {
		select {
		case e, open := <-d.events:
			if !open || !yield(e, nil) {
				return
			}
		case <-d.ctx.Done():
			return
		}
	}
}

// Prompt implements prompt.Prompter.
func (d *desk) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	answer := make(chan said, 1)
	d.mu.Lock()
	d.shown = append(d.shown, strings.TrimSpace(r.ID+" "+r.Message))
	if r.Kind != prompt.Push {
		d.waiting = append(d.waiting, answer)
	}
	d.mu.Unlock()
	select {
	case s := <-answer:
		return s.answer, s.err
	case <-ctx.Done():
		d.note(&d.shown, r.ID+" "+prompt.Withdrawn(context.Cause(ctx)))
		d.mu.Lock()
		defer d.mu.Unlock()
		d.waiting = slices.DeleteFunc(d.waiting, func(c chan said) bool { return c == answer })
		return "", ctx.Err()
	}
}

// Answer implements decider.
func (d *desk) Answer(_ context.Context, id, answer string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.refuse
	d.refuse = nil
	if err == nil {
		d.decided[id] = answer
	}
	return err
}

// Deny implements decider.
func (d *desk) Deny(_ context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.decided[id] = "denied"
	return nil
}

func (d *desk) happens(kind, id string) {
	p := prompt.Request{ID: id, Kind: prompt.Passcode}
	if kind == prompt.EventTold || kind == prompt.EventDone {
		p.Kind, p.Message = prompt.Push, "approved"
	}
	d.events <- prompt.Event{Time: time.Now(), Type: kind, Request: p}
	synctest.Wait()
}

func (d *desk) enter(answer string, err error) {
	d.mu.Lock()
	next := d.waiting[0]
	d.waiting = d.waiting[1:]
	d.mu.Unlock()
	next <- said{answer, err}
	synctest.Wait()
}

func (d *desk) end(t *testing.T, shown, lines []string, decided map[string]string) {
	t.Helper()
	d.Leave()
	if err := <-d.ended; err != nil {
		t.Errorf("run: %v", err)
	}
	if diff := cmp.Diff(shown, d.shown); diff != "" {
		t.Errorf("on the terminal (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(lines, d.lines); diff != "" {
		t.Errorf("beside it (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(decided, d.decided); diff != "" {
		t.Errorf("decided (-want +got):\n%s", diff)
	}
}

func TestSession(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		do      func(*desk)
		shown   []string
		lines   []string
		decided map[string]string
	}{
		{
			"one after the other, in order",
			func(d *desk) {
				d.events <- prompt.Event{Type: control.Watching}
				for _, id := range []string{"a", "b", "c"} {
					d.happens(prompt.EventPrompt, id)
				}
				d.happens(prompt.EventPrompt, "b") // again, as after a hiccup
				d.enter("1", nil)
				d.enter("2", nil)
				d.enter("", prompt.ErrDenied)
			},
			[]string{"a", "b", "c"}, []string{"watching", textSent, textSent}, map[string]string{"a": "1", "b": "2", "c": "denied"},
		},
		{
			"decided elsewhere, on the screen and behind it",
			func(d *desk) {
				for _, id := range []string{"a", "b", "c"} {
					d.happens(prompt.EventPrompt, id)
				}
				d.happens(prompt.EventAnswered, "b")
				d.happens(prompt.EventTimeout, "a")
				d.happens(prompt.EventTimeout, "never heard of")
				d.enter("3", nil)
			},
			[]string{"a", "a timed out", "c"}, []string{textSent}, map[string]string{"c": "3"},
		},
		{
			"a push comes beside a question",
			func(d *desk) {
				d.happens(prompt.EventPrompt, "a")
				d.happens(prompt.EventTold, "p")
				d.happens(prompt.EventDone, "p")
				d.enter("1", nil)
			},
			[]string{"a", "p approved", "p approved"}, []string{textSent}, map[string]string{"a": "1"},
		},
		{
			"an answer that the agent does not take is asked for again",
			func(d *desk) {
				d.refuse = &control.Error{Status: 400}
				d.happens(prompt.EventPrompt, "a")
				d.refuse = prompt.ErrAnswer
				d.enter("x", nil)
				d.enter("1", nil)
			},
			[]string{"a", "a " + textAskAgain}, []string{textSent}, map[string]string{"a": "1"},
		},
		{
			"too late, and not sent",
			func(d *desk) {
				d.happens(prompt.EventPrompt, "a")
				d.refuse = prompt.ErrUnknown
				d.enter("1", nil)
				d.happens(prompt.EventPrompt, "b")
				d.refuse = errors.New("broken pipe")
				d.enter("2", nil)
			},
			[]string{"a", "b"}, []string{textTooLate, "  the agent did not get it: broken pipe"}, map[string]string{},
		},
		{
			"not here",
			func(d *desk) {
				d.happens(prompt.EventPrompt, "a")
				d.enter("", prompt.ErrUnavailable)
			},
			[]string{"a"}, []string{"  still open: stepup answer a"}, map[string]string{},
		},
		{
			"two denials with time to think between them",
			func(d *desk) {
				d.happens(prompt.EventPrompt, "a")
				d.happens(prompt.EventPrompt, "b")
				d.happens(prompt.EventPrompt, "c")
				d.enter("", prompt.ErrDenied)
				time.Sleep(twice)
				d.enter("", prompt.ErrDenied)
			},
			[]string{"a", "b", "c", "c given up"}, nil, map[string]string{"a": "denied", "b": "denied"},
		},
		{
			"two denials at once leave",
			func(d *desk) {
				d.happens(prompt.EventPrompt, "a")
				d.happens(prompt.EventPrompt, "b")
				d.happens(prompt.EventPrompt, "c")
				d.enter("", prompt.ErrDenied)
				d.enter("", prompt.ErrDenied)
				<-d.ctx.Done()
			},
			[]string{"a", "b"}, nil, map[string]string{"a": "denied", "b": "denied"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t)
				c.do(d)
				d.end(t, c.shown, c.lines, c.decided)
			})
		})
	}
}

// TestSessionStreamBreaks: an error of the stream is returned when nothing is on
// the screen any more.
func TestSessionStreamBreaks(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	d := &desk{decided: make(map[string]string)}
	s := &Session{Terminal: d, Agent: d, Now: time.Now, Leave: func() {}, Notify: func(string, ...any) {}}
	p := prompt.Request{ID: "a", Kind: prompt.Passcode}
	err := s.Run(t.Context(), func(yield func(prompt.Event, error) bool) {
		_ = yield(prompt.Event{Type: prompt.EventPrompt, Request: p}, nil) &&
			yield(prompt.Event{Type: prompt.EventPrompt}, nil) &&
			yield(prompt.Event{}, broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("run = %v, want %v", err, broken)
	}
	if got := strings.Join(d.shown, ", "); got != "" && got != "a, a given up" {
		t.Errorf("on the terminal: %s", got)
	}
}
