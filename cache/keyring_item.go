package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vault-stepup/stepup/cache/secret"
)

// service is the service name of every item. Windows deletes by the prefix
// "service:", so neither this nor a user name may contain a colon.
const service = "stepup"

// maxItem is the size of the largest value in bytes. It fits into 2,560 bytes of
// a Windows credential and, as base64, into a 4,096-byte line of security(1).
const maxItem = 1800

const itemVersion = 1

// An item is the value of one keyring item. It repeats its key, so that a value
// that was moved to another name is not taken for that other caller's token.
type item struct {
	Version   int       `json:"v"`
	Vault     string    `json:"vault"`
	Namespace string    `json:"namespace"`
	Identity  string    `json:"identity"`
	Rule      string    `json:"rule"`
	Token     string    `json:"token"`
	Accessor  string    `json:"accessor"`
	Created   time.Time `json:"created"`
	Expires   time.Time `json:"expires"`
	// Absent in what earlier releases wrote, which had none of them.
	Uses  int    `json:"uses,omitempty"`
	Index string `json:"index,omitempty"`
	Grant string `json:"grant,omitempty"`
	Owner string `json:"owner,omitempty"`
}

func encodeItem(k Key, t Token) (secret.Secret, error) {
	raw, err := json.Marshal(item{
		Version: itemVersion,
		Vault:   k.Vault, Namespace: k.Namespace, Identity: k.Identity, Rule: k.Rule,
		Token: t.Secret.Reveal(), Accessor: t.Accessor,
		Created: t.Created.UTC().Round(0), Expires: t.Expires.UTC().Round(0),
		Uses: t.Uses, Index: t.Index, Grant: t.Grant, Owner: t.Owner,
	})
	if err != nil {
		// A year of five digits. Not err itself: it may quote the value.
		return "", fmt.Errorf("%w: its times cannot be written", ErrTooLarge)
	}
	if len(raw) > maxItem {
		return "", fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(raw), maxItem)
	}
	return secret.Secret(raw), nil
}

// decodeItem reports false for anything that encodeItem of this version did not
// make. Such an item is treated as absent and overwritten by the next Put.
func decodeItem(raw secret.Secret) (Key, Token, bool) {
	var i item
	if len(raw) > maxItem || json.Unmarshal([]byte(raw.Reveal()), &i) != nil {
		return Key{}, Token{}, false
	}
	if i.Version != itemVersion || i.Token == "" || i.Uses < 0 {
		return Key{}, Token{}, false
	}
	k := Key{Vault: i.Vault, Namespace: i.Namespace, Identity: i.Identity, Rule: i.Rule}
	t := Token{Secret: secret.Secret(i.Token), Accessor: i.Accessor, Created: i.Created, Expires: i.Expires, Uses: i.Uses, Index: i.Index, Grant: i.Grant, Owner: i.Owner}
	return k, wall(t), true
}

// itemName is the user name of the item of k: a hash, because keyrings show the
// names of items to every program and write them unencrypted.
func itemName(scope string, k Key) string {
	return hashedName("stepup item v1", scope, k.Vault, k.Namespace, k.Identity, k.Rule)
}

// hashedName is itemNameLen hexadecimal digits that stand for the fields; what
// begins the hash keeps kinds of items apart.
func hashedName(what string, fields ...string) string {
	h := sha256.New()
	h.Write([]byte(what))
	for _, field := range fields {
		// The length keeps ("a","bc") and ("ab","c") apart.
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(field)))
		h.Write(size[:])
		h.Write([]byte(field))
	}
	return hex.EncodeToString(h.Sum(nil)[:itemNameLen/2])
}

const itemNameLen = 32

// indexName is the user name of the index item.
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
	entries []indexEntry
}

type indexEntry struct {
	Name    string `json:"n"`
	Created int64  `json:"c"` // milliseconds since 1970
	Expires int64  `json:"e"`
}

type indexValue struct {
	Version int          `json:"v"`
	Items   []indexEntry `json:"items"`
}

func (x *index) encode() (secret.Secret, error) {
	raw, err := json.Marshal(indexValue{Version: itemVersion, Items: x.entries})
	if err != nil {
		return "", errors.New("index cannot be written as JSON")
	}
	if len(raw) > maxItem {
		return "", fmt.Errorf("%w: %d tokens are in the keyring", ErrTooLarge, len(x.entries)-1)
	}
	return secret.Secret(raw), nil
}

// decodeIndex takes an index that it cannot read for an empty one.
func decodeIndex(raw secret.Secret) index {
	var v indexValue
	if len(raw) > maxItem || json.Unmarshal([]byte(raw.Reveal()), &v) != nil || v.Version != itemVersion {
		return index{}
	}
	// Whoever can write the index could otherwise have us delete other items of
	// this service.
	v.Items = slices.DeleteFunc(v.Items, func(e indexEntry) bool { return !isItemName(e.Name) })
	return index{entries: v.Items}
}

func isItemName(name string) bool {
	raw, err := hex.DecodeString(name)
	return err == nil && len(raw) == itemNameLen/2
}

// put lists name, and reports whether that changed anything.
func (x *index) put(name string, t Token) bool {
	e := indexEntry{Name: name, Created: t.Created.UnixMilli(), Expires: t.Expires.UnixMilli()}
	for i := range x.entries {
		if x.entries[i].Name == name {
			changed := x.entries[i] != e
			x.entries[i] = e
			return changed
		}
	}
	x.entries = append(x.entries, e)
	return true
}

// remove reports whether name was listed.
func (x *index) remove(name string) bool {
	before := len(x.entries)
	x.entries = slices.DeleteFunc(x.entries, func(e indexEntry) bool { return e.Name == name })
	return len(x.entries) != before
}

// over returns the names whose token is of no use at now: its time is past, or
// it was made in what is now the future because the clock was set back.
func (x *index) over(now time.Time) []string {
	var names []string
	ms := now.UnixMilli()
	for _, e := range x.entries {
		if e.Expires <= ms || e.Created > ms {
			names = append(names, e.Name)
		}
	}
	return names
}
