package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/vault-stepup/stepup/cache"
)

// KeyringCommand is what our own program is called with to be the helper process of
// the keyring.
const KeyringCommand = "__keyring"

// KeyringScope is that of everything that is kept for the person and not for one
// configuration: seeds, passwords, logins.
const KeyringScope = ""

// HintUnlock is the way out of a keyring that is locked.
const HintUnlock = "unlock it and try again"

// Keyring is the keyring of the operating system, each call in a process that can
// be killed. It prompts for nothing and touches nothing until it is used.
func Keyring() *cache.ChildRing {
	self, err := os.Executable()
	if err != nil {
		return &cache.ChildRing{} // says at its first use that it has no program
	}
	return &cache.ChildRing{Command: []string{self, KeyringCommand}}
}

// KeyringFailure says what an error of the keyring means to a person. The hint is
// for a keyring that cannot be used at all.
func KeyringFailure(err error, hint string) error {
	var ring *cache.RingError
	if !errors.As(err, &ring) {
		return err
	}
	if ring.Condition == cache.Locked {
		hint = HintUnlock
	}
	return &Error{Err: fmt.Errorf("the keyring cannot be used: %s", ring.Why), Hint: hint}
}
