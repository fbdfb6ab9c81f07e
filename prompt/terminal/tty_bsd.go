//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package terminal

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

const (
	ioctlGetTermios = unix.TIOCGETA
	ioctlSetTermios = unix.TIOCSETA // at once: draining would block behind ctrl-s
)

func flushInput(fd int) error {
	const inputQueue = 1 // FREAD of sys/fcntl.h, which TIOCFLUSH takes
	return unix.IoctlSetPointerInt(fd, unix.TIOCFLUSH, inputQueue)
}

// waitReadable blocks until one of the descriptors can be read or has ended. It
// selects, because poll refuses /dev/tty on macOS.
func waitReadable(fd, wake int) error {
	if max(fd, wake) >= unix.FD_SETSIZE {
		return unix.EMFILE
	}
	for {
		var set unix.FdSet
		set.Set(fd)
		set.Set(wake)
		_, err := unix.Select(max(fd, wake)+1, &set, nil, nil, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// waitWritable blocks until fd takes output, at most for limit.
func waitWritable(fd int, limit time.Duration) (bool, error) {
	if fd >= unix.FD_SETSIZE {
		return false, unix.EMFILE
	}
	end := time.Now().Add(limit)
	for {
		var set unix.FdSet
		set.Set(fd)
		rest := unix.NsecToTimeval(int64(max(time.Until(end), 0)))
		n, err := unix.Select(fd+1, nil, &set, nil, &rest)
		if !errors.Is(err, unix.EINTR) {
			return n > 0, err
		}
	}
}
