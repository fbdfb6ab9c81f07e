package prompt_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// types reads what is in the channel now.
func types(events <-chan prompt.Event) string {
	synctest.Wait()
	var all []string
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return strings.Join(append(all, "closed"), " ")
			}
			all = append(all, e.Type)
		default:
			return strings.Join(all, " ")
		}
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, prompt.BrokerConfig{}, waiting())
		first := f.ask(t.Context(), passcode())
		notice := f.Tell(t.Context(), passcode())
		ctx, cancel := context.WithCancel(t.Context())
		events := f.Watch(ctx, true)
		if got := types(events); got != "prompt told" || f.Attached() != 1 {
			t.Errorf("starts with %q, %d attached", got, f.Attached())
		}
		leaving, leave := context.WithCancel(t.Context())
		second, third := f.ask(t.Context(), passcode()), f.ask(leaving, passcode())
		pending := f.Pending()
		if got := []prompt.Kind{pending[0].Kind, pending[1].Kind, pending[2].Kind}; got[1] != prompt.Push || len(pending) != 4 {
			t.Errorf("pending are %v", got)
		}
		_ = f.Answer(pending[0].ID, "123456")
		_ = f.Deny(pending[2].ID)
		leave()
		synctest.Wait()
		notice.Done("approved on the phone")
		if got := types(events); got != "prompt prompt answered denied canceled done" {
			t.Errorf("then %q", got)
		}
		want(t, <-first, "123456", nil)
		want(t, <-second, "", prompt.ErrDenied)
		want(t, <-third, "", context.Canceled)
		cancel()
		if got := types(events); got != "closed" || f.Attached() != 0 {
			t.Errorf("ends with %q, %d attached", got, f.Attached())
		}
	})
}

func TestSlowWatcherIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, prompt.BrokerConfig{}, prompttest.Func(func(context.Context, prompt.Request) (string, error) { return "1", nil }))
		events := f.Watch(t.Context(), true)
		for range 100 {
			if _, err := f.Ask(t.Context(), passcode()); err != nil {
				t.Fatal(err)
			}
		}
		if got := types(events); !strings.HasSuffix(got, " closed") || f.Attached() != 0 {
			t.Errorf("a watcher that does not read got %q, %d attached", got, f.Attached())
		}
	})
}

func TestNotice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		end    func(fixture, *prompt.Notice, context.CancelFunc)
		denied error
		event  string
	}{
		{"done", func(_ fixture, n *prompt.Notice, _ context.CancelFunc) {
			n.Done("approved\x1b[2J")
			n.Done("again")
		}, nil, "done"},
		{"denied here", func(f fixture, _ *prompt.Notice, _ context.CancelFunc) { _ = f.Deny(f.Pending()[0].ID) }, prompt.ErrDenied, "denied"},
		{"all cancelled", func(f fixture, _ *prompt.Notice, _ context.CancelFunc) { f.CancelAll() }, prompt.ErrCanceled, "canceled"},
		{"the caller leaves", func(_ fixture, _ *prompt.Notice, cancel context.CancelFunc) { cancel() }, nil, "canceled"},
		{"deadline", func(fixture, *prompt.Notice, context.CancelFunc) { time.Sleep(2 * time.Minute) }, nil, "timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := prompttest.NewScript()
				f := newFixture(t, prompt.BrokerConfig{}, s)
				events := f.Watch(t.Context(), false)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r := passcode()
				r.Deadline = time.Now().Add(100 * time.Second) // longer than a question may be
				n := f.Tell(ctx, r)
				synctest.Wait()
				c.end(f, n, cancel)
				synctest.Wait()
				select {
				case <-n.Denied():
					if c.denied == nil {
						t.Error("Denied is closed")
					}
				default:
					if c.denied != nil {
						t.Error("Denied is open")
					}
				}
				if err := n.Err(); !errors.Is(err, c.denied) {
					t.Errorf("Err is %v, want %v", err, c.denied)
				}
				n.Done("late")
				if got := types(events); got != "told "+c.event {
					t.Errorf("events %q", got)
				}
				var decided prompt.Decided
				if got := s.Withdrawn(); len(got) != 1 || errors.As(got[0], &decided) != (c.event == "done") {
					t.Errorf("the prompter was told %v", got)
				}
				if c.event == "done" && decided.Message != "approved?(2J" {
					t.Errorf("message %q", decided.Message)
				}
			})
		})
	}
}

func TestPushIsShownBesideAQuestion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := waiting()
		f := newFixture(t, prompt.BrokerConfig{}, s)
		out := f.ask(t.Context(), passcode())
		n := f.Tell(t.Context(), passcode())
		synctest.Wait()
		if got := s.Requests(); len(got) != 2 || got[1].Kind != prompt.Push || got[1].Deadline.IsZero() {
			t.Errorf("shown: %v", got)
		}
		if err := f.Answer(s.Requests()[1].ID, "yes"); !errors.Is(err, prompt.ErrAnswer) {
			t.Errorf("Answer of a push = %v, want ErrAnswer", err)
		}
		n.Done("")
		f.CancelAll()
		want(t, <-out, "", prompt.ErrCanceled)
	})
}

func TestDenialByAPrompterEndsANotice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		other := prompttest.NewScript()
		f := newFixture(t, prompt.BrokerConfig{}, other, prompttest.Func(func(context.Context, prompt.Request) (string, error) {
			return "", prompt.ErrDenied
		}))
		n := f.Tell(t.Context(), passcode())
		<-n.Denied()
		n.Done("")
		if f.Len() != 0 {
			t.Error("the notice is still listed")
		}
	})
}

func TestEventCause(t *testing.T) {
	t.Parallel()
	for kind, cause := range map[string]error{
		prompt.EventPrompt: nil, prompt.EventTold: nil, prompt.EventAnswered: prompt.ErrElsewhere, prompt.EventDenied: prompt.ErrDenied,
		prompt.EventTimeout: prompt.ErrTimeout, prompt.EventCanceled: prompt.ErrNotNeeded, prompt.EventUnavailable: prompt.ErrUnavailable,
		prompt.EventDone: prompt.Decided{Message: "approved"},
	} {
		e := prompt.Event{Type: kind, Request: prompt.Request{Message: "approved"}}
		if got := e.Cause(); !errors.Is(got, cause) || e.Ended() != (cause != nil) {
			t.Errorf("%s: Cause = %v, Ended = %v", kind, got, e.Ended())
		}
	}
}
