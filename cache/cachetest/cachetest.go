// Package cachetest is the suite that every cache.Store passes, and a keyring
// for tests.
package cachetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// canary is in every secret of the suite, and may be in nothing that is printed.
const canary = "CANARY"

// Run checks a kind of store. Each call of open returns an empty one, which is
// used until the end of its t.
func Run(t *testing.T, open func(t *testing.T) cache.Store) {
	t.Helper()
	for name, check := range map[string]func(*testing.T, cache.Store){
		"a token comes back as it was put":        roundTrip,
		"an unknown key is not found":             unknown,
		"put replaces":                            replace,
		"delete forgets, twice without error":     forget,
		"list returns every live entry":           list,
		"what is over is neither found nor shown": over,
		"keys that differ in one field are apart": isolation,
		"many users at once":                      concurrency,
		"a secret is never printed":               secrecy,
	} {
		t.Run(name, func(t *testing.T) { check(t, open(t)) })
	}
}

func key() cache.Key {
	return cache.Key{Vault: "corp", Namespace: "team/a", Identity: "0123456789abcdef", Rule: "prod-kv"}
}

func token(name string) cache.Token {
	now := time.Now().Round(0)
	return cache.Token{
		Secret:   secret.Secret("hvs." + canary + name),
		Accessor: "accessor-" + name,
		Created:  now.Add(-time.Minute),
		Expires:  now.Add(time.Hour),
		Uses:     3,
		Index:    "index-" + name,
		Owner:    "owner-" + name,
	}
}

func equal(a, b cache.Token) bool {
	if !a.Created.Equal(b.Created) || !a.Expires.Equal(b.Expires) {
		return false
	}
	a.Created, a.Expires = b.Created, b.Expires
	return a == b
}

func put(t *testing.T, s cache.Store, k cache.Key, want cache.Token) {
	t.Helper()
	if err := s.Put(t.Context(), k, want); err != nil {
		t.Fatalf("put: %v", err)
	}
}

func expect(t *testing.T, s cache.Store, k cache.Key, want cache.Token) {
	t.Helper()
	got, err := s.Get(t.Context(), k)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	if !equal(got, want) {
		t.Fatalf("got the token with accessor %q, want %q", got.Accessor, want.Accessor)
	}
}

func expectNone(t *testing.T, s cache.Store, k cache.Key) {
	t.Helper()
	got, err := s.Get(t.Context(), k)
	if !errors.Is(err, cache.ErrNotFound) {
		t.Fatalf("get: got error %v, want ErrNotFound", err)
	}
	if got != (cache.Token{}) {
		t.Fatal("a token came with the error")
	}
}

func roundTrip(t *testing.T, s cache.Store) {
	want := token("\"<ü>\x00\n")
	put(t, s, key(), want)
	expect(t, s, key(), want)
	expect(t, s, key(), want)
}

func unknown(t *testing.T, s cache.Store) {
	expectNone(t, s, key())
	if err := s.Delete(t.Context(), key()); err != nil {
		t.Fatalf("delete: %v", err)
	}
	entries, err := s.List(t.Context())
	if err != nil || len(entries) != 0 {
		t.Fatalf("list: %d entries, error %v, want none", len(entries), err)
	}
}

func replace(t *testing.T, s cache.Store) {
	put(t, s, key(), token("old"))
	second := token("new")
	put(t, s, key(), second)
	expect(t, s, key(), second)
	entries, err := s.List(t.Context())
	if err != nil || len(entries) != 1 {
		t.Fatalf("list: %d entries, error %v, want one", len(entries), err)
	}
}

func forget(t *testing.T, s cache.Store) {
	other := key()
	other.Rule = "kept"
	kept := token("kept")
	put(t, s, key(), token("gone"))
	put(t, s, other, kept)
	for range 2 {
		if err := s.Delete(t.Context(), key()); err != nil {
			t.Fatalf("delete: %v", err)
		}
		expectNone(t, s, key())
	}
	expect(t, s, other, kept)
}

func list(t *testing.T, s cache.Store) {
	want := map[cache.Key]cache.Token{}
	for _, rule := range []string{"one", "two", "three"} {
		k := key()
		k.Rule = rule
		want[k] = token(rule)
		put(t, s, k, want[k])
	}
	entries, err := s.List(t.Context())
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	for _, e := range entries {
		if !equal(e.Token, want[e.Key]) {
			t.Errorf("entry %q: another token than was put", e.Key.Rule)
		}
		delete(want, e.Key)
	}
	if len(entries) != 3 || len(want) != 0 {
		t.Errorf("%d entries, %d missing", len(entries), len(want))
	}
}

func over(t *testing.T, s cache.Store) {
	now := time.Now()
	for name, change := range map[string]func(*cache.Token){
		"expired":            func(t *cache.Token) { t.Expires = now.Add(-time.Second) },
		"no expiry":          func(t *cache.Token) { t.Expires = time.Time{} },
		"made in the future": func(t *cache.Token) { t.Created = now.Add(30 * time.Minute) },
	} {
		k, dead := key(), token(name)
		k.Rule = name
		change(&dead)
		put(t, s, k, token("alive before"))
		put(t, s, k, dead)
		expectNone(t, s, k)
	}
	entries, err := s.List(t.Context())
	if err != nil || len(entries) != 0 {
		t.Fatalf("list: %d entries, error %v, want none", len(entries), err)
	}
}

func isolation(t *testing.T, s cache.Store) {
	keys := []cache.Key{
		key(),
		{Vault: "corp2", Namespace: "team/a", Identity: "0123456789abcdef", Rule: "prod-kv"},
		{Vault: "corp", Namespace: "team/b", Identity: "0123456789abcdef", Rule: "prod-kv"},
		{Vault: "corp", Namespace: "team/a", Identity: "0123456789abcdee", Rule: "prod-kv"},
		{Vault: "corp", Namespace: "team/a", Identity: "0123456789abcdef", Rule: "prod-kv2"},
		// The same letters, divided otherwise.
		{Vault: "corpteam/a", Identity: "0123456789abcdef", Rule: "prod-kv"},
		{Vault: "corp", Namespace: "team/a0123456789abcdef", Rule: "prod-kv"},
		{Vault: "corp", Namespace: "team/a", Rule: "0123456789abcdefprod-kv"},
	}
	tokens := make([]cache.Token, len(keys))
	for i, k := range keys {
		expectNone(t, s, k)
		tokens[i] = token(fmt.Sprint(i))
		put(t, s, k, tokens[i])
	}
	for i, k := range keys {
		expect(t, s, k, tokens[i])
	}
	if err := s.Delete(t.Context(), keys[0]); err != nil {
		t.Fatal(err)
	}
	expectNone(t, s, keys[0])
	for i, k := range keys[1:] {
		expect(t, s, k, tokens[i+1])
	}
}

func concurrency(t *testing.T, s cache.Store) {
	const users = 4
	var group sync.WaitGroup
	shared := key()
	shared.Rule = "shared"
	for i := range users {
		group.Go(func() {
			own, mine := key(), token(fmt.Sprint(i))
			own.Rule = fmt.Sprint("own-", i)
			err := errors.Join(s.Put(t.Context(), own, mine), s.Put(t.Context(), shared, mine))
			got, getErr := s.Get(t.Context(), own)
			if err = errors.Join(err, getErr); err != nil {
				t.Errorf("user %d: %v", i, err)
			} else if !equal(got, mine) {
				t.Errorf("user %d got the token of another", i)
			}
			if _, err := s.Get(t.Context(), shared); err != nil {
				t.Errorf("shared: %v", err)
			}
		})
	}
	group.Wait()
	entries, err := s.List(t.Context())
	if err != nil || len(entries) != users+1 {
		t.Errorf("list: %d entries, error %v, want %d", len(entries), err, users+1)
	}
}

func secrecy(t *testing.T, s cache.Store) {
	put(t, s, key(), token("x"))
	got, err := s.Get(t.Context(), key())
	if err != nil {
		t.Fatal(err)
	}
	entries, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tooLarge := token(strings.Repeat("long", 100_000))
	huge := s.Put(t.Context(), key(), tooLarge)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ended := s.Put(ctx, key(), got)
	for name, v := range map[string]any{
		"token": got, "token pointer": &got, "entries": entries, "secret": got.Secret, "store": s,
		"error of a large token": huge, "error after the end": ended,
	} {
		Unprinted(t, name, v, canary)
	}
}

// Unprinted fails the test if v shows secret by a verb of fmt, encoding/json or
// a log handler. It leaves out %p, for which fmt asks no method of any type.
func Unprinted(t *testing.T, name string, v any, secret string) {
	t.Helper()
	hexed := fmt.Sprintf("%x", secret)
	check := func(how, text string) {
		if strings.Contains(text, secret) || strings.Contains(strings.ToLower(strings.ReplaceAll(text, " ", "")), hexed) {
			t.Errorf("%s is shown by %s", name, how)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%10.3s", "%t", "%e", "%U", "%c", "%T"} {
		check(verb, fmt.Sprintf(verb, v))
		check(verb+" in a slice", fmt.Sprintf(verb, []any{v}))
		check(verb+" in an error", fmt.Errorf("cannot use "+verb, v).Error())
	}
	if raw, err := json.Marshal(v); err != nil {
		check("the error of json", err.Error())
	} else {
		check("json", string(raw))
	}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("message", "value", v, slog.Group("group", "value", v))
	slog.New(slog.NewJSONHandler(&out, nil)).Info("message", "value", v, slog.Group("group", "value", v))
	check("slog", out.String())
}
