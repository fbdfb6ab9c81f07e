package state

import (
	"maps"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/cache"
)

// maxUses bounds the tokens whose uses are remembered, and the uses that wait to be
// described.
const maxUses = 1024

// maxRest bounds what the end of the agent may wait for.
const maxRest = 200 * time.Millisecond

// A Use is a request that a step-up token served.
type Use struct {
	Time time.Time
	Peer peer.Peer // unknown until it has been described
}

// Uses remembers the last use of each step-up token. Finding the process behind a
// connection can take milliseconds, and no request waits for that here: one goroutine does
// it while there is something to describe. The zero value is ready.
type Uses struct {
	mu      sync.Mutex
	last    map[cache.Key]Use
	queue   map[cache.Key]describing // the newest of each token
	working bool
	closed  bool
	all     sync.WaitGroup
}

type describing struct {
	at   time.Time
	peer func() peer.Peer
}

// Record notes a use of the token of k. It does not wait.
func (u *Uses) Record(k cache.Key, by func() peer.Peer) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return
	}
	if u.queue == nil {
		u.last, u.queue = make(map[cache.Key]Use), make(map[cache.Key]describing)
	}
	now := time.Now().Round(0)
	if _, known := u.last[k]; !known && len(u.last) >= maxUses {
		u.forgetOldestLocked()
	}
	// The program of the use before must not stand beside the time of this one.
	u.last[k] = Use{Time: now, Peer: peer.Peer{UID: -1}}
	u.queue[k] = describing{now, by}
	if !u.working {
		u.working = true
		u.all.Go(u.describe)
	}
}

func (u *Uses) describe() {
	for {
		u.mu.Lock()
		queue := u.queue
		u.queue = make(map[cache.Key]describing)
		if u.working = len(queue) > 0 && !u.closed; !u.working {
			u.mu.Unlock()
			return
		}
		u.mu.Unlock()
		begun := time.Now()
		for k, d := range queue {
			by := d.peer()
			u.mu.Lock()
			if u.last[k].Time.Equal(d.at) {
				u.last[k] = Use{Time: d.at, Peer: by}
			}
			u.mu.Unlock()
		}
		// A tenth of one core at most, however many connections come.
		time.Sleep(min(9*time.Since(begun), maxRest))
	}
}

// Last is the last use of the token of k; ok is false where there was none.
func (u *Uses) Last(k cache.Key) (use Use, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	use, ok = u.last[k]
	return use, ok
}

// Made forgets the uses of the token before, under the same key.
func (u *Uses) Made(k cache.Key) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.last, k)
	delete(u.queue, k)
}

func (u *Uses) forgetOldestLocked() {
	var oldest cache.Key
	var at time.Time
	for k, use := range u.last {
		if at.IsZero() || use.Time.Before(at) {
			oldest, at = k, use.Time
		}
	}
	maps.DeleteFunc(u.last, func(k cache.Key, _ Use) bool { return k == oldest })
}

func (u *Uses) close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.all.Wait()
}
