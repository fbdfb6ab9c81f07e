package cache_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/secret"
)

func TestKeyring(t *testing.T) {
	t.Parallel()
	cachetest.Run(t, func(*testing.T) cache.Store {
		return cache.NewKeyring(cache.KeyringConfig{Ring: &cachetest.Ring{}})
	})
}

func aKey(rule string) cache.Key {
	return cache.Key{Vault: "corp", Namespace: "ns", Identity: "00ff", Rule: rule}
}

func aToken() cache.Token {
	return cache.Token{Secret: "hvs.SECRET", Created: time.Now(), Expires: time.Now().Add(time.Hour)}
}

func TestKeyringItems(t *testing.T) {
	t.Parallel()
	ring := &cachetest.Ring{}
	k := cache.NewKeyring(cache.KeyringConfig{Ring: ring})
	must(t, k.Put(t.Context(), aKey("readable-rule"), aToken()))
	names := slices.Sorted(maps.Keys(ring.Items()))
	if len(names) != 2 || !slices.Contains(names, "stepup:index-v1") {
		t.Fatalf("items are %q", names)
	}
	for name, value := range ring.Items() {
		if strings.Contains(name, "readable") || strings.Count(name, ":") != 1 {
			t.Errorf("item name %q", name)
		}
		if !strings.Contains(value.Reveal(), `"v":1`) {
			t.Errorf("value of %q has no version", name)
		}
		if strings.HasPrefix(name, "stepup:index") && strings.Contains(value.Reveal(), "SECRET") {
			t.Error("the index holds the token")
		}
	}
	must(t, k.Delete(t.Context(), aKey("readable-rule")))
	if left := ring.Items(); len(left) != 1 || strings.Contains(left["stepup:index-v1"].Reveal(), `"n"`) {
		t.Errorf("after delete %d items are left", len(left))
	}
}

func TestKeyringSurvivesTheProcess(t *testing.T) {
	t.Parallel()
	ring := &cachetest.Ring{}
	want := aToken()
	must(t, cache.NewKeyring(cache.KeyringConfig{Ring: ring}).Put(t.Context(), aKey("r"), want))

	next := cache.NewKeyring(cache.KeyringConfig{Ring: ring})
	got, err := next.Get(t.Context(), aKey("r"))
	if err != nil || got.Secret != want.Secret {
		t.Fatalf("the next process gets %v, error %v", got, err)
	}
	other := cache.NewKeyring(cache.KeyringConfig{Ring: ring, Scope: "other"})
	if _, err := other.Get(t.Context(), aKey("r")); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("another scope: %v", err)
	}
	if entries, err := other.List(t.Context()); err != nil || len(entries) != 0 {
		t.Errorf("another scope lists %d, error %v", len(entries), err)
	}
}

func TestKeyringRemovesWhatIsOver(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]time.Duration{"expired": 2 * time.Hour, "clock set back": -2 * time.Hour} {
		for operation, run := range map[string]func(*cache.Keyring) error{
			"list": func(k *cache.Keyring) error { _, err := k.List(t.Context()); return err },
			"put": func(k *cache.Keyring) error {
				return k.Put(t.Context(), aKey("other"), cache.Token{Secret: "hvs.other"})
			},
		} {
			ring := &cachetest.Ring{}
			must(t, cache.NewKeyring(cache.KeyringConfig{Ring: ring}).Put(t.Context(), aKey("r"), aToken()))
			later := cache.NewKeyring(cache.KeyringConfig{Ring: ring, Now: func() time.Time { return time.Now().Add(change) }})
			must(t, run(later))
			for item, value := range ring.Items() {
				if strings.Contains(value.Reveal(), "SECRET") {
					t.Errorf("%s, %s: %s is still in the keyring", name, operation, item)
				}
			}
		}
	}
}

func TestKeyringDistrustsItsItems(t *testing.T) {
	t.Parallel()
	names := func(ring *cachetest.Ring) []string {
		return slices.DeleteFunc(slices.Collect(maps.Keys(ring.Items())), func(n string) bool { return n == "stepup:index-v1" })
	}
	t.Run("a token under another caller's name is not served", func(t *testing.T) {
		t.Parallel()
		ring := &cachetest.Ring{}
		k := cache.NewKeyring(cache.KeyringConfig{Ring: ring})
		must(t, k.Put(t.Context(), aKey("victim"), aToken()))
		stolen := ring.Items()[names(ring)[0]]
		must(t, k.Delete(t.Context(), aKey("victim")))
		must(t, k.Put(t.Context(), aKey("thief"), aToken()))
		_, user, _ := strings.Cut(names(ring)[0], ":")
		must(t, ring.Set(t.Context(), "stepup", user, stolen))
		if _, err := k.Get(t.Context(), aKey("thief")); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("get: %v", err)
		}
		if entries, err := k.List(t.Context()); err != nil || len(entries) != 0 {
			t.Errorf("list: %d entries, error %v", len(entries), err)
		}
	})
	for name, value := range map[string]secret.Secret{
		"not JSON": "x", "empty": "", "a newer version": `{"v":2,"token":"x"}`,
		"too long": secret.Secret(`{"v":1}` + strings.Repeat(" ", 2000)),
	} {
		t.Run(name+" is absent and replaced", func(t *testing.T) {
			t.Parallel()
			ring := &cachetest.Ring{}
			k := cache.NewKeyring(cache.KeyringConfig{Ring: ring})
			must(t, k.Put(t.Context(), aKey("r"), aToken()))
			_, user, _ := strings.Cut(names(ring)[0], ":")
			must(t, ring.Set(t.Context(), "stepup", user, value))
			must(t, ring.Set(t.Context(), "stepup", "index-v1", value))
			if _, err := k.Get(t.Context(), aKey("r")); !errors.Is(err, cache.ErrNotFound) {
				t.Errorf("get: %v", err)
			}
			must(t, k.Put(t.Context(), aKey("r"), aToken()))
			if entries, err := k.List(t.Context()); err != nil || len(entries) != 1 {
				t.Errorf("list: %d entries, error %v", len(entries), err)
			}
		})
	}
	t.Run("an index that names other items removes none of them", func(t *testing.T) {
		t.Parallel()
		ring := &cachetest.Ring{}
		must(t, ring.Set(t.Context(), "stepup", "totp-corp", "seed"))
		must(t, ring.Set(t.Context(), "stepup", "index-v1", `{"v":1,"items":[{"n":"totp-corp","c":1,"e":2}]}`))
		_, err := cache.NewKeyring(cache.KeyringConfig{Ring: ring}).List(t.Context())
		must(t, err)
		if ring.Items()["stepup:totp-corp"] != "seed" {
			t.Error("the foreign item is gone")
		}
	})
}

func TestKeyringStates(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want cache.State
		hold time.Duration // 0: never used again
	}{
		"locked":         {&cache.RingError{Condition: cache.Locked, Why: "w"}, cache.State{Condition: cache.Locked, Why: "w"}, 15 * time.Second},
		"missing":        {&cache.RingError{Condition: cache.Missing, Why: "w"}, cache.State{Condition: cache.Missing, Why: "w"}, 15 * time.Second},
		"slow":           {&cache.RingError{Condition: cache.Slow, Why: "w"}, cache.State{Condition: cache.Slow, Why: "w"}, 5 * time.Minute},
		"disabled":       {&cache.RingError{Condition: cache.Disabled, Why: "w"}, cache.State{Condition: cache.Disabled, Why: "w"}, 0},
		"a foreign text": {errors.New("a\x1b[31mb\n"), cache.State{Condition: cache.Failed, Why: "a [31mb "}, 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told []string
				ring := &cachetest.Ring{Before: func(context.Context, string, string) error { return test.err }}
				k := cache.NewKeyring(cache.KeyringConfig{Ring: ring, OnError: func(operation string, err error) {
					told = append(told, operation)
				}})
				if got := k.State(); got != (cache.State{Condition: cache.Untested}) {
					t.Errorf("before its first use the state is %v", got)
				}
				for range 3 { // only the first one reaches the ring
					if _, err := k.Get(t.Context(), aKey("r")); !errors.Is(err, cache.ErrUnavailable) {
						t.Fatalf("get: %v", err)
					}
				}
				if got := k.State(); got != test.want {
					t.Errorf("state is %v, want %v", got, test.want)
				}
				if ring.Calls() != 1 || !slices.Equal(told, []string{"get"}) {
					t.Errorf("%d calls, told %v", ring.Calls(), told)
				}
				ring.Before = nil
				if test.hold == 0 {
					time.Sleep(1000 * time.Hour)
					if err := k.Put(t.Context(), aKey("r"), aToken()); !errors.Is(err, cache.ErrUnavailable) || ring.Calls() != 1 {
						t.Errorf("after long: %v, %d calls", err, ring.Calls())
					}
					return
				}
				time.Sleep(test.hold - 1)
				if err := k.Put(t.Context(), aKey("r"), aToken()); !errors.Is(err, cache.ErrUnavailable) || ring.Calls() != 1 {
					t.Errorf("too early: %v, %d calls", err, ring.Calls())
				}
				time.Sleep(time.Nanosecond)
				must(t, k.Put(t.Context(), aKey("r"), aToken()))
				if got := k.State(); got != (cache.State{Condition: cache.Available}) {
					t.Errorf("after the trouble the state is %v", got)
				}
			})
		})
	}
}

func TestKeyringThatHangs(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context, _, _ string) error { <-ctx.Done(); return ctx.Err() }
	t.Run("the limit opens the breaker", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ring := &cachetest.Ring{Before: hang}
			k := cache.NewKeyring(cache.KeyringConfig{Ring: ring})
			start := time.Now()
			var group sync.WaitGroup
			for i := range 100 { // waiters do not each wait for the limit
				group.Go(func() {
					if err := k.Put(t.Context(), aKey(fmt.Sprint(i)), aToken()); !errors.Is(err, cache.ErrUnavailable) {
						t.Errorf("put: %v", err)
					}
				})
			}
			group.Wait()
			if waited := time.Since(start); waited != 3*time.Second || ring.Calls() != 1 {
				t.Errorf("waited %v for %d calls", waited, ring.Calls())
			}
			if k.State().Condition != cache.Slow {
				t.Errorf("state is %v", k.State())
			}
		})
	})
	t.Run("so does a caller who waits no longer than that", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ring := &cachetest.Ring{Before: hang}
			k := cache.NewKeyring(cache.KeyringConfig{Ring: ring})
			for range 3 { // requests, each with its own patience
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second-time.Millisecond)
				if _, err := k.Get(ctx, aKey("r")); !errors.Is(err, cache.ErrUnavailable) {
					t.Errorf("get: %v", err)
				}
				cancel()
			}
			if ring.Calls() != 1 || k.State().Condition != cache.Slow {
				t.Errorf("%d calls, state is %v", ring.Calls(), k.State())
			}
		})
	})
	t.Run("a caller that leaves says nothing about the keyring", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := cache.NewKeyring(cache.KeyringConfig{Ring: &cachetest.Ring{Before: hang}})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var group sync.WaitGroup
			for range 2 { // one in the call, one in the queue
				group.Go(func() {
					_, err := k.Get(ctx, aKey("r"))
					if !errors.Is(err, cache.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("get: %v", err)
					}
				})
			}
			group.Wait()
			if k.State().Condition != cache.Untested {
				t.Errorf("state is %v", k.State())
			}
		})
	})
}

func TestKeyringMakesOneCallAtATime(t *testing.T) {
	t.Parallel()
	var running, most atomic.Int32
	ring := &cachetest.Ring{Before: func(context.Context, string, string) error {
		most.Store(max(most.Load(), running.Add(1)))
		time.Sleep(time.Microsecond) // lets another one in, if it can
		running.Add(-1)
		return nil
	}}
	k := cache.NewKeyring(cache.KeyringConfig{Ring: ring})
	var group sync.WaitGroup
	for i := range 10 {
		group.Go(func() {
			_ = k.Put(t.Context(), aKey(fmt.Sprint(i)), aToken())
			_, _ = k.List(t.Context())
		})
	}
	group.Wait()
	if most.Load() != 1 {
		t.Errorf("%d calls at once", most.Load())
	}
}

// A cutting keyring keeps the first half of what it is given.
type cuttingRing struct{ cachetest.Ring }

func (r *cuttingRing) Set(ctx context.Context, service, user string, value secret.Secret) error {
	if !strings.HasPrefix(user, "index") {
		value = value[:len(value)/2]
	}
	return r.Ring.Set(ctx, service, user, value)
}

func TestKeyringVerifiesItsFirstWrite(t *testing.T) {
	t.Parallel()
	ring := &cuttingRing{}
	k := cache.NewKeyring(cache.KeyringConfig{Ring: ring})
	if err := k.Put(t.Context(), aKey("r"), aToken()); !errors.Is(err, cache.ErrUnavailable) {
		t.Errorf("put: %v", err)
	}
	if k.State().Condition != cache.Disabled {
		t.Errorf("state is %v", k.State())
	}
	for name, value := range ring.Items() {
		if strings.Contains(value.Reveal(), "SECRET") {
			t.Errorf("%s is left in the keyring", name)
		}
	}
}

func TestKeyringSizes(t *testing.T) {
	t.Parallel()
	ring := &cachetest.Ring{}
	k := cache.NewKeyring(cache.KeyringConfig{Ring: ring})
	long := aToken()
	long.Secret = secret.Secret(strings.Repeat("x", 1801))
	if err := k.Put(t.Context(), aKey("r"), long); !errors.Is(err, cache.ErrTooLarge) || ring.Calls() != 0 {
		t.Errorf("1,801 bytes: %v after %d calls", err, ring.Calls())
	}
	long.Secret = long.Secret[:1500]
	must(t, k.Put(t.Context(), aKey("r"), long))
	for _, value := range ring.Items() {
		if len(value) > 1800 {
			t.Errorf("a value has %d bytes", len(value))
		}
	}
	kept := 1
	for ; kept < 100; kept++ {
		if err := k.Put(t.Context(), aKey(fmt.Sprint(kept)), aToken()); err != nil {
			if !errors.Is(err, cache.ErrTooLarge) {
				t.Fatalf("token %d: %v", kept, err)
			}
			break
		}
	}
	entries, err := k.List(t.Context())
	if err != nil || len(entries) != kept || len(ring.Items()) != kept+1 {
		t.Errorf("%d put, %d listed, %d items, error %v", kept, len(entries), len(ring.Items()), err)
	}
	if k.State().Condition != cache.Available {
		t.Errorf("a full index makes the state %v", k.State())
	}
}
