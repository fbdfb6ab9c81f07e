package cache

import (
	"context"
	"fmt"
)

// A slot lets one operation at a time use a store that may take its time. A mutex has no
// context.
type slot chan struct{}

func newSlot() slot { return make(slot, 1) }

// acquire waits for the slot, or returns an error that wraps ErrUnavailable when ctx ends.
func (s slot) acquire(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

func (s slot) release() { <-s }
