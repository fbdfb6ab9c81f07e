package cachetest

import (
	"context"
	"sync"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A Ring is a keyring in memory. Its zero value is an empty one that works.
type Ring struct {
	// Before, if set, is called before each operation (get, set, delete); its
	// error is that of the operation. It may block until ctx ends.
	Before func(ctx context.Context, operation, user string) error

	mu    sync.Mutex
	items map[string]secret.Secret
	calls int
}

var _ cache.Ring = (*Ring)(nil)

// Get implements cache.Ring.
func (r *Ring) Get(ctx context.Context, service, user string) (secret.Secret, error) {
	if err := r.before(ctx, "get", user); err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	value, ok := r.items[service+":"+user]
	if !ok {
		return "", cache.ErrNotFound
	}
	return value, nil
}

// Set implements cache.Ring.
func (r *Ring) Set(ctx context.Context, service, user string, value secret.Secret) error {
	if err := r.before(ctx, "set", user); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.items == nil {
		r.items = make(map[string]secret.Secret)
	}
	r.items[service+":"+user] = value
	return nil
}

// Delete implements cache.Ring.
func (r *Ring) Delete(ctx context.Context, service, user string) error {
	if err := r.before(ctx, "delete", user); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.items[service+":"+user]; !ok {
		return cache.ErrNotFound
	}
	delete(r.items, service+":"+user)
	return nil
}

// Calls is the number of operations so far.
func (r *Ring) Calls() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

// Items returns a copy of what is kept, by "service:user".
func (r *Ring) Items() map[string]secret.Secret {
	r.mu.Lock()
	defer r.mu.Unlock()
	items := make(map[string]secret.Secret, len(r.items))
	for name, value := range r.items {
		items[name] = value
	}
	return items
}

func (r *Ring) before(ctx context.Context, operation, user string) error {
	r.mu.Lock()
	r.calls++
	r.mu.Unlock()
	if r.Before == nil {
		return nil
	}
	return r.Before(ctx, operation, user)
}
