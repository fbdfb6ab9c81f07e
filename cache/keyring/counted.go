package keyring

import (
	"context"
	"errors"

	"github.com/vault-stepup/stepup/cache/secret"
)

// Counted is a Keyring whose failures are counted. Step-up tokens do not go through it:
// their store knows better what was a failure.
type Counted struct {
	Keyring
	// Failed is called with the operation (get, put, delete). A missing item, one that is
	// too large, and a canceled request say nothing about the keyring.
	Failed func(operation string)
}

var _ Keyring = Counted{}

// Get implements [Keyring].
func (k Counted) Get(ctx context.Context, name string) (secret.Secret, error) {
	value, err := k.Keyring.Get(ctx, name)
	k.count(ctx, "get", err)
	return value, err
}

// Set implements [Keyring].
func (k Counted) Set(ctx context.Context, name string, value secret.Secret) error {
	err := k.Keyring.Set(ctx, name, value)
	k.count(ctx, "put", err)
	return err
}

// Delete implements [Keyring].
func (k Counted) Delete(ctx context.Context, name string) error {
	err := k.Keyring.Delete(ctx, name)
	k.count(ctx, "delete", err)
	return err
}

func (k Counted) count(ctx context.Context, operation string, err error) {
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrTooLarge) || errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	k.Failed(operation)
}
