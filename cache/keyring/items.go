package keyring

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/vault-stepup/stepup/cache/secret"
)

// Items are secrets of one kind in a keyring, each under words of its own, which name it
// and are not secret. They do not end, and nothing lists them. Errors wrap ErrNotFound,
// ErrUnavailable or ErrTooLarge.
type Items struct {
	keyring Keyring
	kind    string // begins the name of an item: what one kind keeps no other finds
}

// NewPasswords returns the passwords of login grants, each under the name of a Vault and
// a login path.
func NewPasswords(k Keyring) Items { return Items{k, "password"} }

// NewLogins returns the tokens that people log in with, as ~/.vault-token has one, each
// under the address of a Vault, which is taken literally.
func NewLogins(k Keyring) Items { return Items{k, "login"} }

// NewIdentity returns the key by which callers are told apart; it has no words.
func NewIdentity(k Keyring) Items { return Items{k, "identity"} }

// An item is the value of one of [Items]. It repeats its words, so that a value that was
// moved to another name is not taken for what belongs there.
type item struct {
	Version int      `json:"v"`
	Kind    string   `json:"kind"`
	Words   []string `json:"words"`
	Value   string   `json:"value"` // a plain string, because it has to be written
}

const itemVersion = 1

// Get returns a secret.
func (i Items) Get(ctx context.Context, words ...string) (secret.Secret, error) {
	raw, err := i.keyring.Get(ctx, i.name(words))
	if err != nil {
		return "", err
	}
	var found item
	if len(raw) > MaxValue || json.Unmarshal([]byte(raw.Reveal()), &found) != nil || found.Version != itemVersion {
		return "", ErrNotFound
	}
	if found.Kind != i.kind || !slices.Equal(found.Words, words) || found.Value == "" {
		return "", ErrNotFound
	}
	return secret.Secret(found.Value), nil
}

// Put keeps a secret, replacing what was there, and reads it back.
func (i Items) Put(ctx context.Context, value secret.Secret, words ...string) error {
	raw, err := json.Marshal(item{Version: itemVersion, Kind: i.kind, Words: words, Value: value.Reveal()})
	if err != nil {
		return errors.New("item cannot be written as JSON") // err may quote it
	}
	if len(raw) > MaxValue {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(raw), MaxValue)
	}
	return SetVerified(ctx, i.keyring, i.name(words), secret.Secret(raw))
}

// Delete forgets a secret; that there is none is no error.
func (i Items) Delete(ctx context.Context, words ...string) error {
	return i.keyring.Delete(ctx, i.name(words))
}

// name has the kind in front, which keeps an item apart from those that the index of a
// store may list and have removed.
func (i Items) name(words []string) string {
	// The empty field is the scope that earlier releases had here.
	return i.kind + "-" + Name("stepup "+i.kind+" v1", append([]string{""}, words...)...)
}

// SetVerified stores a value and reads it back: keyrings have been seen to cut long ones
// short without a word. An item that does not come back as it was written is removed, and
// the error is an [*Error].
func SetVerified(ctx context.Context, k Keyring, name string, value secret.Secret) error {
	if err := k.Set(ctx, name, value); err != nil {
		return err
	}
	back, err := k.Get(ctx, name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err != nil || back != value {
		_ = k.Delete(ctx, name) // what is there is of no use, and half of a secret
		return &Error{Disabled, "the keyring gave back something else than was stored"}
	}
	return nil
}

// Check stores an item that means nothing, reads it back and erases it: that a keyring can
// be reached, or read, is not enough. It blocks as long as three calls of the keyring.
func Check(ctx context.Context, k Keyring) error {
	const name = "check"
	if err := SetVerified(ctx, k, name, "a test by stepup"); err != nil {
		return err
	}
	return k.Delete(ctx, name)
}

// Name returns [NameLen] hexadecimal digits that stand for the fields: keyrings show the
// names of items to every program and write them unencrypted. The beginning of the hash,
// what, keeps kinds of items apart.
func Name(what string, fields ...string) string {
	h := sha256.New()
	h.Write([]byte(what))
	for _, field := range fields {
		// The length keeps ("a","bc") and ("ab","c") apart.
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(field)))
		h.Write(size[:])
		h.Write([]byte(field))
	}
	return hex.EncodeToString(h.Sum(nil)[:NameLen/2])
}

// NameLen is the length of a [Name].
const NameLen = 32
