package cache

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// Memory is a Store in the memory of this process. Its zero value is ready to
// use. It never fails and never blocks.
type Memory struct {
	// Now tells the wall clock; nil means time.Now.
	Now func() time.Time

	mu     sync.Mutex
	tokens map[Key]Token
}

var _ Store = (*Memory)(nil)

// Get implements [Store]. A token that is over is removed when it is found.
func (m *Memory) Get(_ context.Context, k Key) (Token, error) {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tokens[k]
	if !ok {
		return Token{}, ErrNotFound
	}
	if !t.Alive(now) {
		delete(m.tokens, k)
		return Token{}, ErrNotFound
	}
	return t, nil
}

// Take is Get for one request with the token: a token that is limited in its uses
// has one less afterwards, and is gone with the last. The Uses of what Take
// returns still count this one.
func (m *Memory) Take(_ context.Context, k Key) (Token, error) {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tokens[k]
	if !ok || !t.Alive(now) {
		delete(m.tokens, k)
		return Token{}, ErrNotFound
	}
	switch left := t; t.Uses {
	case 0:
	case 1:
		delete(m.tokens, k)
	default:
		left.Uses--
		m.tokens[k] = left
	}
	return t, nil
}

// Put implements [Store]. It also removes what is over, so that callers who
// never come back cost nothing for long.
func (m *Memory) Put(_ context.Context, k Key, t Token) error {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweepLocked(now)
	if m.tokens == nil {
		m.tokens = make(map[Key]Token)
	}
	m.tokens[k] = wall(t)
	return nil
}

// Delete implements [Store].
func (m *Memory) Delete(_ context.Context, k Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.tokens, k)
	return nil
}

// List implements [Store].
func (m *Memory) List(context.Context) ([]Entry, error) {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweepLocked(now)
	entries := make([]Entry, 0, len(m.tokens))
	for k, t := range m.tokens {
		entries = append(entries, Entry{Key: k, Token: t})
	}
	return entries, nil
}

// Format implements fmt.Formatter: fmt looks into unexported fields without
// asking a [secret.Secret] how it wants to be shown.
func (m *Memory) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "memory store") }

func (m *Memory) sweepLocked(now time.Time) {
	for k, t := range m.tokens {
		if !t.Alive(now) {
			delete(m.tokens, k)
		}
	}
}

func (m *Memory) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

// wall drops the monotonic clock from the times of t: it stops while a machine
// sleeps, and a token would outlive its lease by the length of the sleep.
func wall(t Token) Token {
	t.Created, t.Expires = t.Created.Round(0), t.Expires.Round(0)
	return t
}
