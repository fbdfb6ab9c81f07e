package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/vault-stepup/stepup/cache"
)

// Every word that an app or a person reads from this package. Lower case, no
// full stop; what happened first, then what to do. Nothing that a stranger sent
// is repeated here.

// Errors of a running agent.
var (
	errNotRunning  = errors.New("agent is not running")
	errManyPrivate = errors.New("too many private listeners are open")
)

// Notes of stepup lock: what is left to expire, and why.

func noteNotListed(err error) string {
	return fmt.Sprintf("tokens could not be listed: %v", err)
}

func noteStillKept(e cache.Entry, err error) string {
	return fmt.Sprintf("the token of rule %s may still be in the keyring until %s: %v", e.Key.Rule, e.Token.Expires.Format(time.TimeOnly), err)
}

func noteNotRevoked(e cache.Entry, err error) string {
	return fmt.Sprintf("the token of rule %s could not be revoked and lives until about %s: %v", e.Key.Rule, e.Token.Expires.Format(time.TimeOnly), err)
}
