//go:build unix

package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vault-stepup/stepup/prompt"
)

const ctrlC = 3

// unixTTY is the controlling terminal by a descriptor of its own, so that
// O_NONBLOCK on it changes nothing for other programs on the terminal.
type unixTTY struct {
	fd int
}

// openTTY opens the controlling terminal, whichever job has the foreground.
func openTTY(access int) (*unixTTY, error) {
	fd, err := unix.Open("/dev/tty", access|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: no terminal: %w", prompt.ErrUnavailable, err)
	}
	return &unixTTY{fd: fd}, nil
}

// Open opens the controlling terminal of this process. It fails with
// ErrUnavailable when there is none, or when another job has the foreground.
func Open() (TTY, error) {
	t, err := openTTY(unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	if !t.foreground() {
		_ = t.Close()
		return nil, errBackground()
	}
	return t, nil
}

// foreground reports whether the keyboard is ours. Reading it from the
// background, or changing modes, would stop the whole agent by a signal.
func (t *unixTTY) foreground() bool {
	pgrp, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
	return err == nil && pgrp == unix.Getpgrp()
}

func errBackground() error {
	return fmt.Errorf("%w: not in the foreground of the terminal", prompt.ErrUnavailable)
}

func (t *unixTTY) Close() error { return unix.Close(t.fd) }

func (t *unixTTY) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n, err := unix.Write(t.fd, p[written:])
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN): // stopped by ctrl-s, or very slow
			if ready, err := waitWritable(t.fd, time.Second); err != nil || !ready {
				return written, fmt.Errorf("terminal does not take output: %w", errors.Join(err, os.ErrDeadlineExceeded))
			}
		case err != nil:
			return written, fmt.Errorf("writing to the terminal: %w", err)
		default:
			written += n
		}
	}
	return written, nil
}

func (t *unixTTY) ReadLine(ctx context.Context, shown bool, ask func() error) (string, error) {
	if !t.foreground() {
		return "", errBackground()
	}
	old, err := unix.IoctlGetTermios(t.fd, ioctlGetTermios)
	if err != nil {
		return "", fmt.Errorf("reading terminal modes: %w", err)
	}
	modes := lineModes(*old, shown)
	if err := unix.IoctlSetTermios(t.fd, ioctlSetTermios, &modes); err != nil {
		return "", fmt.Errorf("setting terminal modes: %w", err)
	}
	defer func() {
		if t.foreground() { // else the modes are another job's business
			_ = unix.IoctlSetTermios(t.fd, ioctlSetTermios, old)
		}
	}()
	// A "y" or a code typed for something else must not answer this.
	if err := flushInput(t.fd); err != nil {
		return "", fmt.Errorf("dropping typed-ahead input: %w", err)
	}
	if err := ask(); err != nil {
		return "", err
	}
	line, err := t.readLine(ctx)
	if ctx.Err() != nil {
		// Half a code, or one typed too late, would become a command of the shell.
		if t.foreground() {
			_ = flushInput(t.fd)
		}
		return "", ctx.Err()
	}
	return line, err
}

// lineModes is a terminal in which the kernel edits the line, ctrl-c ends it
// instead of sending a signal to every program there, and a hidden line still gets its
// newline.
func lineModes(m unix.Termios, shown bool) unix.Termios {
	m.Iflag |= unix.ICRNL
	m.Oflag |= unix.OPOST | unix.ONLCR
	m.Lflag |= unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHONL
	m.Lflag &^= unix.ISIG
	m.Cc[unix.VEOL] = ctrlC
	if !shown {
		m.Lflag &^= unix.ECHO
	}
	return m
}

// readLine blocks until it has a line or ctx ends. No goroutine stays behind.
func (t *unixTTY) readLine(ctx context.Context) (string, error) {
	wake, end, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("making a pipe: %w", err)
	}
	defer wake.Close()
	defer end.Close()
	defer context.AfterFunc(ctx, func() { _ = end.Close() })()

	var line strings.Builder
	buf := make([]byte, prompt.MaxAnswer)
	for {
		if err := waitReadable(t.fd, int(wake.Fd())); err != nil {
			return "", fmt.Errorf("waiting for the terminal: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if !t.foreground() {
			return "", errBackground()
		}
		n, err := unix.Read(t.fd, buf)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			continue // another program took the line
		case err != nil:
			return "", fmt.Errorf("reading the terminal: %w", err)
		}
		if line.Len() <= prompt.MaxAnswer { // a longer one is refused anyway
			line.Write(buf[:n])
		}
		done, err := t.lineEnd(buf[:n], line.Len() > 0)
		if err != nil {
			return "", err
		}
		if done {
			return prompt.WithoutPasteMarks(strings.TrimSuffix(line.String(), "\n")), nil
		}
	}
}

// lineEnd reports from the piece read last whether the line is complete. The
// kernel echoes a newline only for the enter key.
func (t *unixTTY) lineEnd(piece []byte, some bool) (bool, error) {
	switch {
	case len(piece) > 0 && piece[len(piece)-1] == '\n':
		return true, nil
	case len(piece) > 0 && piece[len(piece)-1] == ctrlC:
		_, _ = t.Write([]byte("\n"))
		return false, prompt.ErrDenied
	case len(piece) > 0:
		return false, nil // ctrl-d behind some text: more may come
	}
	_, _ = t.Write([]byte("\n"))
	if some {
		return true, nil
	}
	return false, io.EOF
}

// Size implements measuredTTY.
func (t *unixTTY) Size() (columns, rows int) {
	size, err := unix.IoctlGetWinsize(t.fd, unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	return int(size.Col), int(size.Row)
}
