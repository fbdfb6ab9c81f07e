//go:build linux

package dialog_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// BenchmarkDialog measures how long it takes from the question to a window that
// is on the screen. The look itself (a process of xdotool) is in the figure.
func BenchmarkDialog(b *testing.B) {
	d := newDesk(b, "zenity")
	var took []time.Duration
	for b.Loop() {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		started := time.Now()
		go func() {
			defer close(ended)
			_, _ = d.desktop().Prompt(ctx, prompttest.Request(prompt.Passcode))
		}()
		for len(d.windows()) == 0 {
			if time.Since(started) > patience {
				b.Fatal("no window")
			}
			time.Sleep(5 * time.Millisecond)
		}
		took = append(took, time.Since(started))
		cancel()
		<-ended
		for len(d.windows()) > 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "ms-median")
	b.ReportMetric(0, "ns/op")
}
