package cache_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/cachetest"
)

// What is in memory serves on and goes to the new back; what the old one has is
// no longer asked for.
func TestReplace(t *testing.T) {
	t.Parallel()
	old, next := &cache.Memory{}, &cache.Memory{}
	must(t, old.Put(t.Context(), aKey("stored"), aToken()))
	l := cache.NewLayered(&cache.Memory{}, old)
	must(t, l.Put(t.Context(), aKey("r"), aToken()))
	if _, err := l.Get(t.Context(), aKey("absent")); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("absent: %v", err)
	}
	if got := l.Replace(next); got != cache.Store(old) {
		t.Errorf("the old back is %v", got)
	}
	if _, err := l.Get(t.Context(), aKey("r")); err != nil {
		t.Errorf("after the change: %v", err)
	}
	if _, err := l.Get(t.Context(), aKey("stored")); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("only in the old back: %v", err)
	}
	must(t, next.Put(t.Context(), aKey("absent"), aToken())) // what an earlier process has left there
	entries, err := l.List(t.Context())
	must(t, err)
	if len(entries) != 2 {
		t.Errorf("%d entries, want that in memory and that of the new back", len(entries))
	}
	if _, err := next.Get(t.Context(), aKey("r")); err != nil {
		t.Errorf("the new back was not told: %v", err)
	}
	must(t, l.Delete(t.Context(), aKey("r")))
	if _, err := next.Get(t.Context(), aKey("r")); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("deleted, but the new back has it: %v", err)
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
				ring, proceed := &cachetest.Ring{}, make(chan struct{})
				must(t, layeredKeyring(ring).Put(t.Context(), aKey("stored"), aToken()))
				ring.Before = func(context.Context, string, string) error { <-proceed; return nil }
				l := cache.NewLayered(&cache.Memory{}, layeredKeyring(ring))
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
				if _, err := l.Get(t.Context(), aKey("stored")); !errors.Is(err, cache.ErrNotFound) {
					t.Errorf("the old back's token: %v", err)
				}
				_, err := l.List(t.Context())
				must(t, err)
				if _, err := next.Get(t.Context(), aKey("new")); (err == nil) != (name == "put") {
					t.Errorf("in the new back: %v", err)
				}
			})
		})
	}
}

func TestHeldAsksNobody(t *testing.T) {
	t.Parallel()
	ring := &cachetest.Ring{}
	must(t, layeredKeyring(ring).Put(t.Context(), aKey("stored"), aToken()))
	l := cache.NewLayered(&cache.Memory{}, layeredKeyring(ring))
	must(t, l.Put(t.Context(), aKey("a"), aToken()))
	other := aKey("a")
	other.Identity = "11ee"
	must(t, l.Put(t.Context(), other, aToken()))
	before := ring.Calls()
	if held := l.Held(); held["a"] != 2 || len(held) != 1 || ring.Calls() != before {
		t.Errorf("held %v, %d calls of the keyring", held, ring.Calls()-before)
	}
}

// The next process knows the callers of one that kept its key, and a key that is
// there already is left alone.
func TestKeepIdentity(t *testing.T) {
	t.Parallel()
	ring := &cachetest.Ring{}
	first, second := cache.RandomIdentifier(), cache.RandomIdentifier()
	must(t, first.Keep(t.Context(), ring, ""))
	must(t, second.Keep(t.Context(), ring, ""))
	loaded, state := cache.LoadIdentifier(t.Context(), ring, "")
	if state.Condition != cache.Available || loaded.Identify("hvs.x") != first.Identify("hvs.x") || loaded.Identify("hvs.x") == second.Identify("hvs.x") {
		t.Errorf("state %v; the names differ", state)
	}
	locked := &cachetest.Ring{Before: func(context.Context, string, string) error { return &cache.RingError{Condition: cache.Locked} }}
	if err := first.Keep(t.Context(), locked, ""); !errors.Is(err, cache.ErrUnavailable) {
		t.Errorf("locked: %v", err)
	}
}

// What is dropped is not served from that moment, whatever the back is busy with,
// and is gone from there as soon as it can be used.
func TestDropDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ring := &cachetest.Ring{}
		back := layeredKeyring(ring)
		l := cache.NewLayered(&cache.Memory{}, back)
		for _, name := range []string{"a", "b", "stays"} {
			must(t, l.Put(t.Context(), aKey(name), aToken()))
		}
		proceed := make(chan struct{})
		ring.Before = func(context.Context, string, string) error { <-proceed; return nil }
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
		for _, entries := range [][]cache.Entry{entriesOf(t, l), entriesOf(t, back)} {
			if len(entries) != 1 || entries[0].Key != aKey("stays") {
				t.Errorf("left: %v", entries)
			}
		}
	})
}

func entriesOf(t *testing.T, s cache.Store) []cache.Entry {
	t.Helper()
	entries, err := s.List(t.Context())
	must(t, err)
	return entries
}
