package cache_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
)

func TestIdentifier(t *testing.T) {
	t.Parallel()
	one, another := cache.RandomIdentifier(), cache.RandomIdentifier()
	name := one.Identify("hvs.token")
	if raw, err := hex.DecodeString(name); err != nil || len(raw) != 16 {
		t.Errorf("name %q is not 32 hexadecimal digits", name)
	}
	if name != one.Identify("hvs.token") {
		t.Error("the same key gives another name")
	}
	if name == one.Identify("hvs.token2") || name == another.Identify("hvs.token") {
		t.Error("another token or another key gives the same name")
	}
	if one.Identify("") != "" {
		t.Error("no token has a name")
	}
	if got := cache.Short(name); got != name[:8] {
		t.Errorf("short name is %q", got)
	}
	if got := cache.Short("abc"); got != "abc" {
		t.Errorf("short name is %q", got)
	}
}

func TestLoadIdentifier(t *testing.T) {
	t.Parallel()
	k := &cachetest.Keyring{}
	first, state := cache.LoadIdentifier(t.Context(), k)
	if state != (keyring.State{Condition: keyring.Available}) {
		t.Fatalf("state is %v", state)
	}
	again, _ := cache.LoadIdentifier(t.Context(), k)
	if again.Identify("hvs.x") != first.Identify("hvs.x") {
		t.Error("the next process knows the caller by another name")
	}
	if n := len(k.Items()); n != 1 {
		t.Errorf("%d items in the keyring", n)
	}
	for _, value := range k.Items() { // what it is loaded from must not be printed
		key := value.Reveal()[strings.Index(value.Reveal(), `"value":"`)+9:][:64]
		raw, err := hex.DecodeString(key)
		must(t, err)
		cachetest.Unprinted(t, "identifier", again, key)
		cachetest.Unprinted(t, "identifier", again, string(raw))
	}
}

func TestLoadIdentifierWithoutKeyring(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		keyring *cachetest.Keyring
		want    keyring.State
	}{
		"locked":     {&cachetest.Keyring{Before: failing(keyring.Locked)}, keyring.State{Condition: keyring.Locked, Why: "w"}},
		"cuts short": {&cachetest.Keyring{Cuts: true}, keyring.State{Condition: keyring.Disabled, Why: "the keyring gave back something else than was stored"}},
		"read only": {&cachetest.Keyring{Before: func(_ context.Context, operation, _ string) error {
			if operation == "set" {
				return &keyring.Error{Condition: keyring.Failed, Why: "read only"}
			}
			return nil
		}}, keyring.State{Condition: keyring.Failed, Why: "read only"}},
		"with a context that is over": {
			&cachetest.Keyring{Before: func(context.Context, string, string) error { return context.Canceled }},
			keyring.State{Condition: keyring.Failed, Why: "context canceled"},
		},
	} {
		one, state := cache.LoadIdentifier(t.Context(), test.keyring)
		two, _ := cache.LoadIdentifier(t.Context(), test.keyring)
		if state != test.want {
			t.Errorf("%s: state is %v", name, state)
		}
		if one.Identify("t") == "" || one.Identify("t") == two.Identify("t") {
			t.Errorf("%s: the key is not a random one of this process", name)
		}
	}
}

// A key that cannot be read is neither used nor replaced by a guess.
func TestLoadIdentifierWithADamagedKey(t *testing.T) {
	t.Parallel()
	for _, damage := range []string{"00ff", "not hexadecimal at all, but long enough to be one of ours, is it not", strings.Repeat("00", 31)} {
		k := &cachetest.Keyring{}
		must(t, keyring.NewIdentity(k).Put(t.Context(), secret.Secret(damage)))
		id, state := cache.LoadIdentifier(t.Context(), k)
		if state.Condition != keyring.Failed || state.Why == "" || id.Identify("t") == "" {
			t.Errorf("state is %v", state)
		}
		if shown := fmt.Sprint(state); strings.Contains(shown, damage) {
			t.Error("the key is shown")
		}
	}
}

// The next process knows the callers of the last one that kept its key.
func TestKeepIdentity(t *testing.T) {
	t.Parallel()
	k := &cachetest.Keyring{}
	first, second := cache.RandomIdentifier(), cache.RandomIdentifier()
	must(t, first.Keep(t.Context(), k))
	must(t, second.Keep(t.Context(), k))
	loaded, state := cache.LoadIdentifier(t.Context(), k)
	if state.Condition != keyring.Available || loaded.Identify("hvs.x") != second.Identify("hvs.x") || loaded.Identify("hvs.x") == first.Identify("hvs.x") {
		t.Errorf("state %v; the names differ", state)
	}
	locked := &cachetest.Keyring{Before: failing(keyring.Locked)}
	if err := first.Keep(t.Context(), locked); !errors.Is(err, cache.ErrUnavailable) {
		t.Errorf("locked: %v", err)
	}
}
