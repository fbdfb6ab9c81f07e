package metrics

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A stopwatch measures one request. It stands still while the request waits,
// however many of its goroutines do so at once.
type stopwatch struct {
	started time.Time
	done    atomic.Bool

	mu     sync.Mutex
	waits  int       // that are under way
	since  time.Time // when the first of them began
	waited time.Duration
}

type stopwatchKey struct{}

// watchOf is the stopwatch of a request, nil where it is not measured.
func watchOf(ctx context.Context) *stopwatch {
	w, _ := ctx.Value(stopwatchKey{}).(*stopwatch)
	return w
}

// Pause says that the request of ctx waits for something else than the agent, until
// the returned function is called. Both do nothing for a request that is not measured.
func Pause(ctx context.Context) (resume func()) {
	w := watchOf(ctx)
	if w == nil {
		return func() {}
	}
	w.pause()
	return w.resume
}

func (w *stopwatch) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waits++; w.waits == 1 {
		w.since = time.Now()
	}
}

func (w *stopwatch) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waits--; w.waits == 0 {
		w.waited += time.Since(w.since)
	}
}

// stop returns the time that was not waited.
func (w *stopwatch) stop() time.Duration {
	w.done.Store(true)
	w.mu.Lock()
	defer w.mu.Unlock()
	waited := w.waited
	if w.waits > 0 {
		waited += time.Since(w.since)
	}
	return max(time.Since(w.started)-waited, 0)
}

func (w *stopwatch) stopped() bool { return w.done.Load() }
