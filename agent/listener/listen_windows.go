package listener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/windows"

	"github.com/vault-stepup/stepup/agent/pipe"
)

// exclusivePort keeps programs that ask to share ports from taking ours.
func exclusivePort(_, _ string, c syscall.RawConn) error {
	const soExclusiveAddrUse = ^windows.SO_REUSEADDR
	var optErr error
	err := c.Control(func(fd uintptr) {
		optErr = windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, soExclusiveAddrUse, 1)
	})
	return errors.Join(err, optErr)
}

// ListenControl opens the control socket at path, here a named pipe.
func ListenControl(_ context.Context, path string) (net.Listener, error) { return pipe.Listen(path) }

// privateSocket has nothing to do: a file has the access list of its folder.
func privateSocket(string, string, syscall.RawConn) error { return nil }

// noUnixSockets reports whether the system does not know unix sockets.
func noUnixSockets(err error) bool { return errors.Is(err, windows.WSAEAFNOSUPPORT) }

// privateFolder makes sure that dir is a folder. In the user's profile, where the
// runtime folder is by default, a new one is for that user alone.
func privateFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("folder: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("folder: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: "+wordsNotFolder, ErrUnsafe, dir)
	}
	return nil
}

func socketFolder(dir string) error { return privateFolder(dir) }

// refusedConn reports whether no process listens on an existing socket.
func refusedConn(err error) bool {
	return errors.Is(err, windows.WSAECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}

func openLock(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
}

// lockFile takes the file for this process, or returns ErrRunning. A byte far
// behind the end is locked, so that others can read the process number.
func lockFile(f *os.File) error {
	at := &windows.Overlapped{OffsetHigh: 1}
	err := windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrRunning
	}
	return err
}

// locked is not known here: a process that was killed is taken for one that is there.
func locked(*os.File) bool { return true }

// unlockFile has nothing to do: closing the file ends the lock.
func unlockFile(*os.File) {}

// listening is never true: nothing passes sockets here.
func listening(*os.File) bool { return false }
