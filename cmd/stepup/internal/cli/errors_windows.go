package cli

import (
	"errors"

	"golang.org/x/sys/windows"
)

// AddressTaken reports whether another socket has the address.
func AddressTaken(err error) bool { return errors.Is(err, windows.WSAEADDRINUSE) }

// ConnectionRefused reports whether no socket listens at the address.
func ConnectionRefused(err error) bool { return errors.Is(err, windows.WSAECONNREFUSED) }
