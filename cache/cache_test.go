package cache_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func aKey(rule string) cache.Key {
	return cache.Key{Vault: "corp", Namespace: "ns", Identity: "00ff", Rule: rule}
}

func aToken() cache.Token {
	return cache.Token{Secret: "hvs.SECRET", Created: time.Now(), Expires: time.Now().Add(time.Hour)}
}

func aTokenFor(uses int) cache.Token {
	t := aToken()
	t.Uses = uses
	return t
}

// has reports whether a store has a token under the key of a rule.
func has(t *testing.T, s cache.Store, rule string) bool {
	t.Helper()
	_, err := s.Get(t.Context(), aKey(rule))
	if err != nil && !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("get of %s: %v", rule, err)
	}
	return err == nil
}

// listed gives the rules of the tokens in a store.
func listed(t *testing.T, s cache.Store) []string {
	t.Helper()
	entries, err := s.List(t.Context())
	must(t, err)
	rules := []string{}
	for _, e := range entries {
		rules = append(rules, e.Key.Rule)
	}
	slices.Sort(rules)
	return rules
}

// failing makes every operation of a keyring fail.
func failing(c keyring.Condition) func(context.Context, string, string) error {
	return func(context.Context, string, string) error { return &keyring.Error{Condition: c, Why: "w"} }
}

func hang(ctx context.Context, _, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

func persistent(k keyring.Keyring) *cache.Persistent {
	return cache.NewPersistent(cache.PersistentConfig{Keyring: k})
}

func layered(back cache.Store) *cache.Layered { return cache.NewLayered(&cache.Memory{}, back) }

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	const text = "hvs.SECRET"
	s := secret.Secret(text)
	for name, v := range map[string]any{
		"itself":    s,
		"a pointer": &s,
		"a field":   struct{ Password secret.Secret }{s},
		"a slice":   []secret.Secret{s},
		"a map":     map[string]secret.Secret{"x": s},
		"an array":  [1]secret.Secret{s},
		"an any":    struct{ V any }{s},
		"nested":    struct{ T struct{ S []secret.Secret } }{struct{ S []secret.Secret }{[]secret.Secret{s}}},
		"a token":   &cache.Token{Secret: s},
		"entries":   []*cache.Entry{{Token: cache.Token{Secret: s}}},
	} {
		cachetest.Unprinted(t, name, v, text)
	}
	if s.Reveal() != text {
		t.Error("Reveal does not give the secret")
	}
}

// This is what cachetest.Unprinted must notice; otherwise the tests above prove nothing.
func TestUnprintedNoticesALeak(t *testing.T) {
	t.Parallel()
	fake := &testing.T{}
	cachetest.Unprinted(fake, "plain", struct{ S string }{"hvs.SECRET"}, "hvs.SECRET")
	if !fake.Failed() {
		t.Error("a plain string was not noticed")
	}
}

func TestTokenAlive(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, test := range map[string]struct {
		token cache.Token
		want  bool
	}{
		"before its end":     {cache.Token{Secret: "s", Created: now, Expires: now.Add(1)}, true},
		"at its end":         {cache.Token{Secret: "s", Expires: now}, false},
		"without end":        {cache.Token{Secret: "s"}, false},
		"without secret":     {cache.Token{Expires: now.Add(time.Hour)}, false},
		"made in the future": {cache.Token{Secret: "s", Created: now.Add(1), Expires: now.Add(time.Hour)}, false},
	} {
		if got := test.token.Alive(now); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// The monotonic clock stands still while a machine sleeps, the wall clock goes on.
func TestTokenFollowsTheWallClock(t *testing.T) {
	t.Parallel()
	start := time.Now()
	token := cache.Token{Secret: "s", Created: start, Expires: start.Add(time.Minute)}
	for passed, want := range map[time.Duration]bool{0: true, -time.Second: false, time.Hour: false} {
		if got := token.Alive(start.Round(0).Add(passed)); got != want {
			t.Errorf("after %v: %v", passed, got)
		}
	}
}

// Every kind of store passes the suite.
func TestStores(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func() cache.Store{
		"memory":                          func() cache.Store { return &cache.Memory{} },
		"persistent":                      func() cache.Store { return persistent(&cachetest.Keyring{}) },
		"layered over memory":             func() cache.Store { return layered(&cache.Memory{}) },
		"layered over a keyring":          func() cache.Store { return layered(persistent(&cachetest.Keyring{})) },
		"layered over a disabled keyring": func() cache.Store { return layered(persistent(&cachetest.Keyring{Before: failing(keyring.Disabled)})) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cachetest.Run(t, func(*testing.T) cache.Store { return open() })
		})
	}
}

func TestMemoryForgetsInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m cache.Memory
		must(t, m.Put(t.Context(), aKey("r"), aToken()))
		time.Sleep(time.Hour - 1)
		if !has(t, &m, "r") {
			t.Fatal("gone a nanosecond before its end")
		}
		time.Sleep(time.Nanosecond)
		if has(t, &m, "r") {
			t.Fatal("there at its end")
		}
	})
}
