package daemon

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// minGarbage is how much garbage is let be at least. The agent needs a few MB, so that with
	// Go's default each second of work has hundreds of collections, which cost as much as all
	// of the relay's own code.
	minGarbage = 12 << 20
	// idleBytes is less than any work allocates between two collections: Go collects every
	// two minutes by itself.
	idleBytes = 512 << 10
)

// A collector sets how often garbage is collected by the size of the heap.
type collector struct {
	collected chan struct{}
	samples   []metrics.Sample
	allocated uint64 // bytes since the start, at the last collection
	percent   int    // that is set; 0 means Go's default
	released  bool   // memory was returned since the last work
}

func newCollector() *collector {
	return &collector{
		collected: make(chan struct{}, 1),
		samples:   []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}},
	}
}

// run sets the collector after each collection, until ctx ends. A GOGC of the user stays.
func (c *collector) run(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	c.watch()
	c.adjust()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.collected:
			c.adjust()
		}
	}
}

// A sentinel is garbage at once; its finalizer runs after each collection.
type sentinel struct{ _ [16]byte }

func (c *collector) watch() {
	runtime.SetFinalizer(&sentinel{}, func(*sentinel) {
		select {
		case c.collected <- struct{}{}:
		default:
		}
		c.watch()
	})
}

// adjust sets the percentage for the heap that is there. After a time without work, memory
// goes back to the system: an agent waits most of the day.
func (c *collector) adjust() {
	metrics.Read(c.samples)
	live, allocated := c.samples[0].Value.Uint64(), c.samples[1].Value.Uint64()
	idle := allocated-c.allocated < idleBytes
	c.allocated = allocated
	c.set(percentFor(live))
	switch {
	case !idle:
		c.released = false
	case !c.released:
		c.released = true
		debug.FreeOSMemory()
	}
}

// set leaves small differences alone: each change stops the program for a moment.
func (c *collector) set(percent int) {
	if percent*4 < c.percent*3 || percent*3 > c.percent*4 {
		c.percent = percent
		debug.SetGCPercent(percent)
	}
}

// percentFor is the growth of a live heap after which garbage is collected: by minGarbage, or
// by its own size if that is more.
func percentFor(live uint64) int { return int(max(100, 100*minGarbage/max(live, 4<<20))) }
