//go:build unix

package main

import "golang.org/x/sys/unix"

// noCores makes a crash write no core file. The result runs start under the limit
// from before: a command of the person's may want to leave one. The hard limit stays
// as it is, because only root could raise it again.
func noCores() func(start func() error) error {
	var before unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_CORE, &before) != nil {
		return func(start func() error) error { return start() }
	}
	none := before
	none.Cur = 0
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &none) // lowering it cannot fail
	return func(start func() error) error {
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &before)
		defer func() { _ = unix.Setrlimit(unix.RLIMIT_CORE, &none) }()
		return start()
	}
}
