package prompt_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// A notice takes no answer. Its button brings the question back.
type notice struct {
	mu    sync.Mutex
	shown []string
	press map[string]chan struct{} // by the rule of the question
}

func newNotice(rules ...string) *notice {
	n := &notice{press: make(map[string]chan struct{})}
	for _, rule := range rules {
		n.press[rule] = make(chan struct{})
	}
	return n
}

func (n *notice) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	return n.PromptOrNotify(ctx, r, func() {})
}

func (n *notice) PromptOrNotify(ctx context.Context, r prompt.Request, notified func()) (string, error) {
	n.mu.Lock()
	n.shown = append(n.shown, r.Rule)
	n.mu.Unlock()
	notified()
	select {
	case <-n.press[r.Rule]:
		return "", prompt.ErrReopened
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (n *notice) pressed(t *testing.T, rule string) {
	t.Helper()
	synctest.Wait()
	select {
	case n.press[rule] <- struct{}{}:
	default:
		t.Errorf("no notification of %s", rule)
	}
	synctest.Wait()
}

// A window that was closed comes back by the button of the notification: when nothing else is
// shown, while another question is, and while it is still there itself. Its time goes on.
func TestReopen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		closes := true // the next window of a
		window := newScreen(func(rule string) prompttest.Reply {
			if rule == "a" && closes {
				return prompttest.Reply{Err: prompt.ErrDismissed}
			}
			return prompttest.Reply{Wait: true}
		})
		n := newNotice("a", "b")
		f := newFixture(t, prompt.BrokerConfig{Attachable: true}, window, n)
		check := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(want, window.shown); diff != "" {
				t.Errorf("windows (-want +got): %s", diff)
			}
		}
		a := f.ask(t.Context(), about("a"))
		time.Sleep(10 * time.Second)
		check("a")
		n.pressed(t, "a") // it is closed again
		time.Sleep(2 * time.Second)
		check("a", "a")

		b := f.ask(t.Context(), about("b"))
		check("a", "a", "b")
		closes = false
		n.pressed(t, "a")
		check("a", "a", "b", "a")
		n.pressed(t, "a") // the window is out of sight
		check("a", "a", "b", "a", "a")
		open := f.Pending()
		if err := f.Answer(open[0].ID, "111111"); err != nil {
			t.Fatal(err)
		}
		want(t, <-a, "111111", nil)
		check("a", "a", "b", "a", "a", "b")
		if err := f.Answer(open[1].ID, "222222"); err != nil {
			t.Fatal(err)
		}
		want(t, <-b, "222222", nil)
		if diff := cmp.Diff([]string{"a", "a", "b", "a", "a", "b"}, n.shown); diff != "" {
			t.Errorf("notifications (-want +got): %s", diff)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		n := newNotice("a")
		f := newFixture(t, prompt.BrokerConfig{Attachable: true}, newScreen(notNow), n)
		a := f.ask(t.Context(), about("a"))
		time.Sleep(40 * time.Second)
		n.pressed(t, "a")
		got := <-a
		want(t, got, "", prompt.ErrTimeout)
		if got.after != 55*time.Second {
			t.Errorf("it ended after %v", got.after)
		}
	})
}

// A question that ends at the moment in which it is to be shown anew keeps no other from the
// screen.
func TestReopenAtTheEnd(t *testing.T) {
	t.Parallel()
	for range 200 {
		n := newNotice("a")
		window := prompttest.Func(func(_ context.Context, r prompt.Request) (string, error) {
			if r.Rule == "a" {
				return "", prompt.ErrDismissed
			}
			return "222222", nil
		})
		f := newFixture(t, prompt.BrokerConfig{Attachable: true}, window, n)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := f.Ask(ctx, about("a"))
			done <- err
		}()
		n.press["a"] <- struct{}{}
		cancel()
		<-done
		if got, err := f.Ask(t.Context(), about("b")); got != "222222" || err != nil {
			t.Fatal(got, err)
		}
		f.Close()
	}
}
