//go:build unix

package terminal

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vault-stepup/stepup/prompt"
)

// Announce writes text on the controlling terminal, whichever job has the
// foreground. "" only tells whether there is a terminal; the error wraps
// ErrUnavailable when there is none. The process ignores SIGTTOU, or a terminal
// with tostop would stop it.
func Announce(text string) error {
	t, err := openTTY(unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer t.Close()
	_, err = t.Write([]byte(text))
	return err
}

// Foreground reports whether this process is in the job that has the keyboard of
// its terminal, so that a signal that is typed there reaches it and its children alike.
func Foreground() bool {
	t, err := Open()
	if err != nil {
		return false
	}
	_ = t.Close()
	return true
}

// Borrow opens the controlling terminal as Open does, also while a job that this
// process has started through a shell has the foreground. It takes the foreground for
// each line that is read, and gives it back. mine reports whether it may be taken from a
// process group, by its number.
//
// It is not taken from a job that has changed the terminal's modes, which is an
// editor, a password prompt or a shell that reads a command: the error then wraps
// ErrUnavailable. A job that reads plain lines at that moment is stopped by the
// kernel if it goes on to read. The process must ignore SIGTTOU from before the
// call, or it would be stopped itself.
func Borrow(mine func(pgrp int) bool) (TTY, error) {
	t, err := openTTY(unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	if t.foreground() {
		return t, nil
	}
	b := &borrowedTTY{unixTTY: t, mine: mine}
	if _, ok := b.lender(); !ok {
		_ = t.Close()
		return nil, errBackground()
	}
	return b, nil
}

type borrowedTTY struct {
	*unixTTY
	mine func(pgrp int) bool
}

// lender returns the job that has the foreground, if it may be taken from that job.
func (t *borrowedTTY) lender() (pgrp int, ok bool) {
	pgrp, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
	if err != nil || !t.mine(pgrp) {
		return 0, false
	}
	modes, err := unix.IoctlGetTermios(t.fd, ioctlGetTermios)
	const unchanged = unix.ICANON | unix.ECHO | unix.ISIG
	return pgrp, err == nil && modes.Lflag&unchanged == unchanged
}

// ReadLine implements TTY.
func (t *borrowedTTY) ReadLine(ctx context.Context, shown bool, ask func() error) (string, error) {
	if t.foreground() { // the job has ended meanwhile, and its shell too
		return t.unixTTY.ReadLine(ctx, shown, ask)
	}
	pgrp, ok := t.lender()
	if !ok {
		return "", errBackground()
	}
	old, err := unix.IoctlGetTermios(t.fd, ioctlGetTermios)
	if err != nil {
		return "", fmt.Errorf("reading terminal modes: %w", err)
	}
	if err := unix.IoctlSetPointerInt(t.fd, unix.TIOCSPGRP, unix.Getpgrp()); err != nil {
		return "", fmt.Errorf("%w: taking the foreground: %w", prompt.ErrUnavailable, err)
	}
	defer t.giveBack(pgrp, old)
	return t.unixTTY.ReadLine(ctx, shown, ask)
}

// giveBack returns the foreground to the job. A shell that has taken it
// meanwhile, because the job has ended, keeps it; only our modes are taken away.
func (t *borrowedTTY) giveBack(pgrp int, old *unix.Termios) {
	now, err := unix.IoctlGetTermios(t.fd, ioctlGetTermios)
	if ours := err == nil && now.Lflag&unix.ISIG == 0 && now.Cc[unix.VEOL] == ctrlC; ours {
		_ = unix.IoctlSetTermios(t.fd, ioctlSetTermios, old)
	}
	if t.foreground() {
		// Where the job is gone, the shell takes the foreground by itself.
		_ = unix.IoctlSetPointerInt(t.fd, unix.TIOCSPGRP, pgrp)
	}
}

var _ TTY = (*borrowedTTY)(nil)

// SameTerminal reports whether process pid is in our session, and so on the same
// terminal.
func SameTerminal(pid int) bool {
	theirs, err := unix.Getsid(pid)
	if err != nil {
		return false
	}
	ours, err := unix.Getsid(os.Getpid())
	return err == nil && ours == theirs
}
