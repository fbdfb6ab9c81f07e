package cache

import "context"

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
	clear(l.dirty)                                   // what the old back was still to be told
	entries, _ := l.front.List(context.Background()) // memory never fails
	for _, e := range entries {
		l.markLocked(e.Key)
	}
	return old
}

// Held counts the live tokens in memory by the names of their rules. Other than
// List it never waits for the back: what is only there is not counted.
func (l *Layered) Held() map[string]int {
	entries, _ := l.front.List(context.Background()) // memory never fails
	held := make(map[string]int)
	for _, e := range entries {
		held[e.Key.Rule]++
	}
	return held
}

// behind is the back of this moment.
func (l *Layered) behind() Store {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.back
}
