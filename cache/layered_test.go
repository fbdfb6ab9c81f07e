package cache_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/keyring"
)

func TestLayeredOverALockedKeyring(t *testing.T) {
	t.Parallel()
	l := layered(persistent(&cachetest.Keyring{Before: failing(keyring.Locked)}))
	must(t, l.Put(t.Context(), aKey("r"), aToken()))
	if !has(t, l, "r") || len(listed(t, l)) != 1 || l.State().Condition != keyring.Locked {
		t.Errorf("the token is not served from memory; state is %v", l.State())
	}
}

// What is kept until a lock is in memory only, and the store behind it forgets what it had.
func TestKeptUntilALockIsInMemoryOnly(t *testing.T) {
	t.Parallel()
	back := &cache.Memory{}
	l := layered(back)
	must(t, l.Put(t.Context(), aKey("r"), aToken()))
	token := aToken()
	token.Keep = "lock"
	must(t, l.Put(t.Context(), aKey("r"), token))
	if !has(t, l, "r") || has(t, back, "r") {
		t.Error("the token is not in memory, or one is in the store behind it")
	}
}

func TestLayeredAsksTheBackOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "stored")
	l := layered(persistent(f.keyring))
	calls := func(use func()) int {
		before := f.keyring.Calls()
		use()
		return f.keyring.Calls() - before
	}
	asked := calls(func() {
		var group sync.WaitGroup
		for range 1000 {
			group.Go(func() {
				if !has(t, l, "stored") || has(t, l, "absent") {
					t.Error("the store has another token than its back")
				}
			})
		}
		group.Wait()
	})
	if asked != 2 {
		t.Errorf("the keyring was called %d times", asked)
	}
	must(t, l.Put(t.Context(), aKey("absent"), aToken()))
	if !has(t, l, "absent") {
		t.Error("not there after put")
	}
	listed(t, l)
	asked = calls(func() {
		for range 10 {
			has(t, l, "new")
			listed(t, l)
		}
	})
	if asked != 0 {
		t.Errorf("after List the keyring was called %d times", asked)
	}
}

// flaky is a store that fails while down is set.
type flaky struct {
	cache.Memory
	down error
}

func (f *flaky) Get(ctx context.Context, k cache.Key) (cache.Token, error) {
	if f.down != nil {
		return cache.Token{}, f.down
	}
	return f.Memory.Get(ctx, k)
}

func (f *flaky) Put(ctx context.Context, k cache.Key, t cache.Token) error {
	if f.down != nil {
		return f.down
	}
	return f.Memory.Put(ctx, k, t)
}

func (f *flaky) Delete(ctx context.Context, k cache.Key) error {
	if f.down != nil && !errors.Is(f.down, cache.ErrTooLarge) {
		return f.down
	}
	return f.Memory.Delete(ctx, k)
}

func (f *flaky) List(ctx context.Context) ([]cache.Entry, error) {
	if f.down != nil {
		return nil, f.down
	}
	return f.Memory.List(ctx)
}

func TestLayeredOutlivesItsBack(t *testing.T) {
	t.Parallel()
	t.Run("what was put while it was down is stored later", func(t *testing.T) {
		t.Parallel()
		back := &flaky{down: cache.ErrUnavailable}
		l := layered(back)
		must(t, l.Put(t.Context(), aKey("r"), aToken()))
		if l.State().Condition != keyring.Failed {
			t.Errorf("state is %v", l.State())
		}
		back.down = nil
		must(t, l.Put(t.Context(), aKey("other"), aToken()))
		if !has(t, &back.Memory, "r") || !has(t, &back.Memory, "other") {
			t.Error("a token is only in memory")
		}
		if l.State().Condition != keyring.Available {
			t.Errorf("state is %v", l.State())
		}
	})
	t.Run("what was deleted while it was down is not served again", func(t *testing.T) {
		t.Parallel()
		back := &flaky{}
		l := layered(back)
		must(t, l.Put(t.Context(), aKey("r"), aToken()))
		back.down = cache.ErrUnavailable
		if err := l.Delete(t.Context(), aKey("r")); !errors.Is(err, cache.ErrUnavailable) {
			t.Errorf("delete: %v; it must say that the token is still stored", err)
		}
		back.down = nil
		if has(t, l, "r") {
			t.Error("the deleted token is served from the back")
		}
		if rules := listed(t, l); len(rules) != 0 || has(t, &back.Memory, "r") {
			t.Errorf("listed: %q; or still in the back", rules)
		}
	})
	t.Run("a keyring that is not there has nothing to delete", func(t *testing.T) {
		t.Parallel()
		for _, c := range []keyring.Condition{keyring.Missing, keyring.Disabled} {
			l := layered(&flaky{down: &keyring.Error{Condition: c}})
			must(t, l.Put(t.Context(), aKey("r"), aToken()))
			must(t, l.Delete(t.Context(), aKey("r")))
			if has(t, l, "r") {
				t.Error("the token is served")
			}
		}
	})
	t.Run("a token that is too large replaces a small one", func(t *testing.T) {
		t.Parallel()
		back := &flaky{}
		l := layered(back)
		must(t, l.Put(t.Context(), aKey("r"), aToken()))
		back.down = cache.ErrTooLarge
		must(t, l.Put(t.Context(), aKey("r"), aToken()))
		if !has(t, l, "r") || has(t, &back.Memory, "r") {
			t.Error("want the token in memory, and nothing of the old one in the back")
		}
	})
}

// slowBack lets a test act while the back is being asked.
type slowBack struct {
	cache.Memory
	asked, goOn chan struct{}
}

func newSlowBack() *slowBack { return &slowBack{asked: make(chan struct{}), goOn: make(chan struct{})} }

func (s *slowBack) Get(ctx context.Context, k cache.Key) (cache.Token, error) {
	t, err := s.Memory.Get(ctx, k)
	close(s.asked)
	<-s.goOn
	return t, err
}

func TestLayeredDeleteBeatsARunningGet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		back := newSlowBack()
		must(t, back.Memory.Put(t.Context(), aKey("r"), aToken()))
		l := layered(back)
		var group sync.WaitGroup
		group.Go(func() {
			if has(t, l, "r") {
				t.Error("the running get finds it")
			}
		})
		<-back.asked
		group.Go(func() {
			if err := l.Delete(t.Context(), aKey("r")); err != nil {
				t.Errorf("delete: %v", err)
			}
		})
		synctest.Wait() // the delete waits for its turn at the back
		close(back.goOn)
		group.Wait()
		if has(t, l, "r") || len(listed(t, back)) != 0 {
			t.Error("the token is still there, or in the back")
		}
	})
}

func TestLayeredServesMemoryWhileTheBackHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := layered(persistent(&cachetest.Keyring{Before: hang}))
		var group sync.WaitGroup
		group.Go(func() {
			if err := l.Put(t.Context(), aKey("r"), aToken()); err != nil {
				t.Errorf("put: %v", err)
			}
		})
		synctest.Wait() // the put is in the keyring
		start := time.Now()
		if !has(t, l, "r") || time.Since(start) != 0 {
			t.Errorf("get took %v", time.Since(start))
		}
		group.Wait()
		if l.State().Condition != keyring.Slow {
			t.Errorf("state is %v", l.State())
		}
	})
}

func TestLayeredCallerLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		back := newSlowBack()
		l := layered(back)
		var group sync.WaitGroup
		group.Go(func() { _, _ = l.Get(t.Context(), aKey("r")) })
		<-back.asked
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Get(ctx, aKey("r")); !errors.Is(err, context.Canceled) || !errors.Is(err, cache.ErrUnavailable) {
			t.Errorf("get: %v", err)
		}
		close(back.goOn)
		group.Wait()
	})
}

// What is in memory serves on and goes to the new back; what the old one has is
// no longer asked for.
func TestReplace(t *testing.T) {
	t.Parallel()
	old, next := &cache.Memory{}, &cache.Memory{}
	must(t, old.Put(t.Context(), aKey("stored"), aToken()))
	l := layered(old)
	must(t, l.Put(t.Context(), aKey("r"), aToken()))
	if has(t, l, "absent") {
		t.Error("has an absent token")
	}
	if got := l.Replace(next); got != cache.Store(old) {
		t.Errorf("the old back is %v", got)
	}
	if !has(t, l, "r") || has(t, l, "stored") {
		t.Error("want what was in memory, and nothing that is only in the old back")
	}
	must(t, next.Put(t.Context(), aKey("absent"), aToken())) // what an earlier process has left there
	if rules := listed(t, l); !slices.Equal(rules, []string{"absent", "r"}) {
		t.Errorf("listed: %q, want that in memory and that of the new back", rules)
	}
	if !has(t, next, "r") {
		t.Error("the new back was not told")
	}
	must(t, l.Delete(t.Context(), aKey("r")))
	if has(t, next, "r") {
		t.Error("deleted, but the new back has it")
	}
}

// A back that hangs is replaced at once, and what it says later is not believed.
func TestReplaceUnderUse(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(ctx context.Context, l *cache.Layered) error{
		"get":  func(ctx context.Context, l *cache.Layered) error { _, err := l.Get(ctx, aKey("stored")); return err },
		"list": func(ctx context.Context, l *cache.Layered) error { _, err := l.List(ctx); return err },
		"put":  func(ctx context.Context, l *cache.Layered) error { return l.Put(ctx, aKey("new"), aToken()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f, proceed := newFixture(t, "stored"), make(chan struct{})
				f.keyring.Before = func(context.Context, string, string) error { <-proceed; return nil }
				l := layered(persistent(f.keyring))
				var using sync.WaitGroup
				using.Go(func() {
					if err := use(t.Context(), l); err != nil && !errors.Is(err, cache.ErrNotFound) {
						t.Errorf("%s: %v", name, err)
					}
				})
				synctest.Wait()
				next := &cache.Memory{}
				l.Replace(next)
				close(proceed)
				using.Wait()
				if has(t, l, "stored") {
					t.Error("the old back's token is served")
				}
				listed(t, l)
				if has(t, next, "new") != (name == "put") {
					t.Error("the new back was not told, or of something that was not put")
				}
			})
		})
	}
}

func TestHeldDoesNotAskTheBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "stored")
	l := layered(persistent(f.keyring))
	must(t, l.Put(t.Context(), aKey("a"), aToken()))
	other := aKey("a")
	other.Identity = "11ee"
	must(t, l.Put(t.Context(), other, aToken()))
	before := f.keyring.Calls()
	if held := l.Held(); held["a"] != 2 || len(held) != 1 || f.keyring.Calls() != before {
		t.Errorf("held %v, %d calls of the keyring", held, f.keyring.Calls()-before)
	}
}

// What is dropped is not served from that moment, whatever the back is busy with,
// and is gone from there as soon as it can be used.
func TestDropDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		l := layered(f)
		for _, name := range []string{"a", "b", "stays"} {
			must(t, l.Put(t.Context(), aKey(name), aToken()))
		}
		proceed := make(chan struct{})
		f.keyring.Before = func(context.Context, string, string) error { <-proceed; return nil }
		var busy sync.WaitGroup
		busy.Go(func() { _ = l.Delete(t.Context(), aKey("other")) })
		synctest.Wait() // the back is busy with it
		dropped := l.Drop(func(k cache.Key) bool { return k.Rule != "stays" })
		if len(dropped) != 2 || dropped[0].Token.Secret == "" {
			t.Errorf("dropped %v", dropped)
		}
		for _, e := range dropped {
			if _, err := l.Take(t.Context(), e.Key); !errors.Is(err, cache.ErrNotFound) {
				t.Errorf("%s is served: %v", e.Key.Rule, err)
			}
		}
		if _, err := l.Take(t.Context(), aKey("stays")); err != nil {
			t.Error(err)
		}
		close(proceed)
		busy.Wait()
		for _, s := range []cache.Store{l, f} {
			if rules := listed(t, s); !slices.Equal(rules, []string{"stays"}) {
				t.Errorf("left: %q", rules)
			}
		}
	})
}

// taker is a store that counts uses.
type taker interface {
	cache.Store
	Take(ctx context.Context, k cache.Key) (cache.Token, error)
}

// eachTaker runs a test for each kind of them.
func eachTaker(t *testing.T, test func(t *testing.T, s taker)) {
	t.Helper()
	for name, s := range map[string]taker{
		"memory":  &cache.Memory{},
		"layered": layered(persistent(&cachetest.Keyring{})),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

func TestTakeCountsUses(t *testing.T) {
	t.Parallel()
	eachTaker(t, func(t *testing.T, s taker) {
		must(t, s.Put(t.Context(), aKey("limited"), aTokenFor(2)))
		for _, left := range []int{2, 1} {
			if got, err := s.Get(t.Context(), aKey("limited")); err != nil || got.Uses != left {
				t.Errorf("get with %d left: %d, error %v", left, got.Uses, err)
			}
			if got, err := s.Take(t.Context(), aKey("limited")); err != nil || got.Uses != left || got.Secret != aToken().Secret {
				t.Errorf("take with %d left: %d, error %v", left, got.Uses, err)
			}
		}
		got, err := s.Take(t.Context(), aKey("limited"))
		if !errors.Is(err, cache.ErrNotFound) || got != (cache.Token{}) {
			t.Errorf("take of a used up token: error %v", err)
		}
		if has(t, s, "limited") {
			t.Error("get finds a used up token")
		}

		must(t, s.Put(t.Context(), aKey("unlimited"), aToken()))
		for range 100 {
			if got, err := s.Take(t.Context(), aKey("unlimited")); err != nil || got.Uses != 0 {
				t.Fatalf("take without limit: %d, error %v", got.Uses, err)
			}
		}
		if _, err := s.Take(t.Context(), aKey("unknown")); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("take of an unknown key: error %v", err)
		}
	})
}

// However many take at once, none gets a use that is not there.
func TestTakeIsExact(t *testing.T) {
	t.Parallel()
	const uses = 50
	eachTaker(t, func(t *testing.T, s taker) {
		must(t, s.Put(t.Context(), aKey("r"), aTokenFor(uses)))
		var taken atomic.Int32
		var group sync.WaitGroup
		for range 4 * uses {
			group.Go(func() {
				_, err := s.Take(t.Context(), aKey("r"))
				switch {
				case err == nil:
					taken.Add(1)
				case !errors.Is(err, cache.ErrNotFound):
					t.Errorf("take: %v", err)
				}
			})
		}
		group.Wait()
		if n := taken.Load(); n != uses {
			t.Errorf("%d uses were taken, there were %d", n, uses)
		}
	})
}

// The keyring still has a token that is used up. It must not come forward again,
// and is gone when the keyring is written to next.
func TestLayeredTakeBeatsItsBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	must(t, f.Put(t.Context(), aKey("r"), aTokenFor(1)))
	l := layered(persistent(f.keyring))
	if _, err := l.Take(t.Context(), aKey("r")); err != nil {
		t.Fatalf("take: %v", err)
	}
	calls := f.keyring.Calls()
	for range 3 {
		if _, err := l.Take(t.Context(), aKey("r")); !errors.Is(err, cache.ErrNotFound) {
			t.Fatalf("take of a used up token: %v", err)
		}
	}
	if f.keyring.Calls() != calls {
		t.Error("the keyring was asked on the way of a request")
	}
	if rules := listed(t, l); len(rules) != 0 || has(t, persistent(f.keyring), "r") {
		t.Errorf("listed: %q; or the next process has it", rules)
	}
}

// A process that is killed loses its count, not the token.
func TestLayeredTakeAfterARestart(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	l := layered(f)
	must(t, l.Put(t.Context(), aKey("r"), aTokenFor(3)))
	calls := f.keyring.Calls()
	if _, err := l.Take(t.Context(), aKey("r")); err != nil {
		t.Fatalf("take: %v", err)
	}
	if f.keyring.Calls() != calls {
		t.Error("a use was written to the keyring")
	}
	if got, err := layered(persistent(f.keyring)).Take(t.Context(), aKey("r")); err != nil || got.Uses != 3 {
		t.Errorf("the next process takes %d, error %v", got.Uses, err)
	}
}
