package state

import (
	"context"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
)

// Turns lets requests that would ask the same question go one after the other. The
// zero value is ready.
type Turns struct {
	mu     sync.Mutex // never held while anything is waited for
	queues map[Key]*queue
}

// A queue is the requests for one key; the one whose value is in slot has its turn.
type queue struct {
	slot  chan struct{}
	users int
}

// Acquire waits for the turn of k, until ctx ends. The caller must release it.
func (t *Turns) Acquire(ctx context.Context, k Key) (release func(), err error) {
	t.mu.Lock()
	q, ok := t.queues[k]
	if !ok {
		if t.queues == nil {
			t.queues = make(map[Key]*queue)
		}
		q = &queue{slot: make(chan struct{}, 1)}
		t.queues[k] = q
	}
	q.users++
	t.mu.Unlock()
	select {
	case q.slot <- struct{}{}:
		return func() { <-q.slot; t.leave(k, q) }, nil
	case <-ctx.Done():
		t.leave(k, q)
		return nil, ctx.Err()
	}
}

func (t *Turns) leave(k Key, q *queue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(t.queues, k)
	}
}

// sharedFor is how long a refusal is kept for the requests that waited for it: longer
// than any prompt is open.
const sharedFor = 10 * time.Minute

// Cooldowns keeps a refusal for a while, so that no new prompt follows at once. The
// zero value is ready.
type Cooldowns struct {
	mu    sync.Mutex
	after map[Key]refusal
}

type refusal struct {
	verdict   mfa.Verdict
	at, until time.Time
}

// Start begins the cool-down of k, after the verdict v.
func (c *Cooldowns) Start(k Key, v mfa.Verdict, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for key, old := range c.after {
		if now.After(old.until) && now.Sub(old.at) > sharedFor {
			delete(c.after, key)
		}
	}
	if c.after == nil {
		c.after = make(map[Key]refusal)
	}
	c.after[k] = refusal{verdict: v, at: now, until: now.Add(d)}
}

// End ends the cool-down of k.
func (c *Cooldowns) End(k Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.after, k)
}

// EndAll ends every cool-down, and returns how many there were. Requests that waited for a
// refusal still share it, and the denials go on counting towards muting.
func (c *Cooldowns) EndAll() (ended int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for k, r := range c.after {
		if now.Before(r.until) {
			r.until = now
			c.after[k] = r
			ended++
		}
	}
	return ended
}

// Find returns the refusal that holds for a request on k which arrived then. A request
// that waited for it shares it, however long its turn took to come: left is zero. For
// a later one, left is what remains of the cool-down.
func (c *Cooldowns) Find(k Key, arrived time.Time) (v mfa.Verdict, left time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.after[k]
	if !ok || r.at.After(arrived) {
		return r.verdict, 0, ok
	}
	left = time.Until(r.until)
	return r.verdict, left, left > 0
}
