package agent

import (
	"context"
	"errors"

	"github.com/vault-stepup/stepup/messagebus"
)

var errBusClosed = errors.New("the bus closed the connection")

// openBus connects and follows names.
func openBus(ctx context.Context, address string, names ...string) (*messagebus.Conn, error) {
	b, err := messagebus.Open(ctx, messagebus.Config{Address: address, Trust: messagebus.Own, Limit: busPatience})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, busPatience)
	defer cancel()
	for _, name := range names {
		if err := b.Follow(ctx, name); err != nil {
			b.Close()
			return nil, err
		}
	}
	return b, nil
}
