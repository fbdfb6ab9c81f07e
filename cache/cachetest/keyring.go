package cachetest

import (
	"context"
	"maps"
	"strings"
	"sync"

	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A Keyring is a keyring in memory. Its zero value is an empty one that works.
type Keyring struct {
	// Before, if set, is called before each operation (get, set, delete); its
	// error is that of the operation. It may block until ctx ends.
	Before func(ctx context.Context, operation, name string) error
	// Cuts makes it keep the first half of each value, without a word; an index is kept whole.
	Cuts bool

	mu    sync.Mutex
	items map[string]secret.Secret
	calls int
}

var _ keyring.Keyring = (*Keyring)(nil)

// Get implements keyring.Keyring.
func (k *Keyring) Get(ctx context.Context, name string) (value secret.Secret, err error) {
	err = k.do(ctx, "get", name, func() error {
		var found bool
		if value, found = k.items[name]; !found {
			return keyring.ErrNotFound
		}
		return nil
	})
	return value, err
}

// Set implements keyring.Keyring.
func (k *Keyring) Set(ctx context.Context, name string, value secret.Secret) error {
	return k.do(ctx, "set", name, func() error {
		if k.items == nil {
			k.items = make(map[string]secret.Secret)
		}
		if k.Cuts && !strings.HasPrefix(name, "index") {
			value = value[:len(value)/2]
		}
		k.items[name] = value
		return nil
	})
}

// Delete implements keyring.Keyring.
func (k *Keyring) Delete(ctx context.Context, name string) error {
	return k.do(ctx, "delete", name, func() error {
		delete(k.items, name)
		return nil
	})
}

// Calls is the number of operations so far.
func (k *Keyring) Calls() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls
}

// Items returns a copy of what is kept, by name.
func (k *Keyring) Items() map[string]secret.Secret {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.items)
}

// do counts the operation, has Before look at it, and then runs it under the lock.
func (k *Keyring) do(ctx context.Context, operation, name string, run func() error) error {
	k.mu.Lock()
	k.calls++
	k.mu.Unlock()
	if k.Before != nil {
		if err := k.Before(ctx, operation, name); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return run()
}
