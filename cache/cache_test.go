package cache_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/secret"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	const text = "hvs.SECRET"
	s := secret.Secret(text)
	id, err := cache.NewIdentifier([]byte(strings.Repeat(text, 4)))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"itself":     s,
		"a pointer":  &s,
		"a field":    struct{ Password secret.Secret }{s},
		"a slice":    []secret.Secret{s},
		"a map":      map[string]secret.Secret{"x": s},
		"an array":   [1]secret.Secret{s},
		"an any":     struct{ V any }{s},
		"nested":     struct{ T struct{ S []secret.Secret } }{struct{ S []secret.Secret }{[]secret.Secret{s}}},
		"a token":    &cache.Token{Secret: s},
		"entries":    []*cache.Entry{{Token: cache.Token{Secret: s}}},
		"identifier": id,
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

func TestIdentifier(t *testing.T) {
	t.Parallel()
	key := []byte("0123456789abcdef0123456789abcdef")
	one, err := cache.NewIdentifier(key)
	if err != nil {
		t.Fatal(err)
	}
	same, err := cache.NewIdentifier(append([]byte(nil), key...))
	if err != nil {
		t.Fatal(err)
	}
	name := one.Identify("hvs.token")
	if raw, err := hex.DecodeString(name); err != nil || len(raw) != 16 {
		t.Errorf("name %q is not 32 hexadecimal digits", name)
	}
	if name != same.Identify("hvs.token") {
		t.Error("the same key gives another name")
	}
	clear(key)
	if name != one.Identify("hvs.token") {
		t.Error("the name changes with the caller's slice")
	}
	if name == one.Identify("hvs.token2") || name == cache.RandomIdentifier().Identify("hvs.token") {
		t.Error("another token or another key gives the same name")
	}
	if one.Identify("") != "" {
		t.Error("no token has a name")
	}
	if a, b := cache.RandomIdentifier(), cache.RandomIdentifier(); a.Identify("t") == b.Identify("t") {
		t.Error("two random keys are the same")
	}
	if _, err := cache.NewIdentifier(make([]byte, 31)); err == nil {
		t.Error("a key of 31 bytes is taken")
	}
	if got := cache.Short(name); got != name[:8] {
		t.Errorf("short name is %q", got)
	}
	if got := cache.Short("abc"); got != "abc" {
		t.Errorf("short name is %q", got)
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	cachetest.Run(t, func(*testing.T) cache.Store { return &cache.Memory{} })
}

func TestMemoryForgetsInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m cache.Memory
		k := cache.Key{Rule: "r"}
		must(t, m.Put(t.Context(), k, cache.Token{Secret: "s", Created: time.Now(), Expires: time.Now().Add(time.Minute)}))
		time.Sleep(time.Minute - 1)
		if _, err := m.Get(t.Context(), k); err != nil {
			t.Fatalf("a nanosecond before its end: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := m.Get(t.Context(), k); !errors.Is(err, cache.ErrNotFound) {
			t.Fatalf("at its end: %v", err)
		}
	})
}

// The monotonic clock stands still while a machine sleeps; Now plays a wall
// clock that goes on.
func TestMemoryFollowsTheWallClock(t *testing.T) {
	t.Parallel()
	asleep := time.Duration(0)
	start := time.Now()
	m := cache.Memory{Now: func() time.Time { return start.Round(0).Add(asleep) }}
	k := cache.Key{Rule: "r"}
	must(t, m.Put(t.Context(), k, cache.Token{Secret: "s", Created: start, Expires: start.Add(time.Minute)}))
	asleep = -time.Second
	if entries, _ := m.List(t.Context()); len(entries) != 0 {
		t.Error("clock set back: the token is still listed")
	}
	asleep = 0
	must(t, m.Put(t.Context(), k, cache.Token{Secret: "s", Created: start, Expires: start.Add(time.Minute)}))
	asleep = time.Hour
	if _, err := m.Get(t.Context(), k); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("after an hour of sleep: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
