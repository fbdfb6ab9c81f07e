package listener

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// A unixListener can be opened again at its path, while it serves, where its file was
// removed. It removes its file when it is closed, but not that of another agent which has
// taken the path in the meantime.
type unixListener struct {
	path string

	mu     sync.Mutex // guards what follows; not held while a connection is waited for
	ln     *net.UnixListener
	file   fs.FileInfo // of the socket
	owned  bool        // the file is ours to remove, and not a service manager's
	closed bool
}

// listenUnix opens a socket that only this user can connect to. The file has its
// mode from the start where the system can do so (see privateSocket); elsewhere
// there is a moment between bind and chmod in which the folder and the check of
// the peer's user protect it.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	ln, file, err := openUnix(ctx, path)
	if err != nil {
		return nil, err
	}
	return &unixListener{path: path, ln: ln, file: file, owned: true}, nil
}

func openUnix(ctx context.Context, path string) (*net.UnixListener, fs.FileInfo, error) {
	if err := socketFolder(filepath.Dir(path)); err != nil {
		return nil, nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, nil, err
	}
	lc := net.ListenConfig{Control: privateSocket}
	opened, err := lc.Listen(ctx, "unix", path)
	if noUnixSockets(err) {
		return nil, nil, fmt.Errorf("listener: this Windows has no unix sockets, as version 1803 of Windows 10 and later ones have; use a listener \"tcp\" in its place: %w", err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("listener: %w", err)
	}
	ln := opened.(*net.UnixListener)
	ln.SetUnlinkOnClose(false)
	var file fs.FileInfo
	if err = os.Chmod(path, 0o600); err == nil {
		file, err = os.Lstat(path)
	}
	if err != nil {
		_ = os.Remove(path)
		_ = ln.Close()
		return nil, nil, fmt.Errorf("listener: %w", err)
	}
	return ln, file, nil
}

// adoptUnix returns a listener on a socket of the service manager at this path.
func adoptUnix(ln *net.UnixListener, path string) (net.Listener, error) {
	file, err := os.Lstat(path)
	if err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("listener: %w", err)
	}
	return &unixListener{path: path, ln: ln, file: file}, nil
}

// restore opens the socket again if its file is not there any more, and reports whether it
// did so. Connections stay.
func (l *unixListener) restore(ctx context.Context) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.intactLocked() {
		return false, nil
	}
	ln, file, err := openUnix(ctx, l.path)
	if err != nil {
		return false, err
	}
	gone := l.ln
	l.ln, l.file, l.owned = ln, file, true
	_ = gone.Close() // after it was replaced: Accept looks
	return true, nil
}

func (l *unixListener) intactLocked() bool {
	now, err := os.Lstat(l.path)
	return err == nil && os.SameFile(now, l.file)
}

func (l *unixListener) current() *net.UnixListener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ln
}

// Accept implements net.Listener.
func (l *unixListener) Accept() (net.Conn, error) {
	for {
		ln := l.current()
		c, err := ln.Accept()
		if err != nil && l.current() != ln {
			continue // restored
		}
		return c, err
	}
}

// Addr implements net.Listener.
func (l *unixListener) Addr() net.Addr { return l.current().Addr() }

// Close implements net.Listener.
func (l *unixListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed && l.owned && l.intactLocked() {
		_ = os.Remove(l.path)
	}
	l.closed = true
	return l.ln.Close()
}
