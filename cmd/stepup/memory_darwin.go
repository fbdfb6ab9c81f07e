package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// protectMemory keeps the codes, passwords and tokens in this process from other
// processes of the user: no debugger attaches, and no core file is written. One that
// is attached already ends us, with exit code 45. The kernel passes neither on to a
// program that is started from here but the core limit, so that unprotected runs
// start with the limit from before.
func protectMemory() (unprotected func(start func() error) error, err error) {
	unprotected = noCores()
	if err := unix.PtraceDenyAttach(); err != nil {
		return unprotected, fmt.Errorf("PT_DENY_ATTACH: %w", err)
	}
	return unprotected, nil
}
