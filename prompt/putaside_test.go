package prompt_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// A screen is a prompter whose person does something with each question, by its rule.
type screen struct {
	*prompttest.Script
	shown []string // the rules of the questions
	gone  []error  // why they were taken back
}

// newScreen does what say returns: a Reply with Wait leaves the question open.
func newScreen(say func(rule string) prompttest.Reply) *screen {
	s := &screen{}
	s.Script = prompttest.Func(func(ctx context.Context, r prompt.Request) (string, error) {
		s.shown = append(s.shown, r.Rule)
		if reply := say(r.Rule); !reply.Wait {
			time.Sleep(time.Second)
			return reply.Answer, reply.Err
		}
		<-ctx.Done()
		s.gone = append(s.gone, context.Cause(ctx))
		return "", ctx.Err()
	})
	return s
}

func about(rule string) prompt.Request {
	r := passcode()
	r.Rule = rule
	return r
}

func notNow(rule string) prompttest.Reply {
	if rule == "a" {
		return prompttest.Reply{Err: prompt.ErrDismissed}
	}
	return prompttest.Reply{Wait: true}
}

func leaves(string) prompttest.Reply { return prompttest.Reply{Wait: true} }

// "Not now" to one question shows the other one at once on every prompter, and the first one
// comes back where it was not closed.
func TestNotNowShowsTheOther(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]bool{"it waits already": true, "it comes later": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				window, terminal := newScreen(notNow), newScreen(leaves)
				f := newFixture(t, prompt.BrokerConfig{}, window, terminal)
				a := f.ask(t.Context(), about("a"))
				if !before {
					time.Sleep(2 * time.Second)
				}
				b := f.ask(t.Context(), about("b"))
				time.Sleep(2 * time.Second)
				synctest.Wait()
				check := func(what string, want, got any) {
					t.Helper()
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%s (-want +got): %s", what, diff)
					}
				}
				check("in windows", []string{"a", "b"}, window.shown)
				check("on the terminal", []string{"a", "b"}, terminal.shown)
				if !slices.Equal(terminal.gone, []error{prompt.ErrPutAside}) {
					t.Errorf("taken back: %v", terminal.gone)
				}
				open := f.Pending()
				if err := f.Answer(open[1].ID, "222222"); err != nil {
					t.Fatal(err)
				}
				want(t, <-b, "222222", nil)
				synctest.Wait()
				check("in windows", []string{"a", "b"}, window.shown)
				check("on the terminal", []string{"a", "b", "a"}, terminal.shown)
				if err := f.Answer(open[0].ID, "111111"); err != nil {
					t.Fatal(err)
				}
				want(t, <-a, "111111", nil)
			})
		})
	}
}

// A question that was closed everywhere is over, whatever waits. One that was put aside keeps
// its time, and an answer that is given in that moment counts.
func TestPutAsideEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, prompt.BrokerConfig{}, newScreen(notNow), newScreen(notNow))
		a := f.ask(t.Context(), about("a"))
		f.ask(t.Context(), about("b"))
		if got := <-a; !errors.Is(got.err, prompt.ErrDismissed) || got.after != time.Second {
			t.Errorf("closed everywhere: %+v", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, prompt.BrokerConfig{}, newScreen(notNow), newScreen(leaves))
		a := f.ask(t.Context(), about("a"))
		f.ask(t.Context(), about("b"))
		got := <-a
		want(t, got, "", prompt.ErrTimeout)
		if got.after != 55*time.Second {
			t.Errorf("it ended after %v", got.after)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		late := prompttest.Func(func(ctx context.Context, r prompt.Request) (string, error) {
			<-ctx.Done() // the person has pressed enter at this moment
			return "111111", nil
		})
		f := newFixture(t, prompt.BrokerConfig{}, newScreen(notNow), late)
		a := f.ask(t.Context(), about("a"))
		f.ask(t.Context(), about("b"))
		want(t, <-a, "111111", nil)
	})
}

// Attached terminals are told to show the other one, also where no prompter has the first one
// any more.
func TestPutAsideOnAttachedTerminals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, prompt.BrokerConfig{Attachable: true}, newScreen(notNow))
		events := f.Watch(t.Context(), true)
		f.ask(t.Context(), about("a"))
		f.ask(t.Context(), about("b"))
		time.Sleep(2 * time.Second)
		var got []string
		for range 4 {
			e := <-events
			got = append(got, e.Type+" "+e.Request.Rule)
		}
		if diff := cmp.Diff([]string{"prompt a", "prompt b", "put_aside a", "prompt a"}, got); diff != "" {
			t.Errorf("events (-want +got): %s", diff)
		}
		if cause := (prompt.Event{Type: prompt.EventPutAside}).Cause(); !errors.Is(cause, prompt.ErrPutAside) {
			t.Errorf("cause %v", cause)
		}
	})
}

// The question that is shown says how many others wait, also those that come and go meanwhile.
func TestUpdates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told []int
		s := prompttest.Func(func(ctx context.Context, r prompt.Request) (string, error) {
			told = append(told, r.Queued)
			for {
				select {
				case queued := <-prompt.Updates(ctx):
					told = append(told, queued)
				case <-ctx.Done():
					return "", ctx.Err()
				}
			}
		})
		deaf := waiting() // must hold up nothing
		f := newFixture(t, prompt.BrokerConfig{}, s, deaf)
		f.ask(t.Context(), about("a"))
		ctx, cancel := context.WithCancel(t.Context())
		f.ask(ctx, about("b"))
		f.ask(t.Context(), about("c"))
		cancel()
		synctest.Wait()
		if err := f.Deny(f.Pending()[0].ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if diff := cmp.Diff([]int{0, 1, 2, 1, 0}, told); diff != "" {
			t.Errorf("(-want +got): %s", diff)
		}
		if prompt.Updates(t.Context()) != nil {
			t.Error("updates without a broker")
		}
	})
}
