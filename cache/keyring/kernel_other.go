//go:build !linux

package keyring

import (
	"context"

	"github.com/vault-stepup/stepup/cache/secret"
)

// Kernel is the user keyring of the kernel, which only Linux has.
type Kernel struct{}

var _ Keyring = Kernel{}

func noKernel() error { return &Error{Missing, "only Linux has a keyring in the kernel"} }

// Get implements [Keyring].
func (Kernel) Get(context.Context, string) (secret.Secret, error) { return "", noKernel() }

// Set implements [Keyring].
func (Kernel) Set(context.Context, string, secret.Secret) error { return noKernel() }

// Delete implements [Keyring].
func (Kernel) Delete(context.Context, string) error { return noKernel() }
