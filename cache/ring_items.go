package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/vault-stepup/stepup/cache/secret"
)

// ringItems keeps small secrets of one kind in a keyring, each under words of its
// own, which name it and are not secret. Unlike the tokens of a [Keyring] they do
// not end, and nothing lists them.
type ringItems struct {
	ring  Ring
	scope string
	kind  string // begins the name of an item: what one kind keeps no other finds
}

// A ringItem is the value of an item. It repeats its words, so that a value that
// was moved to another name is not taken for what belongs there.
type ringItem struct {
	Version int      `json:"v"`
	Kind    string   `json:"kind"`
	Words   []string `json:"words"`
	Value   string   `json:"value"` // a plain string, because it has to be written
}

// get returns the secret, or an error wrapping ErrNotFound or ErrUnavailable.
func (r ringItems) get(ctx context.Context, words ...string) (secret.Secret, error) {
	raw, err := r.ring.Get(ctx, service, r.name(words))
	if err != nil {
		return "", err
	}
	var i ringItem
	if len(raw) > maxItem || json.Unmarshal([]byte(raw.Reveal()), &i) != nil || i.Version != itemVersion {
		return "", ErrNotFound
	}
	if i.Kind != r.kind || !slices.Equal(i.Words, words) || i.Value == "" {
		return "", ErrNotFound
	}
	return secret.Secret(i.Value), nil
}

// put keeps value and reads it back: there is no copy in memory that would serve
// if the keyring cut it short. An item that does not come back as it was written
// is removed, and the error is a [*RingError].
func (r ringItems) put(ctx context.Context, value secret.Secret, words ...string) error {
	raw, err := json.Marshal(ringItem{Version: itemVersion, Kind: r.kind, Words: words, Value: value.Reveal()})
	if err != nil {
		return errors.New("item cannot be written as JSON") // err may quote it
	}
	if len(raw) > maxItem {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(raw), maxItem)
	}
	name := r.name(words)
	if err := r.ring.Set(ctx, service, name, secret.Secret(raw)); err != nil {
		return err
	}
	back, err := r.ring.Get(ctx, service, name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err != nil || back != secret.Secret(raw) {
		_ = r.delete(ctx, words...)
		return &RingError{Condition: Disabled, Why: whyMismatch}
	}
	return nil
}

// delete forgets the secret; that there is none is no error.
func (r ringItems) delete(ctx context.Context, words ...string) error {
	if err := r.ring.Delete(ctx, service, r.name(words)); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

// name is the user name of an item. The kind in front keeps it apart from the
// items that an index may list and have removed.
func (r ringItems) name(words []string) string {
	return r.kind + "-" + hashedName("stepup "+r.kind+" v1", append([]string{r.scope}, words...)...)
}

// Passwords keeps the passwords of login grants in a keyring, each for a login
// path of a Vault. Unlike a [Keyring] it goes to the keyring each time. Errors
// wrap ErrNotFound, ErrUnavailable or ErrTooLarge.
type Passwords struct{ items ringItems }

// NewPasswords returns the passwords in ring. It does not touch it yet. Scope is
// that of [KeyringConfig].
func NewPasswords(ring Ring, scope string) *Passwords {
	return &Passwords{ringItems{ring: ring, scope: scope, kind: "password"}}
}

// Get returns the password for the login path of the Vault of that name.
func (p *Passwords) Get(ctx context.Context, vault, path string) (secret.Secret, error) {
	return p.items.get(ctx, vault, path)
}

// Put keeps a password, replacing what was there.
func (p *Passwords) Put(ctx context.Context, vault, path string, password secret.Secret) error {
	return p.items.put(ctx, password, vault, path)
}

// Delete forgets a password; that there is none is no error.
func (p *Passwords) Delete(ctx context.Context, vault, path string) error {
	return p.items.delete(ctx, vault, path)
}

// Logins keeps the tokens that people log in with, as ~/.vault-token does, each
// for the address of a Vault. Errors wrap ErrNotFound, ErrUnavailable or
// ErrTooLarge.
type Logins struct{ items ringItems }

// NewLogins returns the tokens in ring. It does not touch it yet. Scope is that
// of [KeyringConfig].
func NewLogins(ring Ring, scope string) *Logins {
	return &Logins{ringItems{ring: ring, scope: scope, kind: "login"}}
}

// Get returns the token for the Vault at address, which is taken literally.
func (l *Logins) Get(ctx context.Context, address string) (secret.Secret, error) {
	return l.items.get(ctx, address)
}

// Put keeps a token, replacing what was there.
func (l *Logins) Put(ctx context.Context, address string, token secret.Secret) error {
	return l.items.put(ctx, token, address)
}

// Delete forgets a token; that there is none is no error.
func (l *Logins) Delete(ctx context.Context, address string) error {
	return l.items.delete(ctx, address)
}
