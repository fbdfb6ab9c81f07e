package prompt_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

func TestQueueShowsOneAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var showing, most atomic.Int32
		var order []string
		s := prompttest.Func(func(_ context.Context, r prompt.Request) (string, error) {
			most.Store(max(most.Load(), showing.Add(1)))
			defer showing.Add(-1)
			time.Sleep(time.Second)
			order = append(order, fmt.Sprintf("%s/%d", r.Rule, r.Queued))
			return "123456", nil
		})
		f := newFixture(t, prompt.BrokerConfig{}, s)
		var all []<-chan asked
		for _, rule := range []string{"a", "b", "c"} {
			r := passcode()
			r.Rule = rule
			all = append(all, f.ask(t.Context(), r))
		}
		for i, out := range all {
			got := <-out
			want(t, got, "123456", nil)
			if d := time.Duration(i+1) * time.Second; got.after != d {
				t.Errorf("question %d was answered after %v, want %v", i, got.after, d)
			}
		}
		if got := strings.Join(order, " "); got != "a/0 b/1 c/0" || most.Load() != 1 {
			t.Errorf("shown %q, %d at a time", got, most.Load())
		}
	})
}

// TestSlowLoserHoldsTheScreen: the next question waits until the last is gone,
// the asker does not.
func TestSlowLoserHoldsTheScreen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		loser := prompttest.Func(func(ctx context.Context, _ prompt.Request) (string, error) {
			<-ctx.Done()
			time.Sleep(3 * time.Second) // a dialog that fades out
			return "", ctx.Err()
		})
		f := newFixture(t, prompt.BrokerConfig{}, loser, prompttest.Answers("1", "2"))
		first, second := f.ask(t.Context(), passcode()), f.ask(t.Context(), passcode())
		if got := <-first; got.answer != "1" || got.after != 0 {
			t.Errorf("first: %+v", got)
		}
		if got := <-second; got.answer != "2" || got.after != 3*time.Second {
			t.Errorf("second: %+v", got)
		}
	})
}

func TestBusyClosedAndPush(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, prompt.BrokerConfig{MaxPending: 1}, waiting())
		out := f.ask(t.Context(), passcode())
		if _, err := f.Ask(t.Context(), passcode()); !errors.Is(err, prompt.ErrBusy) {
			t.Errorf("Ask = %v, want ErrBusy", err)
		}
		f.Tell(t.Context(), passcode()).Done("a notice without room ends without harm")
		if _, err := f.Ask(t.Context(), prompttest.Request(prompt.Push)); !errors.Is(err, prompt.ErrAnswer) {
			t.Errorf("Ask of a push = %v, want ErrAnswer", err)
		}
		f.Close()
		want(t, <-out, "", prompt.ErrCanceled)
		if _, err := f.Ask(t.Context(), passcode()); !errors.Is(err, prompt.ErrCanceled) {
			t.Errorf("Ask after Close = %v, want ErrCanceled", err)
		}
		if _, open := <-f.Watch(t.Context(), true); open || f.Attached() != 0 {
			t.Error("Watch after Close is open")
		}
	})
}

// TestOnlyOneDecides races answers, denials and the caller's leaving.
func TestOnlyOneDecides(t *testing.T) {
	t.Parallel()
	f := newFixture(t, prompt.BrokerConfig{Attachable: true})
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		events := f.Watch(ctx, true)
		result := make(chan asked, 1)
		go func() {
			answer, err := f.Ask(ctx, passcode())
			result <- asked{answer: answer, err: err}
		}()
		id := (<-events).Request.ID
		var won atomic.Int32
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				if f.Answer(id, fmt.Sprint(i)) == nil {
					won.Add(1)
				}
			})
			all.Go(func() {
				if f.Deny(id) == nil {
					won.Add(1)
				}
			})
		}
		all.Wait()
		if got := <-result; won.Load() != 1 || (got.err == nil) == (got.answer == "") {
			t.Fatalf("%d callers won, Ask = %q, %v", won.Load(), got.answer, got.err)
		}
		cancel()
	}
}

func TestManyAsks(t *testing.T) {
	t.Parallel()
	echo := prompttest.Func(func(_ context.Context, r prompt.Request) (string, error) { return r.Rule, nil })
	f := newFixture(t, prompt.BrokerConfig{MaxPending: 100}, echo, waiting())
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			r := passcode()
			r.Rule = fmt.Sprint("rule", i)
			if got, err := f.Ask(t.Context(), r); got != r.Rule || err != nil {
				t.Errorf("Ask(%s) = %q, %v", r.Rule, got, err)
			}
		})
	}
	all.Wait()
	if n := f.Len(); n != 0 {
		t.Errorf("%d prompts are left", n)
	}
}

// A question that waited behind another one until its time was over says so; one that
// was shown, or listed for a person, does not.
func TestUnseen(t *testing.T) {
	t.Parallel()
	for name, look := range map[string]bool{"never shown": false, "listed": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, prompt.BrokerConfig{}, waiting())
				shown := f.ask(t.Context(), passcode())
				r := passcode()
				r.Deadline = time.Now().Add(10 * time.Second)
				behind := f.ask(t.Context(), r)
				if look {
					f.Pending()
				}
				if got := <-behind; !errors.Is(got.err, prompt.ErrTimeout) || errors.Is(got.err, prompt.ErrUnseen) == look {
					t.Errorf("behind: %v", got.err)
				}
				if got := <-shown; !errors.Is(got.err, prompt.ErrTimeout) || errors.Is(got.err, prompt.ErrUnseen) {
					t.Errorf("shown: %v", got.err)
				}
			})
		})
	}
}

// The time of a question begins when it is shown: waiting behind another one is no time to
// answer. The deadline that its prompters get says so.
func TestTimeStartsWhenItIsShown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := waiting()
		f := newFixture(t, prompt.BrokerConfig{Timeout: time.Minute}, s)
		first := f.ask(t.Context(), passcode())
		time.Sleep(10 * time.Second)
		second, start := f.ask(t.Context(), passcode()), time.Now()
		time.Sleep(30 * time.Second)
		if err := f.Deny(f.Pending()[0].ID); err != nil {
			t.Fatal(err)
		}
		want(t, <-first, "", prompt.ErrDenied)
		got := <-second
		want(t, got, "", prompt.ErrTimeout)
		if shown := s.Requests()[1].Deadline; got.after != 90*time.Second || !shown.Equal(start.Add(90*time.Second)) {
			t.Errorf("it ended after %v, and was shown until %v", got.after, shown.Sub(start))
		}
	})
}

// A terminal that is attached shows one question at a time: one behind it was not seen.
func TestUnseenWithATerminal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, prompt.BrokerConfig{Attachable: true}, waiting())
		f.Watch(t.Context(), true)
		f.ask(t.Context(), passcode())
		r := passcode()
		r.Deadline = time.Now().Add(10 * time.Second)
		if got := <-f.ask(t.Context(), r); !errors.Is(got.err, prompt.ErrUnseen) {
			t.Errorf("behind: %v", got.err)
		}
	})
}

// A prompter that gives up at the deadline has not been faster than it.
func TestPrompterGivesUpAtTheDeadline(t *testing.T) {
	t.Parallel()
	for range 20 { // which of the two is first is left to chance
		synctest.Test(t, func(t *testing.T) {
			s := prompttest.Func(func(_ context.Context, r prompt.Request) (string, error) {
				time.Sleep(time.Until(r.Deadline))
				return "", prompt.ErrUnavailable
			})
			want(t, <-newFixture(t, prompt.BrokerConfig{}, s).ask(t.Context(), passcode()), "", prompt.ErrTimeout)
		})
	}
}

// A question that cannot be answered before a moment has its whole time from then on.
func TestNotBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := passcode()
		r.NotBefore = time.Now().Add(20 * time.Second)
		r.Deadline = r.NotBefore.Add(time.Hour)
		got := <-newFixture(t, prompt.BrokerConfig{Timeout: time.Minute}, waiting()).ask(t.Context(), r)
		want(t, got, "", prompt.ErrTimeout)
		if got.after != 80*time.Second {
			t.Errorf("it ended after %v", got.after)
		}
	})
}

// A notifier puts a question up and takes no answer.
type notifier struct{}

func (notifier) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	return notifier{}.PromptOrNotify(ctx, r, func() {})
}

func (notifier) PromptOrNotify(ctx context.Context, _ prompt.Request, notified func()) (string, error) {
	notified()
	<-ctx.Done()
	return "", ctx.Err()
}

// A notification that says how to answer from a terminal keeps the question open
// as long as terminals may answer, and does not hold up the next one.
func TestNotifier(t *testing.T) {
	t.Parallel()
	for name, attachable := range map[string]bool{"terminals may answer": true, "they may not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, prompt.BrokerConfig{Attachable: attachable}, notifier{})
				first := f.ask(t.Context(), passcode())
				second := f.ask(t.Context(), passcode())
				if !attachable {
					want(t, <-first, "", prompt.ErrUnavailable)
					want(t, <-second, "", prompt.ErrUnavailable)
					return
				}
				time.Sleep(30 * time.Second)
				open := f.Pending()
				if len(open) != 2 {
					t.Fatalf("%d prompts open", len(open))
				}
				for _, r := range open {
					if err := f.Answer(r.ID, "123456"); err != nil {
						t.Error(err)
					}
				}
				want(t, <-first, "123456", nil)
				want(t, <-second, "123456", nil)
			})
		})
	}
}
