package listener

import (
	"sync"
	"time"
)

// Reports of one kind: so many at once, then one for each interval.
const (
	refusalBurst    = 20
	refusalInterval = time.Second
)

type refusalKey struct {
	reason string
	uid    int
}

// A refusalLimit bounds how often refusals are reported. Without it another user
// could fill the audit log until rotation has removed the records about them.
// Each reason and user has a budget of its own, so that no user exhausts that of
// another. The zero value is ready.
type refusalLimit struct {
	mu   sync.Mutex
	free map[refusalKey]time.Time // when the budget will be full again
}

// allow takes one report from k's budget and reports whether there was one.
func (l *refusalLimit) allow(k refusalKey, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.free[k]
	if full.Before(now) {
		full = now
	}
	if full.Sub(now) > (refusalBurst-1)*refusalInterval {
		return false
	}
	if l.free == nil {
		l.free = make(map[refusalKey]time.Time)
	}
	l.free[k] = full.Add(refusalInterval)
	return true
}
