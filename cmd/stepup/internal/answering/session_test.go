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

// A fixture is a session with a person who answers when the test says so.
type fixture struct {
	Session
	ctx    context.Context
	events chan prompt.Event
	ended  chan error

	mu      sync.Mutex
	waiting []chan said // answers of the prompts on the terminal, oldest first
	seen    record
	refuse  error // what the agent says to the next answer
}

// A record is what a session did with prompts.
type record struct {
	Shown   []string          // IDs that were put on the terminal, and why they went away
	Lines   []string          // beside them
	Decided map[string]string // by ID
}

type said struct {
	answer string
	err    error
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{events: make(chan prompt.Event), ended: make(chan error, 1), seen: record{Decided: make(map[string]string)}}
	f.ctx, f.Leave = context.WithCancel(t.Context())
	f.Terminal, f.Agent, f.Now = f, f, time.Now
	f.Watching = func() { f.Notify("watching") }
	f.Notify = func(text string, args ...any) { f.note(&f.seen.Lines, fmt.Sprintf(text, args...)) }
	go func() { f.ended <- f.Run(f.ctx, f.stream) }()
	return f
}

func (f *fixture) note(list *[]string, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*list = append(*list, text)
}

// stream is the agent's events until the session leaves.
func (f *fixture) stream(yield func(prompt.Event, error) bool) {
	for {
		select {
		case e, open := <-f.events:
			if !open || !yield(e, nil) {
				return
			}
		case <-f.ctx.Done():
			return
		}
	}
}

// Prompt implements prompt.Prompter.
func (f *fixture) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	answer := make(chan said, 1)
	f.mu.Lock()
	f.seen.Shown = append(f.seen.Shown, strings.TrimSpace(r.ID+" "+r.Message))
	if r.Kind != prompt.Push {
		f.waiting = append(f.waiting, answer)
	}
	f.mu.Unlock()
	select {
	case s := <-answer:
		return s.answer, s.err
	case <-ctx.Done():
		f.note(&f.seen.Shown, r.ID+" "+prompt.Withdrawn(context.Cause(ctx)))
		f.mu.Lock()
		defer f.mu.Unlock()
		f.waiting = slices.DeleteFunc(f.waiting, func(c chan said) bool { return c == answer })
		return "", ctx.Err()
	}
}

// Answer implements Decider.
func (f *fixture) Answer(_ context.Context, id, answer string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.refuse
	f.refuse = nil
	if err == nil {
		f.seen.Decided[id] = answer
	}
	return err
}

// Deny implements Decider.
func (f *fixture) Deny(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen.Decided[id] = "denied"
	return nil
}

func (f *fixture) send(kind, id string) {
	p := prompt.Request{ID: id, Kind: prompt.Passcode}
	if kind == prompt.EventTold || kind == prompt.EventDone {
		p.Kind, p.Message = prompt.Push, "approved"
	}
	f.events <- prompt.Event{Time: time.Now(), Type: kind, Request: p}
	synctest.Wait()
}

func (f *fixture) reply(answer string, err error) {
	f.mu.Lock()
	next := f.waiting[0]
	f.waiting = f.waiting[1:]
	f.mu.Unlock()
	next <- said{answer, err}
	synctest.Wait()
}

func (f *fixture) end(t *testing.T, want record) {
	t.Helper()
	f.Leave()
	if err := <-f.ended; err != nil {
		t.Errorf("run: %v", err)
	}
	if diff := cmp.Diff(want, f.seen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSession(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		do   func(*fixture)
		want record
	}{
		{
			"one after the other, in order",
			func(f *fixture) {
				f.events <- prompt.Event{Type: control.Watching}
				for _, id := range []string{"a", "b", "c"} {
					f.send(prompt.EventPrompt, id)
				}
				f.send(prompt.EventPrompt, "b") // again, as after a hiccup
				f.reply("1", nil)
				f.reply("2", nil)
				f.reply("", prompt.ErrDenied)
			},
			record{[]string{"a", "b", "c"}, []string{"watching", textSent, textSent}, map[string]string{"a": "1", "b": "2", "c": "denied"}},
		},
		{
			"decided elsewhere, on the screen and behind it",
			func(f *fixture) {
				for _, id := range []string{"a", "b", "c"} {
					f.send(prompt.EventPrompt, id)
				}
				f.send(prompt.EventAnswered, "b")
				f.send(prompt.EventTimeout, "a")
				f.send(prompt.EventTimeout, "never heard of")
				f.reply("3", nil)
			},
			record{[]string{"a", "a timed out", "c"}, []string{textSent}, map[string]string{"c": "3"}},
		},
		{
			"put aside for another one, and back",
			func(f *fixture) {
				f.send(prompt.EventPrompt, "a")
				f.send(prompt.EventPrompt, "b")
				f.send(prompt.EventPutAside, "a")
				f.send(prompt.EventPrompt, "a")
				f.reply("2", nil)
				f.reply("1", nil)
			},
			record{
				[]string{"a", "a put aside: another question comes first", "b", "a"},
				[]string{textSent, textSent}, map[string]string{"a": "1", "b": "2"},
			},
		},
		{
			"a push comes beside a question",
			func(f *fixture) {
				f.send(prompt.EventPrompt, "a")
				f.send(prompt.EventTold, "p")
				f.send(prompt.EventDone, "p")
				f.reply("1", nil)
			},
			record{[]string{"a", "p approved", "p approved"}, []string{textSent}, map[string]string{"a": "1"}},
		},
		{
			"an answer that the agent does not take is asked for again",
			func(f *fixture) {
				f.refuse = &control.Error{Status: 400}
				f.send(prompt.EventPrompt, "a")
				f.refuse = prompt.ErrAnswer
				f.reply("x", nil)
				f.reply("1", nil)
			},
			record{[]string{"a", "a " + textAskAgain}, []string{textSent}, map[string]string{"a": "1"}},
		},
		{
			"too late, and not sent",
			func(f *fixture) {
				f.send(prompt.EventPrompt, "a")
				f.refuse = prompt.ErrUnknown
				f.reply("1", nil)
				f.send(prompt.EventPrompt, "b")
				f.refuse = errors.New("broken pipe")
				f.reply("2", nil)
			},
			record{[]string{"a", "b"}, []string{textTooLate, "  The agent did not get it: broken pipe"}, map[string]string{}},
		},
		{
			"not here",
			func(f *fixture) {
				f.send(prompt.EventPrompt, "a")
				f.reply("", prompt.ErrUnavailable)
			},
			record{[]string{"a"}, []string{"  Still open: stepup answer a"}, map[string]string{}},
		},
		{
			"two denials with time to think between them",
			func(f *fixture) {
				f.send(prompt.EventPrompt, "a")
				f.send(prompt.EventPrompt, "b")
				f.send(prompt.EventPrompt, "c")
				f.reply("", prompt.ErrDenied)
				time.Sleep(leaveInterval)
				f.reply("", prompt.ErrDenied)
			},
			record{[]string{"a", "b", "c", "c given up"}, nil, map[string]string{"a": "denied", "b": "denied"}},
		},
		{
			"two denials at once leave",
			func(f *fixture) {
				f.send(prompt.EventPrompt, "a")
				f.send(prompt.EventPrompt, "b")
				f.send(prompt.EventPrompt, "c")
				f.reply("", prompt.ErrDenied)
				f.reply("", prompt.ErrDenied)
				<-f.ctx.Done()
			},
			record{[]string{"a", "b"}, nil, map[string]string{"a": "denied", "b": "denied"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				c.do(f)
				f.end(t, c.want)
			})
		})
	}
}

// TestSessionStreamBreaks: an error of the stream is returned when nothing is on
// the screen any more.
func TestSessionStreamBreaks(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	f := &fixture{seen: record{Decided: make(map[string]string)}}
	s := &Session{Terminal: f, Agent: f, Now: time.Now, Leave: func() {}, Notify: func(string, ...any) {}}
	p := prompt.Request{ID: "a", Kind: prompt.Passcode}
	err := s.Run(t.Context(), func(yield func(prompt.Event, error) bool) {
		_ = yield(prompt.Event{Type: prompt.EventPrompt, Request: p}, nil) &&
			yield(prompt.Event{Type: prompt.EventPrompt}, nil) &&
			yield(prompt.Event{}, broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("run = %v, want %v", err, broken)
	}
	if got := strings.Join(f.seen.Shown, ", "); got != "" && got != "a, a given up" {
		t.Errorf("on the terminal: %s", got)
	}
}

// A counter is a terminal that writes down how many other questions wait.
type counter struct {
	*fixture
	answers chan string
}

func (c counter) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	waiting := -1
	say := func(queued int) {
		if queued != waiting {
			c.note(&c.seen.Shown, fmt.Sprintf("%s, and %d more", r.ID, queued))
		}
		waiting = queued
	}
	say(r.Queued)
	for {
		select {
		case queued := <-prompt.Updates(ctx):
			say(queued)
		case answer := <-c.answers:
			return answer, nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// The question on the terminal knows how many others wait at each moment, also the one that
// comes after it.
func TestSessionCountsWhatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		c := counter{f, make(chan string)}
		f.Terminal = c
		f.send(prompt.EventPrompt, "a")
		f.send(prompt.EventTold, "push")
		f.send(prompt.EventPrompt, "b")
		f.send(prompt.EventPrompt, "c")
		f.send(prompt.EventTimeout, "c")
		c.answers <- "1"
		f.send(prompt.EventAnswered, "a")
		f.send(prompt.EventPrompt, "d")
		want := []string{"a, and 0 more", "push, and 0 more", "a, and 1 more", "a, and 2 more", "a, and 1 more", "b, and 0 more", "b, and 1 more"}
		f.Leave()
		if err := <-f.ended; err != nil {
			t.Errorf("run: %v", err)
		}
		if diff := cmp.Diff(want, f.seen.Shown); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
