//go:build !windows

package autolock

import "time"

// awakeClock returns the clock of Go's monotonic times: CLOCK_MONOTONIC on Linux
// and mach_absolute_time on macOS, which both stand still during sleep.
func awakeClock() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
