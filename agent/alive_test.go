package agent

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
)

// An agent whose state is locked for ever is dead, however many goroutines run.
func TestAliveLocked(t *testing.T) {
	t.Parallel()
	a := New(Config{}, Options{Log: slog.New(slog.DiscardHandler)})
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := a.Alive(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Alive = %v", err)
	}
}
