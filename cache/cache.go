// Package cache keeps step-up tokens: what they are bound to, when they end, and
// where they are stored. A token is found only under the key of the caller that
// it was made for.
package cache

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A Key says whom a token belongs to. A token is never served under another key.
type Key struct {
	Vault     string `json:"vault"`     // name of the vault block, a blank, and its address
	Namespace string `json:"namespace"` // Vault namespace without slashes at its ends; "" is root
	Identity  string `json:"identity"`  // HMAC of the caller's own token, from an [Identifier]
	Rule      string `json:"rule"`      // name of the step_up block
	// Scope is the session or program that the token is for; "" is every one that has the
	// caller's own token.
	Scope string `json:"scope,omitempty"`
}

// VaultName is the name of the vault block.
func (k Key) VaultName() string {
	name, _, _ := strings.Cut(k.Vault, " ")
	return name
}

// A Token is a step-up token with what is needed to stop using it in time. The tags are
// those of its item in the keyring.
type Token struct {
	Secret   secret.Secret `json:"-"`
	Accessor string        `json:"accessor"`
	Created  time.Time     `json:"created"` // wall clock
	Expires  time.Time     `json:"expires"` // wall clock; the zero time is already over
	// Uses is how many requests the token is still good for; zero means no limit.
	// [Memory.Take] and [Layered.Take] count.
	Uses int `json:"uses,omitempty"`
	// Index is the X-Vault-Index of the answer that made the token, "" when there
	// was none. Requests with the token carry it, so that a standby does not
	// refuse a token that it has not heard of.
	Index string `json:"index,omitempty"`
	// Owner is the accessor of the caller's own token, "" when it was not known.
	Owner string `json:"owner,omitempty"`
	// Bound names the Scope of its key for people, "" without one.
	Bound string `json:"bound,omitempty"`
	// Keep says how long the person wants the token kept, where that is not for the time of
	// its rule; "" otherwise. Such a token is never written to another store than memory: an
	// agent that is not there notices no lock.
	Keep string `json:"-"`
	// For names the one request that the token is for; "" for any.
	For string `json:"-"`
	// Grant stands for what the token was made by and with, as far as a changed
	// configuration may want something else; see the caller of Put.
	Grant string `json:"grant,omitempty"`
}

// Alive reports whether the token may be used at now. A token that claims to be
// made in the future was stored before the clock was set back: it is not used.
func (t Token) Alive(now time.Time) bool {
	now = now.Round(0) // wall clock: the monotonic one stops while a machine sleeps
	return t.Secret != "" && now.Before(t.Expires.Round(0)) && !t.Created.Round(0).After(now)
}

// Format implements fmt.Formatter for all verbs.
func (t Token) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "token with accessor %q until %s", t.Accessor, t.Expires.Format(time.RFC3339))
}

// Errors of a Store, which are those of the keyring: a store in front of one passes them on.
var (
	// ErrNotFound: there is no token under the key.
	ErrNotFound = keyring.ErrNotFound
	// ErrUnavailable: the store cannot be used now (missing, locked or too slow).
	ErrUnavailable = keyring.ErrUnavailable
	// ErrTooLarge: the token does not fit into one item of the store.
	ErrTooLarge = keyring.ErrTooLarge
)

// A Store keeps tokens. Implementations are safe for concurrent use, bounded in
// time by ctx, and pass cachetest.Run.
type Store interface {
	// Get returns the token under k, or an error wrapping ErrNotFound or
	// ErrUnavailable. An expired token is not found.
	Get(ctx context.Context, k Key) (Token, error)
	// Put keeps t under k, replacing what was there.
	Put(ctx context.Context, k Key, t Token) error
	// Delete forgets the token under k; that there is none is no error.
	Delete(ctx context.Context, k Key) error
	// List returns every live entry, in no order.
	List(ctx context.Context) ([]Entry, error)
}

// An Entry is a token in a store, with its key.
type Entry struct {
	Key   Key
	Token Token
}

// Format implements fmt.Formatter for all verbs.
func (e Entry) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "%v under %+v", e.Token, e.Key) }
