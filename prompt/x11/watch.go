// Package x11 tells whether a program has put a window on an X display.
package x11

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// maxWindows is how many windows are looked at, at once.
const maxWindows = 20_000

// A Watch finds the windows of programs that connect to a display after it began. Its methods
// may not be called at the same time.
type Watch struct {
	server
	known map[client]bool // those that were connected when it began
}

// A client is a connection to the display. The server gives its number away again when it ends,
// and then to another process.
type client struct {
	base uint32 // of the numbers of its windows
	pid  uint32 // 0 where the server does not know it
}

// Observe begins a watch, which the caller must Close. Display is that of a program's
// environment, on this machine; authority is its XAUTHORITY. It fails where the server does not
// tell the process of each connection, or not as this process knows it, as in a container: then
// the windows of a program cannot be told from others. It blocks until ctx ends, at most.
func Observe(ctx context.Context, display, authority string) (*Watch, error) {
	socket, number, err := socketOf(display)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	w := &Watch{server: server{conn: conn}}
	defer w.limit(ctx)()
	if err := w.begin(within(ctx, func() []byte { return cookie(authority, number) }), uint32(os.Getpid())); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("display %q: %w", display, err)
	}
	return w, nil
}

// socketOf returns the address of a display of this machine, and its number. Programs on one
// that is forwarded run on the machine of its server, by what the server knows.
func socketOf(display string) (socket, number string, err error) {
	number, local := strings.CutPrefix(strings.TrimPrefix(display, "unix"), ":")
	number, _, _ = strings.Cut(number, ".")
	if _, err := strconv.ParseUint(number, 10, 16); err != nil || !local {
		return "", "", fmt.Errorf("display %q is not on this machine", display)
	}
	return "/tmp/.X11-unix/X" + number, number, nil
}

// limit ends what the server is asked for when ctx ends.
func (w *Watch) limit(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = w.conn.SetDeadline(time.Unix(1, 0)) })
}

func (w *Watch) begin(cookie []byte, pid uint32) error {
	w.left = maxLook
	if err := w.setup(cookie); err != nil {
		return err
	}
	if err := w.findResource(); err != nil {
		return err
	}
	pids, err := w.pids()
	if err != nil {
		return err
	}
	if pids[w.base] != pid {
		return errors.New("the X server knows processes by other numbers")
	}
	w.known = make(map[client]bool, len(pids))
	for base, pid := range pids {
		w.known[client{base, pid}] = true
	}
	return nil
}

// Close ends the connection to the display.
func (w *Watch) Close() { _ = w.conn.Close() }

// Seen reports whether a window of a program that came after the watch began is on the display,
// or in the care of a window manager, as one on another desktop is. Windows of any such program
// count: the one that was started may have started another, in a container too. It blocks until
// ctx ends, at most. After an error the watch is of no use any more.
func (w *Watch) Seen(ctx context.Context) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	defer w.limit(ctx)()
	w.left = maxLook
	pids, err := w.pids()
	if err != nil {
		return false, err
	}
	managed, err := w.atom("WM_STATE")
	if err != nil {
		return false, err
	}
	// From the roots downwards: a window manager puts windows into frames of its own. Below a
	// window of a new program nothing more can be seen than itself.
	for level, sum := w.roots, 0; len(level) > 0; {
		children, err := w.children(level)
		if err != nil {
			return false, err
		}
		level = nil
		var theirs []uint32
		for _, window := range children {
			switch owner := window &^ w.mask; {
			case owner == w.base:
			case owner == 0, w.known[client{owner, pids[owner]}]:
				level = append(level, window)
			default:
				theirs = append(theirs, window)
			}
		}
		if seen, err := w.anyShown(theirs, managed); seen || err != nil {
			return seen, err
		}
		if sum += len(children); sum > maxWindows {
			return false, errors.New("too many windows")
		}
	}
	return false, nil
}
