package relay

import (
	"hash"
	"sync"
	"sync/atomic"
)

// A Budget bounds the memory of all bodies that are kept at one moment, over all
// relays that share it. The limit of one body does not: an agent is used by many
// programs at once. It is safe for concurrent use.
type Budget struct{ limit, used atomic.Int64 }

// NewBudget returns a budget of so many bytes.
func NewBudget(limit int64) *Budget {
	b := &Budget{}
	b.SetLimit(limit)
	return b
}

// SetLimit changes the limit. What is kept already stays.
func (b *Budget) SetLimit(n int64) { b.limit.Store(n) }

// Used returns how many bytes are kept.
func (b *Budget) Used() int64 { return b.used.Load() }

// reserve takes n bytes and reports whether there was room for them. A nil budget
// has no limit.
func (b *Budget) reserve(n int64) bool {
	if b == nil {
		return true
	}
	for {
		used := b.used.Load()
		if used+n > b.limit.Load() {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

func (b *Budget) free(n int64) {
	if b != nil {
		b.used.Add(-n)
	}
}

// Sizes of chunks. The first is for what most requests send.
const (
	minChunk = 4 << 10
	maxChunk = 64 << 10
)

// chunks is memory for a body that grows without being copied, and that is taken
// from the budget as the body comes in: not by what its Content-Length announces.
// The last user gives all of it back.
type chunks struct {
	budget *Budget

	mu    sync.Mutex // not held while a body is read
	list  [][]byte
	size  int64 // bytes in list
	taken int64 // of the budget
	users int   // 0: everything was given back, for good
}

func newChunks(b *Budget) *chunks { return &chunks{budget: b, users: 1} }

// addUser returns false when everything was given back already.
func (c *chunks) addUser() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users == 0 {
		return false
	}
	c.users++
	return true
}

func (c *chunks) removeUser() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users--; c.users == 0 {
		c.dropLocked()
	}
}

// drop forgets what is kept, although there are users.
func (c *chunks) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked()
}

func (c *chunks) dropLocked() {
	c.budget.free(c.taken)
	c.list, c.size, c.taken = nil, 0, 0
}

// unbudgeted takes what is kept out of the budget and goes on keeping it.
func (c *chunks) unbudgeted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budget.free(c.taken)
	c.budget, c.taken = nil, 0
}

// room returns memory for the next bytes, nil where the budget has none left. rest
// is how many are to come, when that is known, or less than 0.
func (c *chunks) room(rest int64) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.list); n > 0 {
		if last := c.list[n-1]; len(last) < cap(last) {
			return last[len(last):cap(last)]
		}
	}
	n := min(max(c.size, minChunk), maxChunk)
	if rest >= 0 {
		n = min(rest+1, maxChunk) // one more, in which the end is noticed
	}
	if c.users == 0 || !c.budget.reserve(n) {
		return nil
	}
	c.taken += n
	c.list = append(c.list, make([]byte, 0, n))
	return c.list[len(c.list)-1][:n]
}

// add notes that n bytes were written to what room returned.
func (c *chunks) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := len(c.list) - 1; n > 0 && last >= 0 {
		c.list[last] = c.list[last][:len(c.list[last])+n]
		c.size += int64(n)
	}
}

// write keeps p and reports whether there was room for all of it.
func (c *chunks) write(p []byte, rest int64) bool {
	for len(p) > 0 {
		n := copy(c.room(rest), p)
		if n == 0 {
			return false
		}
		c.add(n)
		p, rest = p[n:], max(rest-int64(n), -1)
	}
	return true
}

func (c *chunks) len() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}

// A position is where a reader is: in which chunk, and where in that.
type position struct{ chunk, offset int }

// read copies what is kept behind at, and moves at on. It returns 0 at the end.
func (c *chunks) read(p []byte, at *position) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at.chunk < len(c.list) {
		chunk := c.list[at.chunk]
		if n := copy(p, chunk[at.offset:]); n > 0 || len(p) == 0 {
			at.offset += n
			return n
		}
		if at.chunk == len(c.list)-1 {
			break // it may grow
		}
		*at = position{chunk: at.chunk + 1}
	}
	return 0
}

// skip moves at to the end.
func (c *chunks) skip(at *position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := len(c.list) - 1; last >= 0 {
		*at = position{last, len(c.list[last])}
	}
}

// hash adds what is kept to h.
func (c *chunks) hash(h hash.Hash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, chunk := range c.list {
		_, _ = h.Write(chunk) // a hash does not fail
	}
}
