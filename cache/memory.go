package cache

import (
	"context"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"
)

// Memory is a Store in the memory of this process. Its zero value is ready to
// use. It never fails and never blocks.
type Memory struct {
	mu     sync.Mutex
	tokens map[Key]Token
}

var _ Store = (*Memory)(nil)

// Get implements [Store]. A token that is over is removed when it is found.
func (m *Memory) Get(_ context.Context, k Key) (Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.getLocked(k)
}

// Known is Get without a context.
func (m *Memory) Known(k Key) (Token, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, err := m.getLocked(k)
	return t, err == nil
}

func (m *Memory) getLocked(k Key) (Token, error) {
	t := m.tokens[k]
	if !t.Alive(time.Now()) {
		delete(m.tokens, k)
		return Token{}, ErrNotFound
	}
	return t, nil
}

// Take is Get for one request with the token: a token that is limited in its uses
// has one less afterwards, and is gone with the last. The Uses of what Take
// returns still count this one.
func (m *Memory) Take(_ context.Context, k Key) (Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, err := m.getLocked(k)
	switch left := t; t.Uses {
	case 0:
	case 1:
		delete(m.tokens, k)
	default:
		left.Uses--
		m.tokens[k] = left
	}
	return t, err
}

// Put implements [Store]. It also removes what is over, so that callers which
// never come back cost nothing for long.
func (m *Memory) Put(_ context.Context, k Key, t Token) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweepLocked()
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
func (m *Memory) List(context.Context) ([]Entry, error) { return m.live(), nil }

func (m *Memory) live() []Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweepLocked()
	entries := make([]Entry, 0, len(m.tokens))
	for k, t := range m.tokens {
		entries = append(entries, Entry{Key: k, Token: t})
	}
	return entries
}

// Format implements fmt.Formatter: fmt looks into unexported fields without
// asking a [secret.Secret] how it wants to be shown.
func (m *Memory) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "memory store") }

func (m *Memory) sweepLocked() {
	now := time.Now()
	maps.DeleteFunc(m.tokens, func(_ Key, t Token) bool { return !t.Alive(now) })
}

// wall drops the monotonic clock from the times of t: it stops while a machine
// sleeps, and a token would outlive its lease by the length of the sleep.
func wall(t Token) Token {
	t.Created, t.Expires = t.Created.Round(0), t.Expires.Round(0)
	return t
}
