//go:build !windows

package listener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vault-stepup/stepup/ownership"
)

// exclusivePort has nothing to do: these systems give a port to one user.
func exclusivePort(string, string, syscall.RawConn) error { return nil }

// ListenControl opens the control socket at path, as [Listen] opens a unix socket.
func ListenControl(ctx context.Context, path string) (net.Listener, error) {
	return Listen(ctx, "unix", path)
}

// privateSocket gives a socket its mode before it gets its name. Linux makes the
// file with that mode; other systems refuse, and the caller changes it later.
func privateSocket(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = unix.Fchmod(int(fd), 0o600) })
}

// noUnixSockets is never true: these systems have them.
func noUnixSockets(error) bool { return false }

// privateFolder makes sure that dir is a folder of ours that no other user can
// read or replace, and creates it if it is missing.
func privateFolder(dir string) error {
	f, info, err := openFolder(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if info.Mode().Perm() != 0o700 {
		if err := f.Chmod(0o700); err != nil {
			return fmt.Errorf("folder: %w", err)
		}
	}
	return safeFolder(dir)
}

// safeFolder refuses a folder that another user could change, or could replace by
// changing a folder above it. Such a user puts a socket in place of ours, and is then
// sent the tokens of every app.
func safeFolder(dir string) error {
	if err := ownership.Check(dir); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsafe, err)
	}
	return nil
}

// socketFolder makes sure that no other user can replace a socket in dir, and
// creates dir, for us alone, if it is missing. It does not change the mode of an
// existing folder: it may be a home folder.
func socketFolder(dir string) error {
	f, _, err := openFolder(dir)
	if err != nil {
		return err
	}
	_ = f.Close()
	return safeFolder(dir)
}

// openFolder opens a folder of ours, and creates it if it is missing. It does
// not follow a symbolic link: in a shared folder such as /tmp another user could
// have put it there and could point it to another place later.
func openFolder(dir string) (*os.File, fs.FileInfo, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("folder: %w", err)
	}
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil, fmt.Errorf("%w: "+wordsNotFolder, ErrUnsafe, dir)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil, fmt.Errorf("%w: "+wordsNotOurs, ErrUnsafe, dir)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("folder: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !ownership.Ours(info) {
		err = fmt.Errorf("%w: "+wordsNotOurs, ErrUnsafe, dir)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// refusedConn reports whether no process listens on an existing socket.
func refusedConn(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}

func openLock(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
}

// lockFile takes the file for this process, or returns ErrRunning.
func lockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrRunning
	}
	return err
}

// locked reports whether a process has locked the file.
func locked(f *os.File) bool {
	err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		unlockFile(f)
	}
	return errors.Is(err, unix.EWOULDBLOCK)
}

// unlockFile ends the lock at once. Closing alone would leave it to a child that
// has been forked and not yet executed.
func unlockFile(f *os.File) { _ = unix.Flock(int(f.Fd()), unix.LOCK_UN) }

// listening reports whether f is a stream socket that listens. One that is a
// connection (Accept=yes in a socket unit) has the same address.
func listening(f *os.File) bool {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	listens, stream := 0, 0
	err = raw.Control(func(fd uintptr) {
		listens, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		stream, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE)
	})
	return err == nil && listens != 0 && stream == unix.SOCK_STREAM
}
