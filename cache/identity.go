package cache

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/vault-stepup/stepup/cache/secret"
)

// minIdentifierKey is the shortest key of an [Identifier], in bytes.
const minIdentifierKey = 32

// identityDomain keeps domains apart: a key that is also used elsewhere, for a
// log perhaps, gives no name that could be mistaken for a caller.
const identityDomain = "stepup caller identity v1"

// An Identifier turns a caller's token into a name that can be stored, compared
// and shown: the same token gives the same name, and nobody without the key can
// tell which token a name belongs to. It prints as [redacted].
type Identifier struct {
	raw []byte // what the key is made from
	key []byte
}

func newIdentifier(raw []byte) *Identifier {
	return &Identifier{raw: raw, key: sum(raw, identityDomain)}
}

// NewIdentifier returns the Identifier of key, which it copies. Names are stable
// across restarts as long as the key is. A key under 32 bytes is an error.
func NewIdentifier(key []byte) (*Identifier, error) {
	if len(key) < minIdentifierKey {
		return nil, errors.New("key of the identifier is shorter than 32 bytes")
	}
	return newIdentifier(bytes.Clone(key)), nil
}

// RandomIdentifier returns an Identifier whose names last as long as the process.
func RandomIdentifier() *Identifier {
	key := make([]byte, minIdentifierKey)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the program instead
	return newIdentifier(key)
}

// LoadIdentifier returns the Identifier of the key that ring keeps for scope, and
// makes the key when there is none. When the ring cannot be used, the Identifier
// is one of [RandomIdentifier] and the State says why: what is stored under its
// names is not found again by a later process. It blocks as long as two or three
// calls of ring.
func LoadIdentifier(ctx context.Context, ring Ring, scope string) (*Identifier, State) {
	items := identityItem(ring, scope)
	text, err := items.get(ctx)
	if errors.Is(err, ErrNotFound) {
		fresh := make([]byte, minIdentifierKey)
		_, _ = rand.Read(fresh) // never fails: crypto/rand ends the program instead
		text = secret.Secret(hex.EncodeToString(fresh))
		err = items.put(ctx, text)
	}
	if err != nil {
		return RandomIdentifier(), stateOf(err)
	}
	key, err := hex.DecodeString(text.Reveal())
	if err != nil || len(key) < minIdentifierKey {
		return RandomIdentifier(), State{Condition: Failed, Why: whyKey}
	}
	return newIdentifier(key), State{Condition: Available}
}

// Keep stores the key in ring for [LoadIdentifier], unless there is one already:
// others may depend on that. It blocks as long as two calls of ring.
func (i *Identifier) Keep(ctx context.Context, ring Ring, scope string) error {
	items := identityItem(ring, scope)
	if _, err := items.get(ctx); !errors.Is(err, ErrNotFound) {
		return err
	}
	return items.put(ctx, secret.Secret(hex.EncodeToString(i.raw)))
}

func identityItem(ring Ring, scope string) ringItems {
	return ringItems{ring: ring, scope: scope, kind: "identity"}
}

// stateOf is what an error of a [Ring] says about it.
func stateOf(err error) State {
	var ring *RingError
	if errors.As(err, &ring) {
		return State{Condition: ring.Condition, Why: ring.Why}
	}
	return State{Condition: Failed, Why: whyOther(err.Error(), "")}
}

// Identify returns the name of token, 32 hexadecimal digits (HMAC-SHA-256, 128
// bits of it). No token has no name: "" goes in and "" comes out, and a [Key]
// without Identity must not be looked up.
func (i *Identifier) Identify(token secret.Secret) string {
	if token == "" {
		return ""
	}
	return hex.EncodeToString(sum(i.key, token.Reveal())[:16])
}

// Format implements fmt.Formatter for all verbs, so that the key is not printed.
func (i *Identifier) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// LogValue keeps the key out of logs.
func (i *Identifier) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Short is the part of a name that is shown to people.
func Short(id string) string {
	if len(id) <= 8 {
		return id
	}
	return id[:8]
}

func sum(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}
