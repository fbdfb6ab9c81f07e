package cache

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
)

func TestItemNameTellsNothing(t *testing.T) {
	t.Parallel()
	k := Key{Vault: "corp", Namespace: "ns", Identity: "00ff", Rule: "r"}
	name := itemName("", k)
	if !isItemName(name) || name != "e7cf2a551252d2c30ea915749cada66e" || indexName("/a") != "index-v1-6a50dc85" {
		t.Errorf("name %q is not that of earlier releases", name)
	}
	if name == itemName("other", k) || indexName("") == indexName("other") {
		t.Error("two scopes share an item")
	}
	for _, n := range []string{name, indexName(""), indexName("a:b")} {
		if strings.Contains(n, ":") {
			t.Errorf("%q has a colon, which Windows takes for the end of the service", n)
		}
	}
}

func FuzzItem(f *testing.F) {
	f.Add("corp", "ns", "00ff", "hvs.x", int64(1_700_000_000), 3)
	f.Add("", "", "", "\x00\xff", int64(-1), -1)
	f.Fuzz(func(t *testing.T, vault, namespace, rest, token string, unix int64, uses int) {
		k := Key{vault, namespace, rest, "of " + rest, token}
		want := Token{
			Secret: secret.Secret(token), Created: time.Unix(unix, 0), Expires: time.Unix(unix, 999_999_999),
			Uses: uses, Index: rest,
		}
		raw, err := encodeItem(k, want)
		if err != nil {
			return
		}
		if len(raw) > keyring.MaxValue {
			t.Fatalf("%d bytes", len(raw))
		}
		found, ok := decodeItem(raw)
		if token == "" || uses < 0 {
			if ok {
				t.Fatal("an impossible token is taken")
			}
			return
		}
		if !utf8.ValidString(vault) || !utf8.ValidString(namespace) || !utf8.ValidString(rest) || !utf8.ValidString(token) {
			return // JSON replaces what is not UTF-8: the key differs, the item is not found
		}
		if got := found.Token; !ok || found.Key != k || got.Secret != want.Secret || got.Uses != uses || got.Index != rest ||
			!got.Created.Equal(want.Created) || !got.Expires.Equal(want.Expires) {
			t.Fatal("an item does not come back as it was stored")
		}
	})
}

func FuzzIndex(f *testing.F) {
	f.Add(`{"v":1,"items":[{"n":"0123456789abcdef0123456789abcdef","c":1,"e":2}]}`)
	f.Add(`{"v":1,"items":[{"n":"totp-corp","c":1,"e":2}]}`)
	f.Add(`{"v":2}`)
	f.Add(`{"v":1,"items":[`)
	f.Fuzz(func(t *testing.T, raw string) {
		x := decodeIndex(secret.Secret(raw))
		for _, e := range x.Items {
			if !isItemName(e.Name) {
				t.Fatalf("foreign name %q", e.Name)
			}
		}
		again, err := x.encode()
		if err != nil {
			return
		}
		second, err := new(decodeIndex(again)).encode()
		if err != nil || second != again {
			t.Fatal("an index does not come back as it was stored")
		}
	})
}

func TestIndexHoldsThirty(t *testing.T) {
	t.Parallel()
	var x index
	for i := range 64 {
		x.put(itemName("", Key{Rule: strings.Repeat("r", i)}), Token{Created: time.Now(), Expires: time.Now().Add(time.Hour)})
		if _, err := x.encode(); err != nil {
			if i < 20 {
				t.Errorf("the index is full with %d entries", i)
			}
			return
		}
	}
	t.Error("the index never gets too large")
}

// What an earlier release wrote is still read.
func TestItemsOfEarlierReleases(t *testing.T) {
	t.Parallel()
	const old = `{"v":1,"vault":"corp","namespace":"ns","identity":"00ff","rule":"r","token":"hvs.x","accessor":"a",` +
		`"created":"2026-01-02T03:04:05Z","expires":"2026-01-02T03:09:05Z"}`
	found, ok := decodeItem(old)
	want := Token{
		Secret: "hvs.x", Accessor: "a",
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Expires: time.Date(2026, 1, 2, 3, 9, 5, 0, time.UTC),
	}
	if k := (Key{"corp", "ns", "00ff", "r", ""}); !ok || found != (Entry{k, want}) {
		t.Errorf("item is read as %v, %v", found, ok)
	}
	again, err := encodeItem(found.Key, found.Token)
	if err != nil || again != old {
		t.Error("a token without uses and index is written in another way than before")
	}
}
