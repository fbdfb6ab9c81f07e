//go:build unix

package audit

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// renamesOpenFiles: a file keeps its readers and writers under its new name.
const renamesOpenFiles = true

// lockPath keeps other processes from rotating the same log. It does not wait: the
// process that holds the lock is doing the work, or was stopped in the middle of it. Locks
// of flock(2) end with the process.
func lockPath(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, err
	}
	return func() { _ = file.Close() }, nil
}
