package autolock

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

// A drift measures the wall clock against a clock that stands still during sleep.
// A difference shows a sleep that was not announced, or a jump of the wall clock,
// by which tokens expire, in either direction.
type drift struct {
	wall  func() time.Time
	awake func() time.Duration // since some moment, sleep not counted

	mu   sync.Mutex
	last time.Duration // wall minus awake when they were last compared
}

func newDrift() *drift { return &drift{wall: time.Now, awake: awakeClock()} }

// since returns the drift since the last call. It is negative when the wall clock
// fell behind. The first result means nothing.
func (d *drift) since() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Duration(d.wall().UnixNano()) - d.awake()
	moved := now - d.last
	d.last = now
	return moved
}

// watch compares the clocks until ctx ends and calls jumped for each difference
// of more than maxDrift. A shorter sleep is not noticed here.
func (d *drift) watch(ctx context.Context, jumped func()) {
	d.since()
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if d.since().Abs() > maxDrift {
			jumped()
		}
	}
}
