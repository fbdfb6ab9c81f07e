package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/vault-stepup/stepup/cache/keyring"
)

// KeyringCommand is what our own program is called with to be the helper process of
// the keyring.
const KeyringCommand = "__keyring"

// HintUnlock is the way out of a keyring that is locked.
const HintUnlock = "unlock it and try again"

// Keyring is the keyring of the operating system, each call in a process that can
// be killed. It prompts for nothing and touches nothing until it is used.
func Keyring() *keyring.Child {
	self, err := os.Executable()
	if err != nil {
		return &keyring.Child{} // says at its first use that it has no program
	}
	return &keyring.Child{Command: []string{self, KeyringCommand}}
}

// KeyringFailure says what an error of the keyring means to a person. The hint is
// for a keyring that cannot be used at all.
func KeyringFailure(err error, hint string) error {
	var unusable *keyring.Error
	if !errors.As(err, &unusable) {
		return err
	}
	if unusable.Condition == keyring.Locked {
		hint = HintUnlock
	}
	return &Error{Err: fmt.Errorf("the keyring cannot be used: %s", unusable.Why), Hint: hint}
}
