package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/vault-stepup/stepup/cache/keyring"
)

// A Layered store is memory with a slower store behind it, which may come and
// go. The back is asked once for each key, or once for all by List; whatever it
// cannot do is kept in memory and done when it is back. One process at a time
// uses a back.
type Layered struct {
	front *Memory
	slot  slot // one use of the back at a time: a thousand requests for one key ask it once

	mu     sync.Mutex
	back   Store
	absent map[Key]bool   // known not to be in the back
	dirty  map[Key]uint64 // the back differs from the front; the number of the change
	change uint64
	loaded bool  // all of the back is in the front
	err    error // of the last use of the back
}

var _ Store = (*Layered)(nil)

// maxAbsent bounds what is remembered of callers without a token.
const maxAbsent = 4096

// NewLayered returns a store of front with back behind it. Nothing else may use
// either.
func NewLayered(front *Memory, back Store) *Layered {
	return &Layered{
		front: front, back: back, slot: newSlot(),
		absent: make(map[Key]bool), dirty: make(map[Key]uint64),
	}
}

// State tells whether tokens outlive the process: what the back says of itself,
// if it does, else what its last use showed.
func (l *Layered) State() keyring.State {
	if s, ok := l.behind().(interface{ State() keyring.State }); ok {
		return s.State()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return keyring.State(*keyring.AsError(l.err))
	}
	return keyring.State{Condition: keyring.Available}
}

// Get implements [Store]. That the back cannot be used makes a token that is
// only there not found; it is asked again next time.
func (l *Layered) Get(ctx context.Context, k Key) (Token, error) {
	if t, known, err := l.lookup(ctx, k); known {
		return t, err
	}
	if err := l.slot.acquire(ctx); err != nil {
		return Token{}, err
	}
	defer l.slot.release()
	if t, known, err := l.lookup(ctx, k); known { // others may have asked meanwhile
		return t, err
	}
	back := l.behind()
	t, err := back.Get(ctx, k)
	l.mu.Lock()
	defer l.mu.Unlock()
	if newer, err := l.front.Get(ctx, k); err == nil {
		return newer, nil
	}
	if _, changed := l.dirty[k]; changed || l.back != back {
		return Token{}, ErrNotFound // deleted, or the back replaced, while it was being asked
	}
	l.err = nil
	switch {
	case err == nil:
		_ = l.front.Put(ctx, k, t) // memory never fails
		return l.front.Get(ctx, k)
	case errors.Is(err, ErrNotFound):
		l.markAbsentLocked(k)
	default:
		l.err = err
	}
	return Token{}, ErrNotFound
}

// Known returns the token of k if that is in memory. It does not wait.
func (l *Layered) Known(k Key) (Token, bool) {
	return l.front.Known(k)
}

// Take is Get for one request with the token, as [Memory.Take] is. Uses are
// counted in memory only: a write to a keyring for each request would cost more
// than the request. So a process that starts again may find a token with more
// uses than it has left; Vault refuses it then, like any other dead token.
func (l *Layered) Take(ctx context.Context, k Key) (Token, error) {
	if _, err := l.Get(ctx, k); err != nil {
		return Token{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t, err := l.front.Take(ctx, k)
	if err == nil && t.Uses == 1 {
		l.markLocked(k) // what the back still has must not come forward again
	}
	return t, err
}

// lookup answers from what is known without the back.
func (l *Layered) lookup(ctx context.Context, k Key) (t Token, known bool, err error) {
	t, err = l.front.Get(ctx, k)
	if err == nil {
		return t, true, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, changed := l.dirty[k]
	return t, changed || l.loaded || l.absent[k], err
}

// Put implements [Store]. It fails only when ctx ends; the token is then in
// memory.
func (l *Layered) Put(ctx context.Context, k Key, t Token) error {
	l.mu.Lock()
	l.markLocked(k)
	_ = l.front.Put(ctx, k, t) // memory never fails
	l.mu.Unlock()
	return l.flush(ctx)
}

// Delete implements [Store]. The token is never served again by this process,
// whatever is returned. An error means that it may still be in the back, where
// a later process could find it; the back forgets it when it can be used.
func (l *Layered) Delete(ctx context.Context, k Key) error {
	l.mu.Lock()
	l.markLocked(k)
	_ = l.front.Delete(ctx, k) // memory never fails
	l.mu.Unlock()
	if err := l.flush(ctx); err != nil {
		return err
	}
	return l.Left(k)
}

// List implements [Store]: the tokens of both. That the back cannot be used is
// no error.
func (l *Layered) List(ctx context.Context) ([]Entry, error) {
	if err := l.flush(ctx); err != nil {
		return nil, err
	}
	if err := l.load(ctx); err != nil {
		return nil, err
	}
	return l.front.List(ctx)
}

// load brings what is in the back into the front, once.
func (l *Layered) load(ctx context.Context) error {
	if err := l.slot.acquire(ctx); err != nil {
		return err
	}
	defer l.slot.release()
	l.mu.Lock()
	back, loaded := l.back, l.loaded
	l.mu.Unlock()
	if loaded {
		return nil
	}
	entries, err := back.List(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.back != back {
		return nil // replaced meanwhile: what it had is no longer asked for
	}
	l.err = err
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if _, changed := l.dirty[e.Key]; changed {
			continue
		}
		if _, err := l.front.Get(ctx, e.Key); err != nil {
			_ = l.front.Put(ctx, e.Key, e.Token) // memory never fails
		}
	}
	l.loaded = true
	clear(l.absent)
	return nil
}

// Format implements fmt.Formatter: the tokens of both stores stay inside.
func (l *Layered) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "layered store") }

func (l *Layered) markLocked(k Key) {
	l.change++
	l.dirty[k] = l.change
	delete(l.absent, k)
}

// flush makes the back what the front is, for every key that was changed. It
// always writes what is true at that moment, so that two changes of one key
// cannot overtake each other. It stops at the first key that the back cannot
// take now. Its error is that of ctx only.
func (l *Layered) flush(ctx context.Context) error {
	if err := l.slot.acquire(ctx); err != nil {
		return err
	}
	defer l.slot.release()
	for {
		l.mu.Lock()
		back := l.back
		var k Key
		var change uint64
		for k, change = range l.dirty {
			break
		}
		t, found := l.front.Get(ctx, k)
		l.mu.Unlock()
		if change == 0 {
			return nil
		}
		var err error
		if found == nil {
			err = write(ctx, back, k, t)
		} else {
			err = back.Delete(ctx, k)
		}
		if !l.flushed(k, change, err) {
			return nil
		}
	}
}

// write makes the back hold t under k, or nothing when t is too large: memory
// only must not leave its predecessor behind. So is one that ends with the process.
func write(ctx context.Context, back Store, k Key, t Token) error {
	if t.Keep != "" {
		return back.Delete(ctx, k)
	}
	if err := back.Put(ctx, k, t); !errors.Is(err, ErrTooLarge) {
		return err
	}
	return back.Delete(ctx, k)
}

// flushed keeps the result for one key, and reports whether to go on.
func (l *Layered) flushed(k Key, change uint64, err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	var unusable *keyring.Error
	switch {
	case err == nil:
	case errors.As(err, &unusable) && unusable.Condition == keyring.Disabled:
		clear(l.dirty) // will never be read either
		return false
	default:
		return false
	}
	if l.dirty[k] == change {
		delete(l.dirty, k)
		if _, err := l.front.Get(context.Background(), k); err != nil { // memory needs no context
			l.markAbsentLocked(k)
		}
	}
	return true
}

func (l *Layered) markAbsentLocked(k Key) {
	if len(l.absent) >= maxAbsent {
		clear(l.absent)
	}
	l.absent[k] = true
}

func nothingThere(err error) bool {
	var unusable *keyring.Error
	return errors.As(err, &unusable) && (unusable.Condition == keyring.Disabled || unusable.Condition == keyring.Missing)
}

// Replace puts another store behind the memory and returns the one that was
// there, which is not used any more but for an operation that is under way. The
// tokens in memory stay, and go to the new back with its next use. It does not
// block.
func (l *Layered) Replace(back Store) (old Store) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, l.back = l.back, back
	l.err, l.loaded = nil, false
	clear(l.absent)
	clear(l.dirty) // what the old back did not hear yet
	for _, e := range l.front.live() {
		l.markLocked(e.Key)
	}
	return old
}

// Held counts the live tokens in memory by the names of their rules. Other than
// List it never waits for the back: what is only there is not counted.
func (l *Layered) Held() map[string]int {
	held := make(map[string]int)
	for _, e := range l.front.live() {
		held[e.Key.Rule]++
	}
	return held
}

// Drop forgets the tokens in memory whose keys are meant and returns them. It does
// not wait for the back, which hears of it with its next use, and may have more.
func (l *Layered) Drop(meant func(Key) bool) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var dropped []Entry
	for _, e := range l.front.live() {
		if meant(e.Key) {
			l.markLocked(e.Key)
			_ = l.front.Delete(context.Background(), e.Key) // memory never fails
			dropped = append(dropped, e)
		}
	}
	return dropped
}

// Left is why the back may still have what was deleted under k, nil when it has
// heard of it.
func (l *Layered) Left(k Key) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, left := l.dirty[k]; left && !nothingThere(l.err) {
		return l.err
	}
	return nil
}

// behind is the back of this moment.
func (l *Layered) behind() Store {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.back
}
