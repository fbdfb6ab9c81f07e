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
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A fixture is a persistent store with its keyring.
type fixture struct {
	*cache.Persistent
	keyring *cachetest.Keyring
}

// newFixture has tokens under the keys of rules.
func newFixture(t *testing.T, rules ...string) *fixture {
	t.Helper()
	k := &cachetest.Keyring{}
	f := &fixture{persistent(k), k}
	for _, rule := range rules {
		must(t, f.Put(t.Context(), aKey(rule), aToken()))
	}
	return f
}

// leaks gives the names of the items with the secret of [aToken].
func (f *fixture) leaks() (names []string) {
	for name, value := range f.keyring.Items() {
		if strings.Contains(value.Reveal(), "SECRET") {
			names = append(names, name)
		}
	}
	return names
}

func TestPersistentItems(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "readable-rule")
	names := slices.Sorted(maps.Keys(f.keyring.Items()))
	if len(names) != 2 || !slices.Contains(names, "index-v1") || strings.ContainsAny(names[0]+names[1], ":") || strings.Contains(names[0], "readable") {
		t.Fatalf("items are %q", names)
	}
	for name, value := range f.keyring.Items() {
		if !strings.Contains(value.Reveal(), `"v":1`) {
			t.Errorf("value of %q has no version", name)
		}
	}
	if slices.Contains(f.leaks(), "index-v1") {
		t.Error("the index holds the token")
	}
	must(t, f.Delete(t.Context(), aKey("readable-rule")))
	if left := f.keyring.Items(); len(left) != 1 || strings.Contains(left["index-v1"].Reveal(), `"n"`) {
		t.Errorf("after delete %d items are left", len(left))
	}
}

func TestPersistentSurvivesTheProcess(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "r")
	got, err := persistent(f.keyring).Get(t.Context(), aKey("r"))
	if err != nil || got.Secret != aToken().Secret {
		t.Fatalf("the next process gets %v, error %v", got, err)
	}
	other := cache.NewPersistent(cache.PersistentConfig{Keyring: f.keyring, Scope: "other"})
	if has(t, other, "r") || len(listed(t, other)) > 0 {
		t.Error("another scope has it")
	}
}

func TestPersistentRemovesWhatIsOver(t *testing.T) {
	t.Parallel()
	for name, shift := range map[string]time.Duration{"expired": -2 * time.Hour, "clock set back": 2 * time.Hour} {
		for operation, run := range map[string]func(cache.Store) error{
			"list": func(s cache.Store) error { _, err := s.List(t.Context()); return err },
			"put":  func(s cache.Store) error { return s.Put(t.Context(), aKey("other"), cache.Token{Secret: "hvs.other"}) },
		} {
			f := newFixture(t)
			dead := aToken()
			dead.Created, dead.Expires = dead.Created.Add(shift), dead.Expires.Add(shift)
			must(t, f.Put(t.Context(), aKey("r"), dead))
			if len(f.leaks()) != 1 {
				t.Fatal("nothing to remove")
			}
			must(t, run(f))
			if names := f.leaks(); len(names) > 0 {
				t.Errorf("%s, %s: still in the keyring: %q", name, operation, names)
			}
		}
	}
}

func TestPersistentDistrustsItsItems(t *testing.T) {
	t.Parallel()
	t.Run("a token under another caller's name is not served", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, "victim")
		victim := f.leaks()[0]
		stolen := f.keyring.Items()[victim]
		must(t, f.Delete(t.Context(), aKey("victim")))
		must(t, f.Put(t.Context(), aKey("thief"), aToken()))
		must(t, f.keyring.Set(t.Context(), f.leaks()[0], stolen))
		if has(t, f, "thief") || len(listed(t, f)) > 0 {
			t.Error("it is served")
		}
	})
	for name, value := range map[string]secret.Secret{
		"not JSON": "x", "empty": "", "a newer version": `{"v":2,"token":"x"}`,
		"too long": secret.Secret(`{"v":1}` + strings.Repeat(" ", 2000)),
	} {
		t.Run(name+" is absent and replaced", func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, "r")
			must(t, f.keyring.Set(t.Context(), f.leaks()[0], value))
			must(t, f.keyring.Set(t.Context(), "index-v1", value))
			if has(t, f, "r") {
				t.Error("it is served")
			}
			must(t, f.Put(t.Context(), aKey("r"), aToken()))
			if rules := listed(t, f); len(rules) != 1 {
				t.Errorf("listed: %q", rules)
			}
		})
	}
	t.Run("an index that names other items removes none of them", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		must(t, f.keyring.Set(t.Context(), "totp-corp", "seed"))
		must(t, f.keyring.Set(t.Context(), "index-v1", `{"v":1,"items":[{"n":"totp-corp","c":1,"e":2}]}`))
		listed(t, f)
		if f.keyring.Items()["totp-corp"] != "seed" {
			t.Error("the foreign item is gone")
		}
	})
}

func TestPersistentStates(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err   error
		want  keyring.State
		pause time.Duration // 0: never used again
	}{
		"locked":         {failing(keyring.Locked)(nil, "", ""), keyring.State{Condition: keyring.Locked, Why: "w"}, 15 * time.Second},
		"missing":        {failing(keyring.Missing)(nil, "", ""), keyring.State{Condition: keyring.Missing, Why: "w"}, 15 * time.Second},
		"slow":           {failing(keyring.Slow)(nil, "", ""), keyring.State{Condition: keyring.Slow, Why: "w"}, 5 * time.Minute},
		"disabled":       {failing(keyring.Disabled)(nil, "", ""), keyring.State{Condition: keyring.Disabled, Why: "w"}, 0},
		"a foreign text": {errors.New("a\x1b[31mb\n"), keyring.State{Condition: keyring.Failed, Why: "a [31mb "}, 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var reported []string
				k := &cachetest.Keyring{Before: func(context.Context, string, string) error { return test.err }}
				s := cache.NewPersistent(cache.PersistentConfig{Keyring: k, OnError: func(operation string, _ error) {
					reported = append(reported, operation)
				}})
				state := func(when string, want keyring.State) {
					t.Helper()
					if got := s.State(); got != want {
						t.Errorf("%s the state is %v, want %v", when, got, want)
					}
				}
				state("before its first use", keyring.State{Condition: keyring.Untested})
				for range 3 { // only the first one reaches the keyring
					if _, err := s.Get(t.Context(), aKey("r")); !errors.Is(err, cache.ErrUnavailable) {
						t.Fatalf("get: %v", err)
					}
				}
				state("afterwards", test.want)
				if k.Calls() != 1 || !slices.Equal(reported, []string{"get"}) {
					t.Errorf("%d calls, reported %v", k.Calls(), reported)
				}
				k.Before = nil
				early := test.pause - 1
				if test.pause == 0 {
					early = 1000 * time.Hour
				}
				time.Sleep(early)
				if err := s.Put(t.Context(), aKey("r"), aToken()); !errors.Is(err, cache.ErrUnavailable) || k.Calls() != 1 {
					t.Errorf("too early: %v, %d calls", err, k.Calls())
				}
				if test.pause == 0 {
					return
				}
				time.Sleep(time.Nanosecond)
				must(t, s.Put(t.Context(), aKey("r"), aToken()))
				state("after the failure", keyring.State{Condition: keyring.Available})
			})
		})
	}
}

func TestPersistentThatHangs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		use  func(t *testing.T, f *fixture)
		want keyring.Condition
	}{
		// Waiters do not each wait for the limit.
		"the limit opens the breaker": {func(t *testing.T, f *fixture) {
			start := time.Now()
			var group sync.WaitGroup
			for i := range 100 {
				group.Go(func() {
					if err := f.Put(t.Context(), aKey(fmt.Sprint(i)), aToken()); !errors.Is(err, cache.ErrUnavailable) {
						t.Errorf("put: %v", err)
					}
				})
			}
			group.Wait()
			if waited := time.Since(start); waited != 3*time.Second {
				t.Errorf("waited %v", waited)
			}
		}, keyring.Slow},
		// Requests, each with its own patience.
		"so does a caller who waits no longer than that": {func(t *testing.T, f *fixture) {
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second-time.Millisecond)
				if _, err := f.Get(ctx, aKey("r")); !errors.Is(err, cache.ErrUnavailable) {
					t.Errorf("get: %v", err)
				}
				cancel()
			}
		}, keyring.Slow},
		// One in the call, one in the queue.
		"a caller that leaves says nothing about the keyring": {func(t *testing.T, f *fixture) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var group sync.WaitGroup
			for range 2 {
				group.Go(func() {
					_, err := f.Get(ctx, aKey("r"))
					if !errors.Is(err, cache.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("get: %v", err)
					}
				})
			}
			group.Wait()
		}, keyring.Untested},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				f.keyring.Before = hang
				test.use(t, f)
				if f.keyring.Calls() != 1 || f.State().Condition != test.want {
					t.Errorf("%d calls, state is %v", f.keyring.Calls(), f.State())
				}
			})
		})
	}
}

func TestPersistentMakesOneCallAtATime(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var running, most atomic.Int32
	f.keyring.Before = func(context.Context, string, string) error {
		most.Store(max(most.Load(), running.Add(1)))
		time.Sleep(time.Microsecond) // lets another one in, if it can
		running.Add(-1)
		return nil
	}
	var group sync.WaitGroup
	for i := range 10 {
		group.Go(func() {
			_ = f.Put(t.Context(), aKey(fmt.Sprint(i)), aToken())
			_, _ = f.List(t.Context())
		})
	}
	group.Wait()
	if most.Load() != 1 {
		t.Errorf("%d calls at once", most.Load())
	}
}

func TestPersistentVerifiesItsFirstWrite(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keyring.Cuts = true
	if err := f.Put(t.Context(), aKey("r"), aToken()); !errors.Is(err, cache.ErrUnavailable) {
		t.Errorf("put: %v", err)
	}
	if f.State().Condition != keyring.Disabled {
		t.Errorf("state is %v", f.State())
	}
	if names := f.leaks(); len(names) > 0 {
		t.Errorf("left in the keyring: %q", names)
	}
}

func TestPersistentSizes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	long := aToken()
	long.Secret = secret.Secret(strings.Repeat("x", 1801))
	if err := f.Put(t.Context(), aKey("r"), long); !errors.Is(err, cache.ErrTooLarge) || f.keyring.Calls() != 0 {
		t.Errorf("1,801 bytes: %v after %d calls", err, f.keyring.Calls())
	}
	long.Secret = long.Secret[:1500]
	must(t, f.Put(t.Context(), aKey("r"), long))
	for _, value := range f.keyring.Items() {
		if len(value) > 1800 {
			t.Errorf("a value has %d bytes", len(value))
		}
	}
	kept := 1
	for ; kept < 100; kept++ {
		if err := f.Put(t.Context(), aKey(fmt.Sprint(kept)), aToken()); err != nil {
			if !errors.Is(err, cache.ErrTooLarge) {
				t.Fatalf("token %d: %v", kept, err)
			}
			break
		}
	}
	if rules := listed(t, f); len(rules) != kept || len(f.keyring.Items()) != kept+1 {
		t.Errorf("%d put, %d listed, %d items", kept, len(rules), len(f.keyring.Items()))
	}
	if f.State().Condition != keyring.Available {
		t.Errorf("a full index makes the state %v", f.State())
	}
}

// Nothing goes into a keyring that is not ready, and the state says why.
func TestPersistentThatIsNotReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := &cachetest.Keyring{}
		locked := &keyring.Error{Condition: keyring.Locked, Why: "w"}
		err := error(locked)
		p := cache.NewPersistent(cache.PersistentConfig{Keyring: k, Ready: func(context.Context) error { return err }})
		store := cache.NewLayered(&cache.Memory{}, p)
		key := cache.Key{Vault: "v", Identity: "i", Rule: "r"}
		must(t, store.Put(t.Context(), key, cache.Token{Secret: "hvs.x", Created: time.Now(), Expires: time.Now().Add(time.Hour)}))
		if want := keyring.State(*locked); k.Calls() != 0 || store.State() != want {
			t.Errorf("%d calls of the keyring, the state is %v", k.Calls(), store.State())
		}
		err = nil
		time.Sleep(keyring.Locked.Pause())
		_, listErr := store.List(t.Context())
		must(t, listErr)
		if len(k.Items()) != 2 || store.State().Condition != keyring.Available {
			t.Errorf("%d items in the keyring, the state is %v", len(k.Items()), store.State())
		}
	})
}
