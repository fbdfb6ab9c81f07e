package control

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vault-stepup/stepup/agent/pipe"
)

// dial connects to an agent of the same user only. In the place of the socket there is a
// named pipe.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	c, err := pipe.Dial(ctx, socket)
	if errors.Is(err, pipe.ErrAbsent) {
		return nil, fmt.Errorf("%w: %w", ErrNoAgent, err)
	}
	return c, err
}
