package autolock

import (
	"context"
	"sync"
	"time"
)

const (
	tickEvery = 30 * time.Second
	// calmTick is the tick where the system tells of each step of the clock: each tick wakes
	// a processor up.
	calmTick = 5 * time.Minute
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
	// steps tells when the one may have moved against the other, until ctx ends or the
	// channel is closed. It is nil where only a comparison shows that.
	steps func(ctx context.Context) <-chan struct{}

	mu   sync.Mutex
	last time.Duration // wall minus awake when they were last compared
}

func newDrift() *drift { return &drift{wall: time.Now, awake: awakeClock(), steps: clockSteps} }

// since returns the drift since the last call. It is negative when the wall clock
// fell behind. The first result means nothing.
func (d *drift) since() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	moved := d.movedLocked()
	d.last += moved
	return moved
}

func (d *drift) movedLocked() time.Duration {
	return time.Duration(d.wall().UnixNano()) - d.awake() - d.last
}

// jumped reports a drift of more than maxDrift, once. It leaves a smaller one to grow.
func (d *drift) jumped() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	moved := d.movedLocked()
	if moved.Abs() <= maxDrift {
		return false
	}
	d.last += moved
	return true
}

// watch compares the clocks until ctx ends and calls jumped for each difference
// of more than maxDrift. A shorter sleep is not noticed here, but several of them
// within tickEvery are.
func (d *drift) watch(ctx context.Context, jumped func()) {
	d.since()
	var steps <-chan struct{}
	if d.steps != nil {
		steps = d.steps(ctx)
	}
	defer func() {
		for steps != nil { // its goroutine ends with ctx
			if _, open := <-steps; !open {
				return
			}
		}
	}()
	calm := steps != nil // and so the next tick is far away
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	if calm {
		ticker.Reset(calmTick)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-steps:
			if !open {
				steps = nil
			}
			if d.jumped() {
				jumped()
			}
			if calm {
				calm = false
				ticker.Reset(tickEvery)
			}
		case <-ticker.C:
			if d.since().Abs() > maxDrift {
				jumped()
			}
			if !calm && steps != nil {
				calm = true
				ticker.Reset(calmTick)
			}
		}
	}
}
