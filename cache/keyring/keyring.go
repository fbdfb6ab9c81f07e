// Package keyring is the keyring of the operating system, and what is kept in it for
// good: passwords, logins and seeds. Each call is made in a process of its own, because
// it may hang for ever.
package keyring

import (
	"context"
	"errors"
	"time"

	"github.com/vault-stepup/stepup/cache/secret"
)

// A Keyring keeps a secret for each name. Every method returns soon after ctx ends.
// Errors wrap ErrNotFound or ErrTooLarge, or are an [*Error]. The name is one of [Name],
// or another without a colon: Windows deletes by the prefix "service:".
type Keyring interface {
	Get(ctx context.Context, name string) (secret.Secret, error)
	Set(ctx context.Context, name string, value secret.Secret) error
	// Delete forgets an item; that there is none is no error.
	Delete(ctx context.Context, name string) error
}

// service is the service name of every item.
const service = "stepup"

// MaxValue is the size of the largest value in bytes. It fits into 2,560 bytes of a
// Windows credential and, as base64, into a 4,096-byte line of security(1).
const MaxValue = 1800

// Errors of a [Keyring], and of what keeps things in one.
var (
	// ErrNotFound: there is nothing under the name.
	ErrNotFound = errors.New("no token under this key")
	// ErrUnavailable: the keyring cannot be used now (missing, locked or too slow).
	ErrUnavailable = errors.New("token store is unavailable")
	// ErrTooLarge: the value does not fit into one item.
	ErrTooLarge = errors.New("token is too large for the store")
)

// A Condition says whether a keyring can be used.
type Condition string

// The conditions of a keyring. The words are shown in the status.
const (
	Untested  Condition = "untested"  // not used yet
	Available Condition = "available" // the last use went well
	Locked    Condition = "locked"    // the person must unlock it; stepup does not ask
	Missing   Condition = "missing"   // there is none
	Disabled  Condition = "disabled"  // not used for the life of the process
	Slow      Condition = "slow"      // did not answer in time; paused for a while
	Failed    Condition = "failed"    // answered with an error
)

// State is what the status says about a keyring, or about a store in front of one.
type State struct {
	Condition Condition
	Why       string // for people; "" when Untested or Available
}

// An Error is the State of a keyring that cannot be used now: Locked, Missing, Disabled,
// Slow or Failed. It wraps ErrUnavailable.
type Error State

// Error implements error.
func (e *Error) Error() string {
	condition := e.Condition
	if condition == Failed {
		condition = "failing"
	}
	return "keyring is " + string(condition) + ": " + e.Why
}

// Unwrap makes an Error an ErrUnavailable.
func (e *Error) Unwrap() error { return ErrUnavailable }

// Hint is the way out of a keyring that is Locked, for people; "" in other conditions.
func (e *Error) Hint() string {
	switch {
	case e.Condition != Locked:
		return ""
	case e.Why == whyItemLocked:
		return "KeePassXC asks before it hands out an entry: switch that off in its settings (Secret Service Integration, Confirm when passwords are retrieved by clients)"
	case e.Why == whyWalletAsks:
		return "switch that off in the settings of KWallet (Prompt when an application accesses a wallet)"
	}
	return "unlock it and try again"
}

// AsError returns the [*Error] in err. Any other error makes a keyring Failed, with its
// text as the reason.
func AsError(err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	return &Error{Failed, whyOther(err.Error(), "")}
}

// TooSlow is the Error of a keyring that did not answer within limit.
func TooSlow(limit time.Duration) *Error {
	return &Error{Slow, "the keyring did not answer within " + limit.String()}
}

// Pause returns how long a keyring in this condition is not used. A negative duration
// never ends.
func (c Condition) Pause() time.Duration {
	switch c {
	case Untested, Available:
		return 0
	case Disabled:
		return -1
	case Slow:
		// Each try costs a request its whole limit.
		return 5 * time.Minute
	default:
		// Looking again is cheap, and the person may have unlocked it.
		return 15 * time.Second
	}
}
