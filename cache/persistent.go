package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
)

// PersistentConfig says how a [Persistent] store works. Only Keyring is needed.
type PersistentConfig struct {
	Keyring keyring.Keyring
	// Scope keeps the items of different installations in one keyring apart,
	// index included; "" is a scope too.
	Scope string
	// Limit bounds one Get, Put or Delete; five times as much a List. Zero
	// means 3 seconds.
	Limit time.Duration
	// Ready, if set, is called before each operation. Its error, which wraps ErrUnavailable,
	// is that of the operation.
	Ready func(ctx context.Context) error
	// OnError, if set, is called for every operation (get, put, delete, list) that
	// could not use the keyring, but not for those that were not tried because
	// the keyring is paused. It must not call the store.
	OnError func(operation string, err error)
}

// Persistent is a Store in the keyring of the operating system. It uses it by one
// call at a time, pauses for five minutes when it did not answer in
// time, and for 15 seconds after any other failure.
//
// An item is found by a hash of its key; an index item lists them. Two processes
// that use the same scope may lose an entry of the index: its token is still
// found by key, but neither listed nor removed when its time is over.
type Persistent struct {
	c    PersistentConfig
	slot slot // one operation at a time, its calls included

	verified bool // guarded by slot: a value was written and read back

	mu    sync.Mutex
	state keyring.State
	since time.Time // when state was found
}

var _ Store = (*Persistent)(nil)

// NewPersistent returns a Persistent store. It does not touch the keyring yet.
func NewPersistent(c PersistentConfig) *Persistent {
	if c.Limit == 0 {
		c.Limit = 3 * time.Second
	}
	return &Persistent{c: c, slot: newSlot(), state: keyring.State{Condition: keyring.Untested}}
}

// State tells what the last use found.
func (p *Persistent) State() keyring.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// Get implements [Store].
func (p *Persistent) Get(ctx context.Context, k Key) (t Token, err error) {
	err = p.do(ctx, "get", func(ctx context.Context) error {
		found, err := p.read(ctx, itemName(p.c.Scope, k))
		if err != nil {
			return err
		}
		if found.Key != k {
			return ErrNotFound
		}
		t = found.Token
		return nil
	})
	return t, err
}

// Put implements [Store]. A token that needs more than 1,800 bytes with its key,
// or one too many, gives ErrTooLarge.
func (p *Persistent) Put(ctx context.Context, k Key, t Token) error {
	value, err := encodeItem(k, t)
	if err != nil {
		return err
	}
	return p.do(ctx, "put", func(ctx context.Context) error {
		x, changed, err := p.purged(ctx)
		if err != nil {
			return err
		}
		name := itemName(p.c.Scope, k)
		// The index goes first: an entry without item is harmless, an item
		// without entry would never be removed after a crash.
		if x.put(name, t) || changed {
			if err := p.writeIndex(ctx, x); err != nil {
				return err
			}
		}
		return p.write(ctx, name, value, t.Expires)
	})
}

// Delete implements [Store].
func (p *Persistent) Delete(ctx context.Context, k Key) error {
	return p.do(ctx, "delete", func(ctx context.Context) error {
		name := itemName(p.c.Scope, k)
		if err := p.c.Keyring.Delete(ctx, name); err != nil {
			return err
		}
		x, err := p.readIndex(ctx)
		if err != nil {
			return err
		}
		if !x.remove(name) {
			return nil
		}
		return p.writeIndex(ctx, x)
	})
}

// List implements [Store]. It also removes the items whose time is over, those
// of earlier processes included.
func (p *Persistent) List(ctx context.Context) ([]Entry, error) {
	entries := []Entry{}
	err := p.do(ctx, "list", func(ctx context.Context) error {
		x, changed, err := p.purged(ctx)
		if err != nil {
			return err
		}
		if changed {
			if err := p.writeIndex(ctx, x); err != nil {
				return err
			}
		}
		for _, e := range x.Items {
			found, err := p.read(ctx, e.Name)
			if errors.Is(err, ErrNotFound) {
				continue // another process is between its two writes, or was killed there
			}
			if err != nil {
				return err
			}
			if itemName(p.c.Scope, found.Key) == e.Name {
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

// Format implements fmt.Formatter: what the keyring holds stays inside.
func (p *Persistent) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "keyring store") }

// do runs f as the only operation, unless the keyring is paused, and
// keeps what its error says about the keyring.
func (p *Persistent) do(ctx context.Context, operation string, f func(context.Context) error) error {
	if err := p.slot.acquire(ctx); err != nil {
		return err
	}
	defer p.slot.release()
	if err := p.paused(); err != nil {
		return err
	}
	limit := p.c.Limit
	if operation == "list" {
		limit *= 5
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	begun := time.Now()
	err := p.ready(limited)
	if err == nil {
		err = f(limited)
	}
	var unusable *keyring.Error
	switch {
	case err == nil, errors.Is(err, ErrNotFound), errors.Is(err, ErrTooLarge):
		p.found(keyring.State{Condition: keyring.Available})
		return err
	case errors.As(err, &unusable):
	case ctx.Err() != nil && time.Since(begun) < limit*9/10:
		// The caller went away, which says nothing about the keyring. A caller that has
		// waited for as long as we would, as requests do, has found it slow.
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	case limited.Err() != nil:
		unusable = keyring.TooSlow(limit)
	default:
		unusable = keyring.AsError(err)
	}
	p.found(keyring.State(*unusable))
	if p.c.OnError != nil {
		p.c.OnError(operation, unusable)
	}
	return unusable
}

func (p *Persistent) ready(ctx context.Context) error {
	if p.c.Ready == nil {
		return nil
	}
	return p.c.Ready(ctx)
}

// paused returns the error of the last use while the keyring is paused.
func (p *Persistent) paused() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	pause, passed := p.state.Condition.Pause(), time.Since(p.since)
	// A clock that was set back must not make the pause longer.
	if pause >= 0 && (passed < 0 || passed >= pause) {
		return nil
	}
	unusable := keyring.Error(p.state)
	return &unusable
}

func (p *Persistent) found(s keyring.State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state, p.since = s, time.Now().Round(0) // a sleep counts
}

// read returns the live token in the item called name.
func (p *Persistent) read(ctx context.Context, name string) (Entry, error) {
	value, err := p.c.Keyring.Get(ctx, name)
	if err != nil {
		return Entry{}, err
	}
	found, ok := decodeItem(value)
	if !ok || !found.Token.Alive(time.Now()) {
		return Entry{}, ErrNotFound
	}
	return found, nil
}

// write stores value, the first one with a look at what became of it.
func (p *Persistent) write(ctx context.Context, name string, value secret.Secret, end time.Time) error {
	if k, ok := p.c.Keyring.(expiring); ok {
		return k.SetUntil(ctx, name, value, end)
	}
	if p.verified {
		return p.c.Keyring.Set(ctx, name, value)
	}
	err := keyring.SetVerified(ctx, p.c.Keyring, name, value)
	p.verified = err == nil
	return err
}

// An expiring keyring forgets a value at its end by itself. It is one of ours, which cuts
// nothing short.
type expiring interface {
	SetUntil(ctx context.Context, name string, value secret.Secret, end time.Time) error
}

func (p *Persistent) readIndex(ctx context.Context) (index, error) {
	value, err := p.c.Keyring.Get(ctx, indexName(p.c.Scope))
	if errors.Is(err, ErrNotFound) {
		return index{}, nil
	}
	return decodeIndex(value), err
}

func (p *Persistent) writeIndex(ctx context.Context, x index) error {
	value, err := x.encode()
	if err != nil {
		return err
	}
	return p.c.Keyring.Set(ctx, indexName(p.c.Scope), value)
}

// purged removes the items whose tokens are of no use any more and returns an index without them. It reports
// whether that has to be written.
func (p *Persistent) purged(ctx context.Context) (x index, changed bool, err error) {
	if x, err = p.readIndex(ctx); err != nil {
		return x, false, err
	}
	now := time.Now().UnixMilli()
	for _, e := range slices.Clone(x.Items) {
		if e.Expires > now && e.Created <= now { // made in the future: the clock was set back
			continue
		}
		if err := p.c.Keyring.Delete(ctx, e.Name); err != nil {
			return x, changed, err
		}
		x.remove(e.Name)
		changed = true
	}
	return x, changed, nil
}
