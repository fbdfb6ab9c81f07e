//go:build unix

package daemon

import (
	"sync/atomic"
	"syscall"
	"testing"
)

// A ctrl-c that was meant for a question does not end the agent; the next one, and a SIGTERM
// at any time, do. Not parallel: the signals are those of this process.
func TestUntilSignal(t *testing.T) {
	for name, tt := range map[string]struct {
		signal syscall.Signal
		passed int32 // presses that were meant for a question
	}{
		"ctrl-c":                  {syscall.SIGINT, 0},
		"ctrl-c beside questions": {syscall.SIGINT, 2},
		"SIGTERM":                 {syscall.SIGTERM, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			seen := make(chan struct{}, 1)
			ctx, _, release := untilSignal(t.Context(), func() bool {
				meant := asked.Add(1) <= tt.passed
				seen <- struct{}{}
				return meant || tt.signal == syscall.SIGTERM
			})
			defer release()
			for range tt.passed {
				if err := syscall.Kill(syscall.Getpid(), tt.signal); err != nil {
					t.Fatal(err)
				}
				<-seen
				if ctx.Err() != nil {
					t.Fatal("a ctrl-c that was meant for a question ended the agent")
				}
			}
			if err := syscall.Kill(syscall.Getpid(), tt.signal); err != nil {
				t.Fatal(err)
			}
			<-ctx.Done()
		})
	}
}
