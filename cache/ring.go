package cache

import (
	"context"
	"time"

	"github.com/vault-stepup/stepup/cache/secret"
)

// A Ring is an OS keyring as [Keyring] needs it. Every method returns soon
// after ctx ends. Errors wrap ErrNotFound or ErrTooLarge, or are a [*RingError].
type Ring interface {
	Get(ctx context.Context, service, user string) (secret.Secret, error)
	Set(ctx context.Context, service, user string, value secret.Secret) error
	Delete(ctx context.Context, service, user string) error
}

// A Condition says whether a keyring can be used.
type Condition string

// The conditions of a keyring. The words are shown in the status.
const (
	Untested  Condition = "untested"  // nobody needed it yet
	Available Condition = "available" // the last use went well
	Locked    Condition = "locked"    // the person must unlock it; stepup does not ask
	Missing   Condition = "missing"   // there is none
	Disabled  Condition = "disabled"  // not used for the life of the process
	Slow      Condition = "slow"      // did not answer in time; left alone for a while
	Failed    Condition = "failed"    // answered with an error
)

// State is what the status says about a store.
type State struct {
	Condition Condition `json:"condition"`
	Why       string    `json:"why"` // "" when Untested or Available
}

// A RingError says why a keyring cannot be used now. It wraps ErrUnavailable.
type RingError struct {
	Condition Condition // Locked, Missing, Disabled, Slow or Failed
	Why       string    // for people
}

// Error implements error.
func (e *RingError) Error() string { return "keyring is " + string(e.word()) + ": " + e.Why }

// Unwrap makes a RingError an ErrUnavailable.
func (e *RingError) Unwrap() error { return ErrUnavailable }

func (e *RingError) word() Condition {
	if e.Condition == Failed {
		return "failing"
	}
	return e.Condition
}

// hold is how long a keyring in this condition is left alone; never ends the
// condition when it is negative.
func (c Condition) hold() time.Duration {
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
