package agent

import (
	"context"
	"sync"
	"time"
)

const (
	tickEvery = 30 * time.Second
	// maxDrift is more than any time service corrects at once on a machine
	// that was awake.
	maxDrift = 30 * time.Second
)

// A drift tells how far the wall clock has moved away from the one that stands
// still while the computer sleeps. That shows a sleep that nobody announced, and
// a jump of the wall clock, by which tokens expire, in either direction.
type drift struct {
	wall  func() time.Time
	awake func() time.Duration // since some moment, sleep not counted

	mu   sync.Mutex
	last time.Duration // wall minus awake when they were last compared
}

func newDrift() *drift { return &drift{wall: time.Now, awake: awakeClock()} }

// since returns the drift since the last call, negative when the wall clock fell
// behind. The first result means nothing.
func (d *drift) since() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Duration(d.wall().UnixNano()) - d.awake()
	moved := now - d.last
	d.last = now
	return moved
}

// tick compares the clocks until ctx ends. A sleep of less than maxDrift that
// nobody announces is not noticed.
func (l *locker) tick(ctx context.Context) {
	l.drift.since()
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if l.drift.since().Abs() > maxDrift {
			l.orders.place(reasonJump)
		}
	}
}
