package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/cache"
)

// ringCommand is what our own program is called with to be the helper process of
// the keyring.
const ringCommand = "__keyring"

// keyringScope is that of everything that is kept for the person and not for one
// configuration: seeds, passwords, logins.
const keyringScope = ""

// keyringCommand is for keyRing and nobody else. It reads no configuration.
func (a *app) keyringCommand() *cobra.Command {
	return &cobra.Command{
		Use: ringCommand, Hidden: true, Args: takes(0),
		RunE: func(*cobra.Command, []string) error { return cache.ServeRing(a.in, a.out) },
	}
}

// keyRing is the keyring of the operating system, each call in a process that can
// be killed. It prompts for nothing and touches nothing until it is used.
func keyRing() *cache.ChildRing {
	self, err := os.Executable()
	if err != nil {
		return &cache.ChildRing{} // says at its first use that it has no program
	}
	return &cache.ChildRing{Command: []string{self, ringCommand}}
}

// ringFailure says what an error of the keyring means to a person. The hint is
// for a keyring that cannot be used at all.
func ringFailure(err error, hint string) error {
	var ring *cache.RingError
	switch {
	case errors.As(err, &ring) && ring.Condition == cache.Locked:
		return &hinted{error: fmt.Errorf(textNoKeyring, ring.Why), hint: hintUnlock}
	case errors.As(err, &ring):
		return &hinted{error: fmt.Errorf(textNoKeyring, ring.Why), hint: hint}
	}
	return err
}
