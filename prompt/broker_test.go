package prompt_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// A fixture is a broker that ends with the test.
type fixture struct{ *prompt.Broker }

func newFixture(t *testing.T, c prompt.BrokerConfig, scripts ...prompt.Prompter) fixture {
	t.Helper()
	for i, s := range scripts {
		c.Prompters = append(c.Prompters, prompt.Named{Name: fmt.Sprintf("script%d", i), Prompter: s})
	}
	b := prompt.NewBroker(c)
	t.Cleanup(b.Close)
	return fixture{b}
}

func passcode() prompt.Request {
	r := prompttest.Request(prompt.Passcode)
	r.Deadline = time.Time{}
	return r
}

func waiting() *prompttest.Script {
	return prompttest.NewScript(prompttest.Reply{Wait: true}, prompttest.Reply{Wait: true}, prompttest.Reply{Wait: true})
}

type asked struct {
	answer string
	err    error
	after  time.Duration
}

// ask asks in the background of a synctest bubble.
func (f fixture) ask(ctx context.Context, r prompt.Request) <-chan asked {
	out, start := make(chan asked, 1), time.Now()
	go func() {
		answer, err := f.Ask(ctx, r)
		out <- asked{answer, err, time.Since(start)}
	}()
	synctest.Wait()
	return out
}

func want(t *testing.T, got asked, answer string, err error) {
	t.Helper()
	if got.answer != answer || !errors.Is(got.err, err) {
		t.Errorf("Ask = %q, %v; want %q, %v", got.answer, got.err, answer, err)
	}
}

func TestFirstAnswerWins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow, gone := waiting(), prompttest.NewScript(prompttest.Reply{Err: prompt.ErrUnavailable})
		fast := prompttest.Func(func(context.Context, prompt.Request) (string, error) {
			time.Sleep(time.Second)
			return " 123 456\n", nil
		})
		f := newFixture(t, prompt.BrokerConfig{}, slow, gone, fast)
		want(t, <-f.ask(t.Context(), passcode()), "123456", nil)
		synctest.Wait()
		if got := slow.Withdrawn(); !slices.Equal(got, []error{prompt.ErrElsewhere}) {
			t.Errorf("the loser was told %v", got)
		}
		if n := f.Len(); n != 0 {
			t.Errorf("%d prompts are left", n)
		}
	})
}

func TestDenialOfOneEndsAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := waiting()
		f := newFixture(t, prompt.BrokerConfig{}, slow, prompttest.NewScript(prompttest.Reply{Err: prompt.ErrDenied}))
		want(t, <-f.ask(t.Context(), passcode()), "", prompt.ErrDenied)
		synctest.Wait()
		if got := slow.Withdrawn(); len(got) > 1 || len(got) == 1 && !errors.Is(got[0], prompt.ErrDenied) {
			t.Errorf("the other was told %v", got)
		}
	})
}

// TestNoPrompter covers the ends of a question that no prompter shows: the person may
// still attach.
func TestNoPrompter(t *testing.T) {
	t.Parallel()
	never := func(context.Context, fixture) {}
	attach := func(ctx context.Context, f fixture) { f.Watch(ctx, true) }
	watch := func(ctx context.Context, f fixture) { f.Watch(ctx, false) }
	list := func(_ context.Context, f fixture) { f.Pending() }
	count := func(_ context.Context, f fixture) { f.Len() }
	const soon, grace, deadline = 4 * time.Second, 5 * time.Second, 55 * time.Second
	for _, c := range []struct {
		name       string
		attachable bool
		before     func(context.Context, fixture)
		after      time.Duration
		during     func(context.Context, fixture)
		err        error
		took       time.Duration
	}{
		{"not attachable", false, never, 0, never, prompt.ErrUnavailable, 0},
		{"attached all the same", false, attach, 0, never, prompt.ErrTimeout, deadline},
		{"no person attaches", true, never, 0, never, prompt.ErrUnavailable, grace},
		{"attached before", true, attach, 0, never, prompt.ErrTimeout, deadline},
		{"attached within the grace", true, never, soon, attach, prompt.ErrTimeout, deadline},
		{"listed within the grace", true, never, soon, list, prompt.ErrTimeout, deadline},
		{"watched without attaching", true, never, 0, watch, prompt.ErrUnavailable, grace},
		{"counted only", true, never, 0, count, prompt.ErrUnavailable, grace},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, prompt.BrokerConfig{Attachable: c.attachable}, prompttest.NewScript())
				c.before(t.Context(), f)
				out := f.ask(t.Context(), passcode())
				time.Sleep(c.after)
				c.during(t.Context(), f)
				got := <-out
				want(t, got, "", c.err)
				if got.after != c.took {
					t.Errorf("Ask took %v of bubble time, want %v", got.after, c.took)
				}
			})
		})
	}
}

// The error of a program that was to ask leads to it.
func TestProgramFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := prompttest.NewScript(prompttest.Reply{Err: &prompt.ProgramError{Program: "askpass", State: "exit status 3"}})
		got := <-newFixture(t, prompt.BrokerConfig{}, broken, prompttest.NewScript()).ask(t.Context(), passcode())
		want(t, got, "", prompt.ErrUnavailable)
		if program, ok := errors.AsType[*prompt.ProgramError](got.err); !ok || program.Program != "askpass" {
			t.Errorf("Ask = %v", got.err)
		}
	})
}

// Closing one window is "not now": another prompter may still bring the answer.
func TestDismissed(t *testing.T) {
	t.Parallel()
	closing := prompttest.NewScript(prompttest.Reply{Err: prompt.ErrDismissed}, prompttest.Reply{Err: prompt.ErrDismissed})
	unable := prompttest.NewScript()
	for name, tt := range map[string]struct {
		scripts    []prompt.Prompter
		attachable bool
		answer     string
		err        error
	}{
		"another answers":      {[]prompt.Prompter{prompttest.NewScript(prompttest.Reply{Err: prompt.ErrDismissed}), prompttest.Answers("123456")}, false, "123456", nil},
		"closed everywhere":    {[]prompt.Prompter{closing, closing}, false, "", prompt.ErrDismissed},
		"others cannot show":   {[]prompt.Prompter{prompttest.NewScript(prompttest.Reply{Err: prompt.ErrDismissed}), unable}, true, "", prompt.ErrDismissed},
		"no prompter shows it": {nil, true, "", prompt.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, prompt.BrokerConfig{Attachable: tt.attachable}, tt.scripts...)
				want(t, <-f.ask(t.Context(), passcode()), tt.answer, tt.err)
			})
		})
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		deadline time.Duration
		took     time.Duration
	}{
		{"of the broker", 0, 55 * time.Second},
		{"of the caller", 10 * time.Second, 10 * time.Second},
		{"the earlier one", time.Hour, 55 * time.Second},
		{"past", -time.Second, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				slow, r := waiting(), passcode()
				if c.deadline != 0 {
					r.Deadline = time.Now().Add(c.deadline)
				}
				f := newFixture(t, prompt.BrokerConfig{}, slow)
				got := <-f.ask(t.Context(), r)
				want(t, got, "", prompt.ErrTimeout)
				if got.after != c.took {
					t.Errorf("Ask took %v of bubble time, want %v", got.after, c.took)
				}
				synctest.Wait()
				for _, cause := range slow.Withdrawn() {
					if !errors.Is(cause, prompt.ErrTimeout) {
						t.Errorf("the prompter was told %v", cause)
					}
				}
			})
		})
	}
}

// TestAnswerAfterSleep: timers stand still while a machine sleeps, the clock
// does not.
func TestAnswerAfterSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var slept atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(slept.Load())) }
		f := newFixture(t, prompt.BrokerConfig{Now: now}, waiting())
		out := f.ask(t.Context(), passcode())
		slept.Store(int64(time.Hour))
		if err := f.Answer(f.Pending()[0].ID, "123456"); !errors.Is(err, prompt.ErrUnknown) {
			t.Errorf("Answer = %v, want ErrUnknown", err)
		}
		want(t, <-out, "", prompt.ErrTimeout)
	})
}

func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := waiting()
		f := newFixture(t, prompt.BrokerConfig{}, slow)
		ctx, cancel := context.WithCancel(t.Context())
		first, second := f.ask(ctx, passcode()), f.ask(ctx, passcode())
		cancel()
		want(t, <-first, "", context.Canceled)
		want(t, <-second, "", context.Canceled)
		synctest.Wait()
		if got := slow.Withdrawn(); !slices.Equal(got, []error{prompt.ErrNotNeeded}) {
			t.Errorf("the prompter was told %v, want one ErrNotNeeded: the second was never shown", got)
		}
		if _, err := f.Ask(ctx, passcode()); !errors.Is(err, context.Canceled) {
			t.Errorf("Ask with an ended context: %v", err)
		}
	})
}

func TestAnswerFromElsewhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, prompt.BrokerConfig{}, waiting())
		r := passcode()
		r.Kind, r.Choices = prompt.Choose, []string{"corp\x00totp", "corp\x01totp", "duo"}
		out := f.ask(t.Context(), r)
		p := f.Pending()[0]
		if !slices.Equal(p.Choices, []string{"corp?totp", "corp?totp (2)", "duo"}) {
			t.Fatalf("choices are shown as %q", p.Choices)
		}
		if len(p.ID) != 6 || strings.Trim(p.ID, "abcdefghijkmnpqrstuvwxyz23456789") != "" {
			t.Errorf("ID %q is hard to type", p.ID)
		}
		for _, bad := range []string{"", "corp", "4", "corp\x00totp"} {
			if err := f.Answer(p.ID, bad); !errors.Is(err, prompt.ErrAnswer) {
				t.Errorf("Answer(%q) = %v, want ErrAnswer", bad, err)
			}
		}
		if err := f.Answer("zzzzzz", "duo"); !errors.Is(err, prompt.ErrUnknown) {
			t.Errorf("Answer of an unknown prompt = %v", err)
		}
		if err := f.Answer(" "+strings.ToUpper(p.ID), "corp?totp (2)"); err != nil {
			t.Errorf("Answer = %v", err)
		}
		want(t, <-out, "corp\x01totp", nil)
		if err := f.Deny(p.ID); !errors.Is(err, prompt.ErrUnknown) {
			t.Errorf("Deny of a decided prompt = %v", err)
		}
	})
}

func TestConfirmTakesNoForNo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := passcode()
		r.Kind = prompt.Confirm
		f := newFixture(t, prompt.BrokerConfig{}, prompttest.Answers("no", "sure"))
		want(t, <-f.ask(t.Context(), r), "", prompt.ErrDenied)
		want(t, <-f.ask(t.Context(), r), "yes", nil)
	})
}

func TestReconfigureKeepsPending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old, fresh := waiting(), prompttest.Answers("222222")
		f := newFixture(t, prompt.BrokerConfig{}, old)
		first, second := f.ask(t.Context(), passcode()), f.ask(t.Context(), passcode())
		f.Reconfigure(prompt.BrokerConfig{Prompters: []prompt.Named{{Name: "fresh", Prompter: fresh}}})
		if got := f.Prompters(); !slices.Equal(got, []string{"fresh"}) {
			t.Errorf("Prompters = %q", got)
		}
		if n := len(f.Pending()); n != 2 {
			t.Errorf("%d prompts are pending, want 2", n)
		}
		if err := f.Answer(f.Pending()[0].ID, "111111"); err != nil {
			t.Errorf("Answer = %v", err)
		}
		want(t, <-first, "111111", nil)
		want(t, <-second, "222222", nil)
	})
}

func TestHostileRequestIsSanitised(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := prompttest.Answers("2")
		f := newFixture(t, prompt.BrokerConfig{}, s)
		r := prompttest.HostileRequest(prompt.Choose)
		for i := range 200 {
			r.Choices = append(r.Choices, fmt.Sprint("more", i))
		}
		want(t, <-f.ask(t.Context(), r), r.Choices[1], nil)
		got := s.Requests()[0]
		clean := r.Sanitized()
		clean.ID, clean.Deadline = got.ID, got.Deadline
		if diff := cmp.Diff(clean, got); diff != "" {
			t.Errorf("a prompter gets (-sanitised +got): %s", diff)
		}
		if len(got.Choices) != 99 || len(slices.Compact(slices.Sorted(slices.Values(got.Choices)))) != 99 {
			t.Errorf("%d choices, or some look the same", len(got.Choices))
		}
	})
}

// The caller can end the question with the line that says why: a phone was
// faster.
func TestAskIsDecidedElsewhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := waiting()
		f := newFixture(t, prompt.BrokerConfig{}, p)
		events := f.Watch(t.Context(), false)
		ctx, settle := context.WithCancelCause(t.Context())
		got := f.ask(ctx, passcode())
		settle(fmt.Errorf("the phone: %w", prompt.Decided{Message: "approved\x1b[2J"}))
		want(t, <-got, "", context.Canceled)
		if e := <-events; e.Type != prompt.EventPrompt {
			t.Errorf("event %+v", e)
		}
		e := <-events
		if e.Type != prompt.EventDone || strings.Contains(e.Request.Message, "\x1b") || !strings.HasPrefix(e.Request.Message, "approved") {
			t.Errorf("event %+v", e)
		}
		if words := prompt.Withdrawn(e.Cause()); words != e.Request.Message {
			t.Errorf("shown as %q", words)
		}
	})
}

// OnEnd is called before the caller of Ask learns how a prompt ended.
func TestOnEndComesFirst(t *testing.T) {
	t.Parallel()
	var ends []string // written before Ask returns, so it needs no lock
	f := newFixture(t, prompt.BrokerConfig{Attachable: true, OnEnd: func(kind prompt.Kind, event string, open time.Duration) {
		ends = append(ends, string(kind)+" "+event)
		if open < 0 {
			t.Errorf("open for %v", open)
		}
	}})
	events := f.Watch(t.Context(), true)
	go func() {
		for e := range events {
			if e.Type == prompt.EventPrompt {
				_ = f.Deny(e.Request.ID)
			}
		}
	}()
	for i := range 50 {
		if _, err := f.Ask(t.Context(), prompt.Request{Kind: prompt.Passcode}); !errors.Is(err, prompt.ErrDenied) {
			t.Fatal(err)
		}
		if len(ends) != i+1 || ends[i] != "passcode denied" {
			t.Fatalf("after %d prompts: %q", i+1, ends)
		}
	}
	f.Tell(t.Context(), prompt.Request{Kind: prompt.Push}).Done("approved")
	if ends[len(ends)-1] != "push done" {
		t.Errorf("a push that was decided: %q", ends[len(ends)-1])
	}
}

// What cannot ask now is told with what it lacks; a check that does not end holds up nobody.
func TestCannotAsk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		named := func(name string, err error) prompt.Named {
			return prompt.Named{Name: name, Check: func(context.Context) error { return err }}
		}
		f := newFixture(t, prompt.BrokerConfig{Prompters: []prompt.Named{
			{Name: "terminal"}, named("notification", nil), named("desktop", fmt.Errorf("%w: no graphical session", prompt.ErrUnavailable)),
		}})
		if got := f.CannotAsk(t.Context()); len(got) != 1 || got["desktop"] != "no graphical session" {
			t.Errorf("%q", got)
		}
		f.Reconfigure(prompt.BrokerConfig{Prompters: []prompt.Named{{Name: "hung", Check: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}}})
		start := time.Now()
		if got := f.CannotAsk(t.Context()); len(got) != 0 || time.Since(start) > 3*time.Second {
			t.Errorf("%v after %v", got, time.Since(start))
		}
	})
}
