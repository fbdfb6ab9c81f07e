package cache

import (
	"strings"
	"testing"
	"time"
)

func TestItemNameTellsNothing(t *testing.T) {
	t.Parallel()
	k := Key{Vault: "corp", Namespace: "team", Identity: "00ff", Rule: "prod"}
	name := itemName("", k)
	if !isItemName(name) {
		t.Errorf("name %q is not one of ours", name)
	}
	if name == itemName("other", k) || indexName("") == indexName("other") {
		t.Error("two scopes share an item")
	}
	for _, n := range []string{name, indexName(""), indexName("a:b"), service} {
		if strings.Contains(n, ":") {
			t.Errorf("%q has a colon, which Windows takes for the end of the service", n)
		}
	}
}

func FuzzItem(f *testing.F) {
	f.Add("corp", "ns", "00ff", "rule", "hvs.x", int64(1_700_000_000))
	f.Add("", "", "", "", "\x00\xff", int64(-1))
	f.Fuzz(func(t *testing.T, vault, namespace, identity, rule, secret string, unix int64) {
		k := Key{vault, namespace, identity, rule}
		want := Token{Secret: Secret(secret), Created: time.Unix(unix, 0), Expires: time.Unix(unix, 999_999_999)}
		raw, err := encodeItem(k, want)
		if err != nil {
			return
		}
		if len(raw) > maxItem {
			t.Fatalf("%d bytes", len(raw))
		}
		gotKey, got, ok := decodeItem(raw)
		valid := secret != "" && strings.ToValidUTF8(vault+namespace+identity+rule+secret, "") == vault+namespace+identity+rule+secret
		if !valid {
			return // JSON replaces what is not UTF-8: the key differs, the item is not found
		}
		if !ok || gotKey != k || got.Secret != want.Secret ||
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
		x := decodeIndex(Secret(raw))
		for _, e := range x.entries {
			if !isItemName(e.Name) {
				t.Fatalf("foreign name %q", e.Name)
			}
		}
		again, err := x.encode()
		if err != nil {
			return
		}
		second, err := new(index{entries: decodeIndex(again).entries}).encode()
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
