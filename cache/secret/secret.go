// Package secret has the type of everything that must not be printed.
package secret

import (
	"fmt"
	"log/slog"
)

// A Secret is a token, password, passcode or seed of passcodes. It does not print itself: fmt,
// encoding/json and log/slog give a placeholder. [Secret.Reveal] is the way out,
// so that each use can be found by that word.
//
// The standard library leaves some ways around its methods: fmt asks none of an
// unexported field, none for %p, and none behind a pointer inside another value
// when the verb does not fit a pointer (%s); encoding/json asks none of the key
// of a map. So a struct that keeps a Secret in an unexported field or is handed
// around by pointer has a Format method of its own, and no map has Secrets as keys.
type Secret string

const redacted = "[redacted]"

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Format implements fmt.Formatter for all verbs, %x and %q included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText keeps a secret out of JSON and other text encodings.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue keeps a secret out of logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
