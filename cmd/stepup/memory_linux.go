package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// protectMemory keeps the codes, passwords and tokens in this process from other
// processes of the user. Without it each of them reads /proc/PID/mem, or attaches as
// a debugger. The kernel gives what is in /proc/PID to root, and writes no core file
// either. A debugger with rights, as root's, still works.
//
// A program that is started from here can be looked at like any other: the kernel
// begins anew with each execve(2). What it would inherit is the core limit, so that
// unprotected runs start with the limit from before.
func protectMemory() (unprotected func(start func() error) error, err error) {
	unprotected = noCores()
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return unprotected, fmt.Errorf("PR_SET_DUMPABLE: %w", err)
	}
	return unprotected, nil
}
