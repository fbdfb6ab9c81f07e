package cache_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/cachetest"
)

func TestLayered(t *testing.T) {
	t.Parallel()
	locked := func(context.Context, string, string) error { return &cache.RingError{Condition: cache.Locked} }
	disabled := func(context.Context, string, string) error { return &cache.RingError{Condition: cache.Disabled} }
	for name, back := range map[string]func() cache.Store{
		"over memory":             func() cache.Store { return &cache.Memory{} },
		"over a keyring":          func() cache.Store { return layeredKeyring(&cachetest.Ring{}) },
		"over a disabled keyring": func() cache.Store { return layeredKeyring(&cachetest.Ring{Before: disabled}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cachetest.Run(t, func(*testing.T) cache.Store { return cache.NewLayered(&cache.Memory{}, back()) })
		})
	}
	t.Run("over a locked keyring", func(t *testing.T) {
		t.Parallel()
		l := cache.NewLayered(&cache.Memory{}, layeredKeyring(&cachetest.Ring{Before: locked}))
		must(t, l.Put(t.Context(), aKey("r"), aToken()))
		if _, err := l.Get(t.Context(), aKey("r")); err != nil {
			t.Errorf("get: %v", err)
		}
		if entries, err := l.List(t.Context()); err != nil || len(entries) != 1 {
			t.Errorf("list: %d entries, error %v", len(entries), err)
		}
		if l.State().Condition != cache.Locked {
			t.Errorf("state is %v", l.State())
		}
	})
}

func layeredKeyring(ring cache.Ring) *cache.Keyring {
	return cache.NewKeyring(cache.KeyringConfig{Ring: ring})
}

func TestLayeredAsksTheBackOnce(t *testing.T) {
	t.Parallel()
	ring := &cachetest.Ring{}
	must(t, layeredKeyring(ring).Put(t.Context(), aKey("stored"), aToken()))
	l := cache.NewLayered(&cache.Memory{}, layeredKeyring(ring))
	before := ring.Calls()
	var group sync.WaitGroup
	for range 1000 {
		group.Go(func() {
			if _, err := l.Get(t.Context(), aKey("stored")); err != nil {
				t.Errorf("get: %v", err)
			}
			if _, err := l.Get(t.Context(), aKey("absent")); !errors.Is(err, cache.ErrNotFound) {
				t.Errorf("get of an absent one: %v", err)
			}
		})
	}
	group.Wait()
	if calls := ring.Calls() - before; calls != 2 {
		t.Errorf("the keyring was called %d times", calls)
	}
	must(t, l.Put(t.Context(), aKey("absent"), aToken()))
	if _, err := l.Get(t.Context(), aKey("absent")); err != nil {
		t.Errorf("get after put: %v", err)
	}
	_, err := l.List(t.Context())
	must(t, err)
	before = ring.Calls()
	for range 10 {
		_, _ = l.Get(t.Context(), aKey("new"))
		_, _ = l.List(t.Context())
	}
	if calls := ring.Calls() - before; calls != 0 {
		t.Errorf("after List the keyring was called %d times", calls)
	}
}

// flaky is a store that fails while down is set.
type flaky struct {
	cache.Memory
	mu   sync.Mutex
	down error
}

func (f *flaky) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = err
}

func (f *flaky) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down
}

func (f *flaky) Get(ctx context.Context, k cache.Key) (cache.Token, error) {
	if err := f.err(); err != nil {
		return cache.Token{}, err
	}
	return f.Memory.Get(ctx, k)
}

func (f *flaky) Put(ctx context.Context, k cache.Key, t cache.Token) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.Memory.Put(ctx, k, t)
}

func (f *flaky) Delete(ctx context.Context, k cache.Key) error {
	if err := f.err(); err != nil && !errors.Is(err, cache.ErrTooLarge) {
		return err
	}
	return f.Memory.Delete(ctx, k)
}

func (f *flaky) List(ctx context.Context) ([]cache.Entry, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.Memory.List(ctx)
}

func TestLayeredOutlivesItsBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	has := func(t *testing.T, s cache.Store, rule string) bool {
		t.Helper()
		_, err := s.Get(ctx, aKey(rule))
		if err != nil && !errors.Is(err, cache.ErrNotFound) {
			t.Fatalf("get: %v", err)
		}
		return err == nil
	}
	t.Run("what was put while it was down is stored later", func(t *testing.T) {
		t.Parallel()
		back := &flaky{down: cache.ErrUnavailable}
		l := cache.NewLayered(&cache.Memory{}, back)
		must(t, l.Put(ctx, aKey("r"), aToken()))
		if l.State().Condition != cache.Failed {
			t.Errorf("state is %v", l.State())
		}
		back.set(nil)
		must(t, l.Put(ctx, aKey("other"), aToken()))
		if !has(t, &back.Memory, "r") || !has(t, &back.Memory, "other") {
			t.Error("a token is only in memory")
		}
		if l.State().Condition != cache.Available {
			t.Errorf("state is %v", l.State())
		}
	})
	t.Run("what was deleted while it was down is not served again", func(t *testing.T) {
		t.Parallel()
		back := &flaky{}
		l := cache.NewLayered(&cache.Memory{}, back)
		must(t, l.Put(ctx, aKey("r"), aToken()))
		back.set(cache.ErrUnavailable)
		if err := l.Delete(ctx, aKey("r")); !errors.Is(err, cache.ErrUnavailable) {
			t.Errorf("delete: %v; it must say that the token is still stored", err)
		}
		back.set(nil)
		if has(t, l, "r") {
			t.Error("the deleted token is served from the back")
		}
		entries, err := l.List(ctx)
		if err != nil || len(entries) != 0 || has(t, &back.Memory, "r") {
			t.Errorf("%d listed, error %v; or still in the back", len(entries), err)
		}
	})
	t.Run("a keyring that is not there has nothing to delete", func(t *testing.T) {
		t.Parallel()
		for _, c := range []cache.Condition{cache.Missing, cache.Disabled} {
			l := cache.NewLayered(&cache.Memory{}, &flaky{down: &cache.RingError{Condition: c}})
			must(t, l.Put(ctx, aKey("r"), aToken()))
			must(t, l.Delete(ctx, aKey("r")))
			if has(t, l, "r") {
				t.Error("the token is served")
			}
		}
	})
	t.Run("a token that is too large replaces a small one", func(t *testing.T) {
		t.Parallel()
		back := &flaky{}
		l := cache.NewLayered(&cache.Memory{}, back)
		must(t, l.Put(ctx, aKey("r"), aToken()))
		back.set(cache.ErrTooLarge)
		must(t, l.Put(ctx, aKey("r"), aToken()))
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

func (s *slowBack) Get(ctx context.Context, k cache.Key) (cache.Token, error) {
	t, err := s.Memory.Get(ctx, k)
	close(s.asked)
	<-s.goOn
	return t, err
}

func TestLayeredDeleteBeatsARunningGet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		back := &slowBack{asked: make(chan struct{}), goOn: make(chan struct{})}
		must(t, back.Memory.Put(t.Context(), aKey("r"), aToken()))
		l := cache.NewLayered(&cache.Memory{}, back)
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := l.Get(t.Context(), aKey("r")); !errors.Is(err, cache.ErrNotFound) {
				t.Errorf("the running get: %v", err)
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
		if _, err := l.Get(t.Context(), aKey("r")); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("get after delete: %v", err)
		}
		if entries, _ := back.List(t.Context()); len(entries) != 0 {
			t.Error("the token is still in the back")
		}
	})
}

func TestLayeredServesMemoryWhileTheBackHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context, _, _ string) error { <-ctx.Done(); return ctx.Err() }
		l := cache.NewLayered(&cache.Memory{}, layeredKeyring(&cachetest.Ring{Before: hang}))
		var group sync.WaitGroup
		group.Go(func() {
			if err := l.Put(t.Context(), aKey("r"), aToken()); err != nil {
				t.Errorf("put: %v", err)
			}
		})
		synctest.Wait() // the put is in the keyring
		start := time.Now()
		if _, err := l.Get(t.Context(), aKey("r")); err != nil || time.Since(start) != 0 {
			t.Errorf("get took %v, error %v", time.Since(start), err)
		}
		group.Wait()
		if l.State().Condition != cache.Slow {
			t.Errorf("state is %v", l.State())
		}
	})
}

func TestLayeredCallerLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		back := &slowBack{asked: make(chan struct{}), goOn: make(chan struct{})}
		l := cache.NewLayered(&cache.Memory{}, back)
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
