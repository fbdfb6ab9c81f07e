package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/cache/secret"
)

// KeyringConfig says how a [Keyring] works. Only Ring is needed.
type KeyringConfig struct {
	Ring Ring
	// Scope keeps the items of different installations in one keyring apart,
	// index included; "" is a scope too.
	Scope string
	// Limit bounds one Get, Put or Delete; five times as much a List. Zero
	// means 3 seconds.
	Limit time.Duration
	// Now tells the wall clock; nil means time.Now.
	Now func() time.Time
	// OnError, if set, is told of every operation (get, put, delete, list) that
	// could not use the keyring, but not of those that were not tried because
	// it is being left alone. It must not call the Keyring.
	OnError func(operation string, err error)
}

// A Keyring is a Store in the keyring of the operating system. It uses it by one
// call at a time, leaves it alone for five minutes when it did not answer in
// time, and for 15 seconds after any other trouble.
//
// An item is found by a hash of its key; an index item lists them. Two processes
// that use the same scope may lose an entry of the index: its token is still
// found by key, but neither listed nor removed when its time is over.
type Keyring struct {
	c    KeyringConfig
	slot chan struct{} // one operation at a time, its calls included

	verified bool // guarded by slot: a value was written and read back

	mu    sync.Mutex
	state State
	since time.Time // when state was found
}

var _ Store = (*Keyring)(nil)

// NewKeyring returns a Keyring. It does not touch c.Ring yet.
func NewKeyring(c KeyringConfig) *Keyring {
	if c.Limit == 0 {
		c.Limit = 3 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Keyring{c: c, slot: make(chan struct{}, 1), state: State{Condition: Untested}}
}

// State tells what the last use found.
func (k *Keyring) State() State {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state
}

// Get implements [Store].
func (k *Keyring) Get(ctx context.Context, key Key) (t Token, err error) {
	err = k.do(ctx, "get", func(ctx context.Context) error {
		found, err := k.read(ctx, itemName(k.c.Scope, key))
		if err != nil {
			return err
		}
		if found.Key != key {
			return ErrNotFound
		}
		t = found.Token
		return nil
	})
	return t, err
}

// Put implements [Store]. A token that needs more than 1,800 bytes with its key,
// or one too many, gives ErrTooLarge.
func (k *Keyring) Put(ctx context.Context, key Key, t Token) error {
	value, err := encodeItem(key, t)
	if err != nil {
		return err
	}
	return k.do(ctx, "put", func(ctx context.Context) error {
		x, err := k.readIndex(ctx)
		if err != nil {
			return err
		}
		changed, err := k.purge(ctx, &x)
		if err != nil {
			return err
		}
		name := itemName(k.c.Scope, key)
		// The index goes first: an entry without item is harmless, an item
		// without entry would never be removed after a crash.
		if x.put(name, t) || changed {
			if err := k.writeIndex(ctx, x); err != nil {
				return err
			}
		}
		return k.write(ctx, name, value)
	})
}

// Delete implements [Store].
func (k *Keyring) Delete(ctx context.Context, key Key) error {
	return k.do(ctx, "delete", func(ctx context.Context) error {
		name := itemName(k.c.Scope, key)
		if err := k.remove(ctx, name); err != nil {
			return err
		}
		x, err := k.readIndex(ctx)
		if err != nil {
			return err
		}
		if !x.remove(name) {
			return nil
		}
		return k.writeIndex(ctx, x)
	})
}

// List implements [Store]. It also removes the items whose time is over, those
// of earlier processes included.
func (k *Keyring) List(ctx context.Context) ([]Entry, error) {
	entries := []Entry{}
	err := k.do(ctx, "list", func(ctx context.Context) error {
		x, err := k.readIndex(ctx)
		if err != nil {
			return err
		}
		changed, err := k.purge(ctx, &x)
		if err != nil {
			return err
		}
		if changed {
			if err := k.writeIndex(ctx, x); err != nil {
				return err
			}
		}
		for _, e := range x.entries {
			found, err := k.read(ctx, e.Name)
			if errors.Is(err, ErrNotFound) {
				continue // another process is between its two writes, or was killed there
			}
			if err != nil {
				return err
			}
			if itemName(k.c.Scope, found.Key) == e.Name {
				entries = append(entries, found)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// Format implements fmt.Formatter: what the Ring holds stays inside.
func (k *Keyring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "keyring store") }

// do runs f as the only operation, unless the keyring is being left alone, and
// keeps what its error says about the keyring.
func (k *Keyring) do(ctx context.Context, operation string, f func(context.Context) error) error {
	select {
	case k.slot <- struct{}{}:
		defer func() { <-k.slot }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	if err := k.held(); err != nil {
		return err
	}
	limit := k.c.Limit
	if operation == "list" {
		limit *= 5
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	begun := time.Now()
	err := f(limited)
	var ring *RingError
	switch {
	case err == nil, errors.Is(err, ErrNotFound), errors.Is(err, ErrTooLarge):
		k.found(State{Condition: Available})
		return err
	case errors.As(err, &ring):
	case ctx.Err() != nil && time.Since(begun) < limit*9/10:
		// The caller went away, which says nothing about the keyring. One who has waited
		// for as long as we would, as requests do, has found it slow.
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	case limited.Err() != nil:
		ring = &RingError{Condition: Slow, Why: whySlow(limit)}
	default:
		ring = &RingError{Condition: Failed, Why: whyOther(err.Error(), "")}
	}
	k.found(State{Condition: ring.Condition, Why: ring.Why})
	if k.c.OnError != nil {
		k.c.OnError(operation, ring)
	}
	return ring
}

// held returns the error of the last use while the keyring is being left alone.
func (k *Keyring) held() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	hold, passed := k.state.Condition.hold(), k.c.Now().Sub(k.since)
	// A clock that was set back must not make the pause longer.
	if hold >= 0 && (passed < 0 || passed >= hold) {
		return nil
	}
	return &RingError{Condition: k.state.Condition, Why: k.state.Why}
}

func (k *Keyring) found(s State) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state, k.since = s, k.c.Now()
}

// read returns the live token in the item called name.
func (k *Keyring) read(ctx context.Context, name string) (Entry, error) {
	value, err := k.c.Ring.Get(ctx, service, name)
	if err != nil {
		return Entry{}, err
	}
	key, t, ok := decodeItem(value)
	if !ok || !t.Alive(k.c.Now()) {
		return Entry{}, ErrNotFound
	}
	return Entry{Key: key, Token: t}, nil
}

// write stores value. The first one is read back: keyrings have been seen to cut
// long values short without a word.
func (k *Keyring) write(ctx context.Context, name string, value secret.Secret) error {
	if err := k.c.Ring.Set(ctx, service, name, value); err != nil {
		return err
	}
	if k.verified {
		return nil
	}
	back, err := k.c.Ring.Get(ctx, service, name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err != nil || back != value {
		_ = k.remove(ctx, name) // what is there is of no use, and half of a secret
		return &RingError{Condition: Disabled, Why: whyMismatch}
	}
	k.verified = true
	return nil
}

func (k *Keyring) remove(ctx context.Context, name string) error {
	if err := k.c.Ring.Delete(ctx, service, name); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

func (k *Keyring) readIndex(ctx context.Context) (index, error) {
	value, err := k.c.Ring.Get(ctx, service, indexName(k.c.Scope))
	if errors.Is(err, ErrNotFound) {
		return index{}, nil
	}
	if err != nil {
		return index{}, err
	}
	return decodeIndex(value), nil
}

func (k *Keyring) writeIndex(ctx context.Context, x index) error {
	value, err := x.encode()
	if err != nil {
		return err
	}
	return k.c.Ring.Set(ctx, service, indexName(k.c.Scope), value)
}

// purge removes the items that are over and takes them out of x. It reports
// whether x has to be written.
func (k *Keyring) purge(ctx context.Context, x *index) (changed bool, err error) {
	for _, name := range x.over(k.c.Now()) {
		if err := k.remove(ctx, name); err != nil {
			return changed, err
		}
		x.remove(name)
		changed = true
	}
	return changed, nil
}
