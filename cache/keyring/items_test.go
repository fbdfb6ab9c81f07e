package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A kind is one of what is kept in a keyring, under two words.
type kind struct {
	get    func(ctx context.Context, words ...string) (secret.Secret, error)
	put    func(ctx context.Context, s secret.Secret, words ...string) error
	remove func(ctx context.Context, words ...string) error
}

const seedURL = "otpauth://totp/Vault:x?secret=JBSWY3DPEHPK3PXP&issuer="

func kinds(k keyring.Keyring) map[string]kind {
	passwords, logins, seeds := keyring.NewPasswords(k), keyring.NewLogins(k), keyring.NewSeeds(k)
	return map[string]kind{
		"passwords": {passwords.Get, passwords.Put, passwords.Delete},
		"logins":    {logins.Get, logins.Put, logins.Delete},
		"seeds": {
			func(ctx context.Context, words ...string) (secret.Secret, error) {
				return seeds.Get(ctx, words[0]+"/"+words[1])
			},
			func(ctx context.Context, s secret.Secret, words ...string) error {
				return seeds.Put(ctx, words[0]+"/"+words[1], s)
			},
			func(ctx context.Context, words ...string) error { return seeds.Delete(ctx, words[0]+"/"+words[1]) },
		},
	}
}

func TestItems(t *testing.T) {
	t.Parallel()
	for name := range kinds(nil) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := &cachetest.Keyring{}
			s := kinds(k)[name]
			none := func(s kind, a, b string) {
				t.Helper()
				if got, err := s.get(t.Context(), a, b); !errors.Is(err, keyring.ErrNotFound) || got != "" {
					t.Errorf("get of %s, %s: error %v", a, b, err)
				}
			}
			none(s, "corp", "path")
			must(t, s.remove(t.Context(), "corp", "path"))
			must(t, s.put(t.Context(), seedURL+"one", "corp", "path"))
			must(t, s.put(t.Context(), seedURL+"two", "corp", "path"))
			must(t, s.put(t.Context(), seedURL+"other", "corp", "other"))
			if got, err := kinds(k)[name].get(t.Context(), "corp", "path"); err != nil || got != seedURL+"two" {
				t.Errorf("the next process gets another secret, error %v", err)
			}
			none(s, "corppath", "")
			none(s, "cor", "ppath")
			for other, o := range kinds(k) {
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

// The names tell nothing, and are those under which earlier releases kept things.
func TestItemNames(t *testing.T) {
	t.Parallel()
	k := &cachetest.Keyring{}
	must(t, keyring.NewPasswords(k).Put(t.Context(), "p", "corp", "auth/userpass/login/alice"))
	must(t, keyring.NewLogins(k).Put(t.Context(), "t", "corp"))
	must(t, keyring.NewSeeds(k).Put(t.Context(), "corp", seedURL))
	must(t, keyring.NewIdentity(k).Put(t.Context(), "k"))
	want := []string{
		"identity-005c68c245e10fbcbe3a6c31baf74021", "login-55ca5a0badcab06aeeb97167d79c9ac5",
		"password-01250741296975be2c8a36659f6a4d57", "totp-36f354e9fe90a7600a28f997e85bb882",
	}
	if got := slices.Sorted(maps.Keys(k.Items())); !slices.Equal(got, want) {
		t.Errorf("names are %q, want %q", got, want)
	}
}

// A program that can write to the keyring must not make one secret pass for another.
func TestItemsAreDistrusted(t *testing.T) {
	t.Parallel()
	for name := range kinds(nil) {
		for what, change := range map[string]func(string) string{
			"moved":          func(v string) string { return v },
			"another kind":   func(v string) string { return strings.Replace(v, `"kind":"`, `"kind":"x`, 1) },
			"another form":   func(v string) string { return strings.Replace(v, `"v":1`, `"v":2`, 1) },
			"without secret": func(string) string { return `{"v":1}` },
			"no JSON":        func(string) string { return "hvs.x" },
			"too large":      func(v string) string { return v + strings.Repeat(" ", 2000) },
		} {
			k := &cachetest.Keyring{}
			s := kinds(k)[name]
			must(t, s.put(t.Context(), seedURL, "corp", "mine"))
			mine := slices.Collect(maps.Keys(k.Items()))[0]
			must(t, s.put(t.Context(), seedURL, "corp", "theirs"))
			var theirs secret.Secret
			for item, value := range k.Items() {
				if item != mine {
					theirs = value
				}
			}
			must(t, k.Set(t.Context(), mine, secret.Secret(change(theirs.Reveal()))))
			if _, err := s.get(t.Context(), "corp", "mine"); !errors.Is(err, keyring.ErrNotFound) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

func TestItemsThatCannotBeKept(t *testing.T) {
	t.Parallel()
	locked := func(context.Context, string, string) error {
		return &keyring.Error{Condition: keyring.Locked, Why: "w"}
	}
	for name := range kinds(nil) {
		s := kinds(&cachetest.Keyring{Before: locked})[name]
		_, err := s.get(t.Context(), "a", "b")
		for _, err := range []error{err, s.put(t.Context(), seedURL, "a", "b"), s.remove(t.Context(), "a", "b")} {
			if unusable, ok := errors.AsType[*keyring.Error](err); !ok || unusable.Condition != keyring.Locked {
				t.Errorf("%s in a locked keyring: %v", name, err)
			}
		}
		cutting := &cachetest.Keyring{Cuts: true}
		if err := kinds(cutting)[name].put(t.Context(), seedURL, "a", "b"); !errors.Is(err, keyring.ErrUnavailable) {
			t.Errorf("%s in a keyring that cuts short: %v", name, err)
		}
		if n := len(cutting.Items()); n != 0 {
			t.Errorf("%s: half of a secret is left in the keyring", name)
		}
		err = kinds(&cachetest.Keyring{})[name].put(t.Context(), seedURL, strings.Repeat("a", 1800), "b")
		if !errors.Is(err, keyring.ErrTooLarge) {
			t.Errorf("%s that is too large: %v", name, err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
