package daemon

import (
	"runtime"
	"testing"
	"time"
)

func TestPercentFor(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{
		0: 300, 1 << 20: 300, 4 << 20: 300, 6 << 20: 200, 12 << 20: 100, 16 << 20: 100, 1 << 30: 100,
	} {
		if got := percentFor(live); got != want {
			t.Errorf("%d MiB live: %d %%, want %d %%", live>>20, got, want)
		}
	}
}

// Each collection is noticed, not only the first.
func TestCollectorWatches(t *testing.T) {
	c := newCollector()
	c.watch()
	for range 3 {
		runtime.GC()
		select {
		case <-c.collected:
		case <-time.After(30 * time.Second):
			t.Fatal("a collection was not noticed")
		}
	}
}
