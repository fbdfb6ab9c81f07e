package cache_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/cachetest"
)

// taker is a store that counts uses.
type taker interface {
	cache.Store
	Take(ctx context.Context, k cache.Key) (cache.Token, error)
}

func takers() map[string]func() taker {
	return map[string]func() taker{
		"memory":  func() taker { return &cache.Memory{} },
		"layered": func() taker { return cache.NewLayered(&cache.Memory{}, layeredKeyring(&cachetest.Ring{})) },
	}
}

func TestTakeCountsUses(t *testing.T) {
	t.Parallel()
	for name, open := range takers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open()
			limited := aToken()
			limited.Uses = 2
			must(t, s.Put(t.Context(), aKey("limited"), limited))
			for _, left := range []int{2, 1} {
				if got, err := s.Get(t.Context(), aKey("limited")); err != nil || got.Uses != left {
					t.Errorf("get with %d left: %d, error %v", left, got.Uses, err)
				}
				if got, err := s.Take(t.Context(), aKey("limited")); err != nil || got.Uses != left || got.Secret != limited.Secret {
					t.Errorf("take with %d left: %d, error %v", left, got.Uses, err)
				}
			}
			got, err := s.Take(t.Context(), aKey("limited"))
			if !errors.Is(err, cache.ErrNotFound) || got != (cache.Token{}) {
				t.Errorf("take of a used up token: error %v", err)
			}
			if _, err := s.Get(t.Context(), aKey("limited")); !errors.Is(err, cache.ErrNotFound) {
				t.Errorf("get of a used up token: error %v", err)
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
}

// However many take at once, nobody gets a use that is not there.
func TestTakeIsExact(t *testing.T) {
	t.Parallel()
	const uses = 50
	for name, open := range takers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open()
			limited := aToken()
			limited.Uses = uses
			must(t, s.Put(t.Context(), aKey("r"), limited))
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
}

// The keyring still has a token that is used up. It must not come forward again,
// and is gone when the keyring is written to next.
func TestLayeredTakeBeatsItsBack(t *testing.T) {
	t.Parallel()
	ring := &cachetest.Ring{}
	limited := aToken()
	limited.Uses = 1
	must(t, layeredKeyring(ring).Put(t.Context(), aKey("r"), limited))
	l := cache.NewLayered(&cache.Memory{}, layeredKeyring(ring))
	if _, err := l.Take(t.Context(), aKey("r")); err != nil {
		t.Fatalf("take: %v", err)
	}
	calls := ring.Calls()
	for range 3 {
		if _, err := l.Take(t.Context(), aKey("r")); !errors.Is(err, cache.ErrNotFound) {
			t.Fatalf("take of a used up token: %v", err)
		}
	}
	if ring.Calls() != calls {
		t.Error("the keyring was asked on the way of a request")
	}
	if entries, err := l.List(t.Context()); err != nil || len(entries) != 0 {
		t.Errorf("list: %d entries, error %v", len(entries), err)
	}
	if _, err := layeredKeyring(ring).Get(t.Context(), aKey("r")); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("the next process: %v", err)
	}
}

// A process that is killed loses its count, not the token.
func TestLayeredTakeAfterARestart(t *testing.T) {
	t.Parallel()
	ring := &cachetest.Ring{}
	limited := aToken()
	limited.Uses = 3
	l := cache.NewLayered(&cache.Memory{}, layeredKeyring(ring))
	must(t, l.Put(t.Context(), aKey("r"), limited))
	calls := ring.Calls()
	if _, err := l.Take(t.Context(), aKey("r")); err != nil {
		t.Fatalf("take: %v", err)
	}
	if ring.Calls() != calls {
		t.Error("a use was written to the keyring")
	}
	next := cache.NewLayered(&cache.Memory{}, layeredKeyring(ring))
	if got, err := next.Take(t.Context(), aKey("r")); err != nil || got.Uses != 3 {
		t.Errorf("the next process takes %d, error %v", got.Uses, err)
	}
}
