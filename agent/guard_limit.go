package agent

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
// could fill the audit log until rotation has removed what it said about them.
// There is a budget for each reason and user, so that nobody uses up that of
// somebody else. The zero value is ready.
type refusalLimit struct {
	mu   sync.Mutex
	free map[refusalKey]time.Time // when the budget will be whole again
}

// allow takes one report from k's budget and reports whether there was one.
func (l *refusalLimit) allow(k refusalKey, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	whole := l.free[k]
	if whole.Before(now) {
		whole = now
	}
	if whole.Sub(now) > (refusalBurst-1)*refusalInterval {
		return false
	}
	if l.free == nil {
		l.free = make(map[refusalKey]time.Time)
	}
	l.free[k] = whole.Add(refusalInterval)
	return true
}
