package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
)

const itemVersion = 1

// An item is the value of a token's item in the keyring. It repeats its key, so that a
// value that was moved to another name is not taken for that other caller's token.
type item struct {
	Version int `json:"v"`
	Key
	Plain string `json:"token"` // the Secret, which does not write itself
	Token
}

func encodeItem(k Key, t Token) (secret.Secret, error) {
	t = wall(t)
	t.Created, t.Expires = t.Created.UTC(), t.Expires.UTC()
	raw, err := json.Marshal(item{itemVersion, k, t.Secret.Reveal(), t})
	if err != nil {
		// A year of five digits. Not err itself: it may quote the value.
		return "", fmt.Errorf("%w: its times cannot be written", ErrTooLarge)
	}
	if len(raw) > keyring.MaxValue {
		return "", fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(raw), keyring.MaxValue)
	}
	return secret.Secret(raw), nil
}

// decodeItem reports false for anything that encodeItem of this version did not
// make. Such an item is treated as absent and overwritten by the next Put.
func decodeItem(raw secret.Secret) (Entry, bool) {
	var i item
	if len(raw) > keyring.MaxValue || json.Unmarshal([]byte(raw.Reveal()), &i) != nil {
		return Entry{}, false
	}
	if i.Version != itemVersion || i.Plain == "" || i.Uses < 0 {
		return Entry{}, false
	}
	i.Secret = secret.Secret(i.Plain)
	return Entry{i.Key, wall(i.Token)}, true
}

func itemName(scope string, k Key) string {
	parts := []string{scope, k.Vault, k.Namespace, k.Identity, k.Rule}
	if k.Scope != "" {
		parts = append(parts, k.Scope)
	}
	return keyring.Name("stepup item v1", parts...)
}

func indexName(scope string) string {
	const name = "index-v1"
	if scope == "" {
		return name
	}
	sum := sha256.Sum256([]byte(scope))
	return name + "-" + hex.EncodeToString(sum[:4])
}

// An index lists the items of a scope, because a keyring cannot. It is one item
// and holds about thirty entries; a token that does not fit stays in memory.
type index struct {
	Version int          `json:"v"`
	Items   []indexEntry `json:"items"`
}

type indexEntry struct {
	Name    string `json:"n"`
	Created int64  `json:"c"` // milliseconds since 1970
	Expires int64  `json:"e"`
}

func (x *index) encode() (secret.Secret, error) {
	x.Version = itemVersion
	raw, err := json.Marshal(x)
	if err != nil {
		return "", errors.New("index cannot be written as JSON")
	}
	if len(raw) > keyring.MaxValue {
		return "", fmt.Errorf("%w: %d tokens are in the keyring", ErrTooLarge, len(x.Items)-1)
	}
	return secret.Secret(raw), nil
}

// decodeIndex takes an index that it cannot read for an empty one.
func decodeIndex(raw secret.Secret) index {
	var x index
	if len(raw) > keyring.MaxValue || json.Unmarshal([]byte(raw.Reveal()), &x) != nil || x.Version != itemVersion {
		return index{}
	}
	// Another program that can write the index could otherwise have us delete other items
	// of this service.
	x.Items = slices.DeleteFunc(x.Items, func(e indexEntry) bool { return !isItemName(e.Name) })
	return x
}

func isItemName(name string) bool {
	raw, err := hex.DecodeString(name)
	return err == nil && len(raw) == keyring.NameLen/2
}

// put lists name, and reports whether that changed anything.
func (x *index) put(name string, t Token) bool {
	e := indexEntry{Name: name, Created: t.Created.UnixMilli(), Expires: t.Expires.UnixMilli()}
	at := slices.IndexFunc(x.Items, func(other indexEntry) bool { return other.Name == name })
	if at < 0 {
		x.Items = append(x.Items, e)
		return true
	}
	changed := x.Items[at] != e
	x.Items[at] = e
	return changed
}

// remove reports whether name was listed.
func (x *index) remove(name string) bool {
	before := len(x.Items)
	x.Items = slices.DeleteFunc(x.Items, func(e indexEntry) bool { return e.Name == name })
	return len(x.Items) != before
}
