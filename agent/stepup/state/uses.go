package state

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/cache"
)

// maxUses bounds the tokens whose uses are remembered, and the uses that wait to be
// described.
const maxUses = 1024

const (
	minRest = 20 * time.Millisecond
	maxRest = 200 * time.Millisecond // the end of the agent may wait for it
)

// A Use is a request that a step-up token served.
type Use struct {
	Time      time.Time
	Operation string
	Path      string
	Peer      peer.Peer // unknown until it has been described
}

// An Observer is told of the step-up tokens and their uses. Its methods do not block.
type Observer interface {
	// Made is told a new token, and the process whose request it was made for.
	Made(k cache.Key, by peer.Peer)
	// Used is told a use, some time after it: of those of one connection at one time the
	// newest.
	Used(k cache.Key, u Use)
}

// Uses remembers the last use of each step-up token. Finding the process behind a
// connection can take milliseconds, and no request waits for that here: one goroutine does
// it while there is something to describe. The zero value is ready.
type Uses struct {
	Observer Observer // nil for none; set before the first use

	mu      sync.Mutex
	last    map[cache.Key]*Use
	queue   map[source]*Use
	working bool
	closed  bool
	all     sync.WaitGroup
}

// A source is a connection whose requests a token serves. One use must not hide behind
// another one's: each connection may be of another program.
type source struct {
	key  cache.Key
	peer *peer.Lookup
}

// Record notes a use of the token of k. It does not wait.
func (u *Uses) Record(k cache.Key, use Use, by *peer.Lookup) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return
	}
	// The program of the use before must not stand beside the time of this one.
	use.Time, use.Peer = time.Now().Round(0), peer.Peer{UID: -1}
	from := source{k, by}
	if queued := u.queue[from]; queued != nil {
		*queued = use
	} else {
		if len(u.queue) >= maxUses {
			from.peer = nil // too many connections to look at: one of a program that is not known
		}
		u.queueLocked(from, use)
	}
	if last := u.last[k]; last != nil {
		*last = use
		return
	}
	if len(u.last) >= maxUses {
		u.forgetOldestLocked()
	}
	u.last[k] = new(use)
}

// Expect has the process looked up while its request waits for Vault or a person: a question must
// name it, and it may end as soon as it has its answer. It does not wait.
func (u *Uses) Expect(by *peer.Lookup) {
	if by == nil || by.Begun() {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed && len(u.queue) < maxUses {
		u.queueLocked(source{peer: by}, Use{})
	}
}

func (u *Uses) queueLocked(from source, use Use) {
	if u.queue == nil {
		u.last, u.queue = make(map[cache.Key]*Use), make(map[source]*Use)
	}
	u.queue[from] = new(use)
	if !u.working {
		u.working = true
		u.all.Go(u.describe)
	}
}

func (u *Uses) describe() {
	for {
		u.mu.Lock()
		queue := u.queue
		u.queue = make(map[source]*Use)
		if u.working = len(queue) > 0 && !u.closed; !u.working {
			u.mu.Unlock()
			return
		}
		u.mu.Unlock()
		begun := time.Now()
		lookups := make([]*peer.Lookup, 0, len(queue))
		for from := range queue {
			lookups = append(lookups, from.peer)
		}
		peer.DescribeAll(lookups)
		older := func(a, b source) int { return queue[a].Time.Compare(queue[b].Time) }
		for _, from := range slices.SortedFunc(maps.Keys(queue), older) {
			use := *queue[from]
			if use.Peer = from.peer.Peer(); !use.Time.IsZero() {
				u.described(from.key, use)
			}
		}
		// A tenth of one core at most, however many connections come; and not once for each
		// request where all are known.
		time.Sleep(min(max(9*time.Since(begun), minRest), maxRest))
	}
}

func (u *Uses) described(k cache.Key, use Use) {
	u.mu.Lock()
	if last := u.last[k]; last != nil && last.Time.Equal(use.Time) {
		*last = use
	}
	u.mu.Unlock()
	if u.Observer != nil {
		u.Observer.Used(k, use)
	}
}

// Last is the last use of the token of k; ok is false where there was none.
func (u *Uses) Last(k cache.Key) (use Use, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if last := u.last[k]; last != nil {
		return *last, true
	}
	return Use{}, false
}

// Made forgets the uses of the token before, under the same key: there is a new one, for a
// request of this process.
func (u *Uses) Made(k cache.Key, by peer.Peer) {
	u.mu.Lock()
	delete(u.last, k)
	u.mu.Unlock()
	if u.Observer != nil {
		u.Observer.Made(k, by)
	}
}

func (u *Uses) forgetOldestLocked() {
	var oldest cache.Key
	var at time.Time
	for k, use := range u.last {
		if at.IsZero() || use.Time.Before(at) {
			oldest, at = k, use.Time
		}
	}
	delete(u.last, oldest)
}

func (u *Uses) close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.all.Wait()
}
