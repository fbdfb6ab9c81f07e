package autolock

import (
	"context"
	"errors"

	"github.com/vault-stepup/stepup/messagebus"
)

var errBusClosed = errors.New("the bus closed the connection")

// openBus connects and follows the owners of names.
func openBus(ctx context.Context, address string, names ...string) (*messagebus.Conn, error) {
	b, err := messagebus.Open(ctx, messagebus.Config{Address: address, Trust: messagebus.Own, Limit: busTimeout})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	for _, name := range names {
		if err := b.Follow(ctx, name); err != nil {
			b.Close()
			return nil, err
		}
	}
	return b, nil
}
