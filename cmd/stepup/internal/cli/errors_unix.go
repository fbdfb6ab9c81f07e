//go:build unix

package cli

import (
	"errors"
	"syscall"
)

// AddressTaken reports whether another socket has the address.
func AddressTaken(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// ConnectionRefused reports whether no socket listens at the address.
func ConnectionRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
