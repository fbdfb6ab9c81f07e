package state

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// A program that asks again and again wears a person down, who then says yes. So a rule
// is muted after this many denials and unanswered questions within window.
const (
	maxDenials = 3
	// maxQuestions bounds the questions for a key within window since Vault accepted a
	// factor: a program can leave, or answer with junk, instead of being denied.
	maxQuestions = 12
	window       = 10 * time.Minute
)

// ErrMuted is the cause of the end of a question whose key was muted while it was open.
var ErrMuted = errors.New("denied too often")

// Denials counts questions and denials, and mutes a key that has too many. The zero
// value is ready.
type Denials struct {
	mu      sync.Mutex
	byKey   map[Key]*history
	resumed time.Time // when Resume unmuted last
}

// A history is what happened under one key.
type history struct {
	denials   []time.Time // within window
	questions []time.Time // likewise, since Vault accepted a factor
	open      map[*openQuestion]bool
	muted     bool
}

// An openQuestion is one that a person sees, or will see.
type openQuestion struct{ end context.CancelCauseFunc }

func (d *Denials) historyLocked(k Key) *history {
	h := d.byKey[k]
	if h == nil {
		if d.byKey == nil {
			d.byKey = make(map[Key]*history)
		}
		h = &history{open: make(map[*openQuestion]bool)}
		d.byKey[k] = h
	}
	return h
}

// Asking notes a question that is open until done is called, or until its key is muted:
// then end is called with ErrMuted. A program may ask as many callers at once, and a
// person who has said no three times must not have to say it to each of them.
func (d *Denials) Asking(k Key, end context.CancelCauseFunc) (done func()) {
	q := &openQuestion{end}
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.historyLocked(k)
	h.questions = append(recent(h.questions), time.Now())
	if len(h.questions) > maxQuestions {
		h.muted = true
	}
	if h.muted {
		end(ErrMuted)
		return func() {}
	}
	h.open[q] = true
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(h.open, q)
	}
}

// Allowed takes the newest question for k back, which was answered with a yes: each use of a
// token may need one. Any program can send it, so it ends nothing.
func (d *Denials) Allowed(k Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h := d.byKey[k]; h != nil && len(h.questions) > 0 {
		h.questions = h.questions[:len(h.questions)-1]
	}
}

// Record counts a denial or an unanswered question.
func (d *Denials) Record(k Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.historyLocked(k)
	h.denials = append(recent(h.denials), time.Now())
	if len(h.denials) >= maxDenials {
		h.muted = true
		for q := range h.open {
			q.end(ErrMuted)
		}
	}
}

// recent are the times that still count.
func recent(all []time.Time) []time.Time {
	return slices.DeleteFunc(all, func(at time.Time) bool { return time.Since(at) >= window })
}

// Muted reports whether k has had too many denials.
func (d *Denials) Muted(k Key) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.byKey[k]
	return h != nil && h.muted
}

// Unmute ends all of it: Vault has accepted a factor that a person gave. An answer alone
// does not, as any program can send one.
func (d *Denials) Unmute() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unmuteLocked()
}

// Resume is Unmute by an explicit command, and returns how many keys were muted. Any
// program of the user can give that command: so it counts once within window, which
// bounds what a loop can have asked. Before that, wait says how long.
func (d *Denials) Resume() (ended int, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.byKey {
		if h.muted {
			ended++
		}
	}
	if ended == 0 {
		return 0, 0 // and the denials so far go on counting
	}
	if left := window - time.Since(d.resumed); !d.resumed.IsZero() && left > 0 {
		return 0, left
	}
	d.resumed = time.Now()
	d.unmuteLocked()
	return ended, 0
}

// All are the muted rules and the muted paths of logins, sorted.
func (d *Denials) All() (names []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for k, h := range d.byKey {
		if h.muted {
			names = append(names, cmp.Or(k.Rule, k.Path))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// unmuteLocked forgets all but the questions that are open.
func (d *Denials) unmuteLocked() {
	for k, h := range d.byKey {
		if h.denials, h.questions, h.muted = nil, nil, false; len(h.open) == 0 {
			delete(d.byKey, k)
		}
	}
}
