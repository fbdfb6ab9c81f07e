package cache_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A shelf is a kind of what is kept in a ring, under two words.
type shelf struct {
	get    func(ctx context.Context, a, b string) (secret.Secret, error)
	put    func(ctx context.Context, a, b string, s secret.Secret) error
	remove func(ctx context.Context, a, b string) error
}

const seedURL = "otpauth://totp/Vault:x?secret=JBSWY3DPEHPK3PXP&issuer="

func shelves(ring cache.Ring, scope string) map[string]shelf {
	passwords, logins, seeds := cache.NewPasswords(ring, scope), cache.NewLogins(ring, scope), cache.NewSeeds(ring, scope)
	return map[string]shelf{
		"passwords": {passwords.Get, passwords.Put, passwords.Delete},
		"logins": {
			func(ctx context.Context, a, b string) (secret.Secret, error) { return logins.Get(ctx, a+"/"+b) },
			func(ctx context.Context, a, b string, s secret.Secret) error { return logins.Put(ctx, a+"/"+b, s) },
			func(ctx context.Context, a, b string) error { return logins.Delete(ctx, a+"/"+b) },
		},
		"seeds": {
			func(ctx context.Context, a, b string) (secret.Secret, error) { return seeds.Get(ctx, a+"/"+b) },
			func(ctx context.Context, a, b string, s secret.Secret) error { return seeds.Add(ctx, a+"/"+b, s) },
			func(ctx context.Context, a, b string) error { return seeds.Remove(ctx, a+"/"+b) },
		},
	}
}

func TestRingItems(t *testing.T) {
	t.Parallel()
	for name := range shelves(nil, "") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ring := &cachetest.Ring{}
			s := shelves(ring, "")[name]
			none := func(s shelf, a, b string) {
				t.Helper()
				if got, err := s.get(t.Context(), a, b); !errors.Is(err, cache.ErrNotFound) || got != "" {
					t.Errorf("get of %s, %s: error %v", a, b, err)
				}
			}
			none(s, "corp", "path")
			must(t, s.remove(t.Context(), "corp", "path"))
			must(t, s.put(t.Context(), "corp", "path", seedURL+"one"))
			must(t, s.put(t.Context(), "corp", "path", seedURL+"two"))
			must(t, s.put(t.Context(), "corp", "other", seedURL+"other"))
			if got, err := shelves(ring, "")[name].get(t.Context(), "corp", "path"); err != nil || got != seedURL+"two" {
				t.Errorf("the next process gets another secret, error %v", err)
			}
			none(s, "corppath", "")
			none(s, "cor", "ppath")
			none(shelves(ring, "other")[name], "corp", "path")
			for other, o := range shelves(ring, "") {
				if other != name {
					none(o, "corp", "path")
				}
			}
			must(t, s.remove(t.Context(), "corp", "path"))
			none(s, "corp", "path")
			if _, err := s.get(t.Context(), "corp", "other"); err != nil {
				t.Errorf("a neighbour is gone: %v", err)
			}
			if shown := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Contains(shown, "JBSWY3DPEHPK3PXP") {
				t.Error("a secret is printed")
			}
		})
	}
}

func TestRingItemNames(t *testing.T) {
	t.Parallel()
	ring := &cachetest.Ring{}
	for _, s := range shelves(ring, "") {
		must(t, s.put(t.Context(), "corp", "readable:path", seedURL))
	}
	cache.LoadIdentifier(t.Context(), ring, "")
	var kinds []string
	for name := range ring.Items() {
		if strings.Count(name, ":") != 1 || strings.Contains(name, "corp") || strings.Contains(name, "readable") {
			t.Errorf("item name %q", name)
		}
		kind, _, _ := strings.Cut(name, "-")
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	if want := []string{"stepup:identity", "stepup:login", "stepup:password", "stepup:totp"}; !slices.Equal(kinds, want) {
		t.Errorf("kinds are %q, want %q", kinds, want)
	}
}

// Whoever can write to the keyring must not make one secret pass for another.
func TestRingItemsAreDistrusted(t *testing.T) {
	t.Parallel()
	for name := range shelves(nil, "") {
		for what, change := range map[string]func(string) string{
			"moved":          func(v string) string { return v },
			"another kind":   func(v string) string { return strings.Replace(v, `"kind":"`, `"kind":"x`, 1) },
			"another form":   func(v string) string { return strings.Replace(v, `"v":1`, `"v":2`, 1) },
			"without secret": func(string) string { return `{"v":1}` },
			"no JSON":        func(string) string { return "hvs.x" },
			"too large":      func(v string) string { return v + strings.Repeat(" ", 2000) },
		} {
			ring := &cachetest.Ring{}
			s := shelves(ring, "")[name]
			must(t, s.put(t.Context(), "corp", "mine", seedURL))
			_, mine, _ := strings.Cut(slices.Collect(maps.Keys(ring.Items()))[0], ":")
			must(t, s.put(t.Context(), "corp", "theirs", seedURL))
			var theirs secret.Secret
			for item, value := range ring.Items() {
				if item != "stepup:"+mine {
					theirs = value
				}
			}
			must(t, ring.Set(t.Context(), "stepup", mine, secret.Secret(change(theirs.Reveal()))))
			if _, err := s.get(t.Context(), "corp", "mine"); !errors.Is(err, cache.ErrNotFound) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

func TestRingItemsThatCannotBeKept(t *testing.T) {
	t.Parallel()
	broken := func(context.Context, string, string) error {
		return &cache.RingError{Condition: cache.Locked, Why: "w"}
	}
	for name := range shelves(nil, "") {
		s := shelves(&cachetest.Ring{Before: broken}, "")[name]
		_, err := s.get(t.Context(), "a", "b")
		for _, err := range []error{err, s.put(t.Context(), "a", "b", seedURL), s.remove(t.Context(), "a", "b")} {
			if ring, ok := errors.AsType[*cache.RingError](err); !ok || ring.Condition != cache.Locked {
				t.Errorf("%s in a locked keyring: %v", name, err)
			}
		}
		cutting := &cuttingRing{}
		if err := shelves(cutting, "")[name].put(t.Context(), "a", "b", seedURL); !errors.Is(err, cache.ErrUnavailable) {
			t.Errorf("%s in a keyring that cuts short: %v", name, err)
		}
		if n := len(cutting.Items()); n != 0 {
			t.Errorf("%s: half of a secret is left in the keyring", name)
		}
		err = shelves(&cachetest.Ring{}, "")[name].put(t.Context(), strings.Repeat("a", 1800), "b", seedURL)
		if !errors.Is(err, cache.ErrTooLarge) {
			t.Errorf("%s that is too large: %v", name, err)
		}
	}
}

func TestLoadIdentifier(t *testing.T) {
	t.Parallel()
	ring := &cachetest.Ring{}
	first, state := cache.LoadIdentifier(t.Context(), ring, "")
	if state != (cache.State{Condition: cache.Available}) {
		t.Fatalf("state is %v", state)
	}
	name := first.Identify("hvs.x")
	again, _ := cache.LoadIdentifier(t.Context(), ring, "")
	if again.Identify("hvs.x") != name {
		t.Error("the next process knows the caller by another name")
	}
	other, _ := cache.LoadIdentifier(t.Context(), ring, "other")
	if other.Identify("hvs.x") == name {
		t.Error("two scopes share a key")
	}
	if n := len(ring.Items()); n != 2 {
		t.Errorf("%d items in the keyring", n)
	}
}

func TestLoadIdentifierWithoutKeyring(t *testing.T) {
	t.Parallel()
	locked := &cachetest.Ring{Before: func(context.Context, string, string) error {
		return &cache.RingError{Condition: cache.Locked, Why: "w"}
	}}
	refusing := &cachetest.Ring{Before: func(_ context.Context, operation, _ string) error {
		if operation == "set" {
			return &cache.RingError{Condition: cache.Failed, Why: "read only"}
		}
		return nil
	}}
	for name, test := range map[string]struct {
		ring cache.Ring
		want cache.State
	}{
		"locked":     {locked, cache.State{Condition: cache.Locked, Why: "w"}},
		"read only":  {refusing, cache.State{Condition: cache.Failed, Why: "read only"}},
		"cuts short": {&cuttingRing{}, cache.State{Condition: cache.Disabled, Why: "the keyring gave back something else than was stored"}},
	} {
		one, state := cache.LoadIdentifier(t.Context(), test.ring, "")
		two, _ := cache.LoadIdentifier(t.Context(), test.ring, "")
		if state != test.want {
			t.Errorf("%s: state is %v", name, state)
		}
		if one.Identify("t") == "" || one.Identify("t") == two.Identify("t") {
			t.Errorf("%s: the key is not a random one of this process", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ring := &cachetest.Ring{Before: func(ctx context.Context, _, _ string) error { return ctx.Err() }}
	if _, state := cache.LoadIdentifier(ctx, ring, ""); state.Condition != cache.Failed || state.Why == "" {
		t.Errorf("with a context that is over: state is %v", state)
	}
}

// A key that cannot be read is neither used nor replaced by a guess.
func TestLoadIdentifierWithADamagedKey(t *testing.T) {
	t.Parallel()
	for _, damage := range []string{"00ff", "not hexadecimal at all, but long enough to be one of ours, is it not"} {
		ring := &cachetest.Ring{}
		cache.LoadIdentifier(t.Context(), ring, "")
		for item, value := range ring.Items() {
			_, user, _ := strings.Cut(item, ":")
			before, _, _ := strings.Cut(value.Reveal(), `"value":"`)
			must(t, ring.Set(t.Context(), "stepup", user, secret.Secret(before+`"value":"`+damage+`"}`)))
		}
		id, state := cache.LoadIdentifier(t.Context(), ring, "")
		if state.Condition != cache.Failed || state.Why == "" || id.Identify("t") == "" {
			t.Errorf("state is %v", state)
		}
		if shown := fmt.Sprint(state); strings.Contains(shown, damage) {
			t.Error("the key is shown")
		}
	}
}
