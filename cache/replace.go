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

// Drop forgets the tokens in memory whose keys are meant and returns them. It does
// not wait for the back, which is told with its next use, and may have more.
func (l *Layered) Drop(meant func(Key) bool) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	entries, _ := l.front.List(context.Background()) // memory never fails
	var dropped []Entry
	for _, e := range entries {
		if meant(e.Key) {
			l.markLocked(e.Key)
			_ = l.front.Delete(context.Background(), e.Key) // likewise
			dropped = append(dropped, e)
		}
	}
	return dropped
}

// Left is why the back may still have what was deleted under k, nil when it has
// been told.
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
