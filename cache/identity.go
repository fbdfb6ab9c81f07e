package cache

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"sync"

	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
)

// minIdentifierKey is the shortest key of an [Identifier], in bytes.
const minIdentifierKey = 32

// identityDomain keeps domains apart: a key that is also used elsewhere, for a
// log perhaps, gives no name that could be mistaken for a caller.
const identityDomain = "stepup caller identity v1"

// An Identifier turns a caller's token into a name that can be stored, compared
// and shown: the same token gives the same name, and only the key tells which
// token a name belongs to. It prints as [redacted].
type Identifier struct {
	raw  []byte    // what the key is made from
	macs sync.Pool // of hash.Hash with the key: making one costs more than using it
}

func newIdentifier(raw []byte) *Identifier {
	key := sum(hmac.New(sha256.New, raw), identityDomain)
	return &Identifier{raw: raw, macs: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

// RandomIdentifier returns an Identifier whose names last as long as the process.
func RandomIdentifier() *Identifier {
	key := make([]byte, minIdentifierKey)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the program instead
	return newIdentifier(key)
}

// LoadIdentifier returns the Identifier of the key in the keyring, and makes the key when
// there is none. When the keyring cannot be used, the Identifier is one of
// [RandomIdentifier] and the State says why: what is stored under its names is not found
// again by a later process. It blocks as long as two or three calls of the keyring.
func LoadIdentifier(ctx context.Context, k keyring.Keyring) (*Identifier, keyring.State) {
	text, err := keyring.NewIdentity(k).Get(ctx)
	if errors.Is(err, ErrNotFound) {
		fresh := RandomIdentifier()
		if err = fresh.Keep(ctx, k); err == nil {
			return fresh, keyring.State{Condition: keyring.Available}
		}
	}
	if err != nil {
		return RandomIdentifier(), keyring.State(*keyring.AsError(err))
	}
	key, err := hex.DecodeString(text.Reveal())
	if err != nil || len(key) < minIdentifierKey {
		const why = "the key that callers are told apart by is damaged in the keyring"
		return RandomIdentifier(), keyring.State{Condition: keyring.Failed, Why: why}
	}
	return newIdentifier(key), keyring.State{Condition: keyring.Available}
}

// Keep stores the key in the keyring for [LoadIdentifier]. Another one that is there is
// replaced: what was stored under its names, by an earlier process, costs its caller one
// more question at most. It blocks as long as two calls of the keyring.
func (i *Identifier) Keep(ctx context.Context, k keyring.Keyring) error {
	return keyring.NewIdentity(k).Put(ctx, secret.Secret(hex.EncodeToString(i.raw)))
}

// Identify returns the name of token, 32 hexadecimal digits (HMAC-SHA-256, 128
// bits of it). No token has no name: "" goes in and "" comes out, and a [Key]
// without Identity must not be looked up.
func (i *Identifier) Identify(token secret.Secret) string {
	if token == "" {
		return ""
	}
	mac := i.macs.Get().(hash.Hash)
	defer i.macs.Put(mac)
	return hex.EncodeToString(sum(mac, token.Reveal())[:16])
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

func sum(mac hash.Hash, text string) []byte {
	mac.Reset()
	mac.Write([]byte(text))
	return mac.Sum(nil)
}
