package autolock

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vault-stepup/stepup/messagebus"
)

// awaitSocket returns the appear of a source that listens to the bus at address. Where no
// socket is, the kernel tells when one comes: asking again and again would wake a processor
// up for nothing.
func awaitSocket(address string) func(context.Context) bool {
	sockets := slices.DeleteFunc(messagebus.Sockets(address), func(name string) bool { return strings.HasPrefix(name, "@") })
	there := func() bool {
		return slices.ContainsFunc(sockets, func(name string) bool {
			_, err := os.Lstat(name)
			return err == nil
		})
	}
	return func(ctx context.Context) bool {
		if there() {
			return false // it ended, and is not missing
		}
		ctx, cancel := context.WithTimeout(ctx, retryMax)
		defer cancel()
		for pause := 10 * time.Millisecond; ; pause *= 2 {
			if !awaitEntry(ctx, sockets, there) {
				return false
			}
			if there() {
				return true
			}
			// The folder may be one in which something is always made.
			select {
			case <-ctx.Done():
				return false
			case <-time.After(pause):
			}
		}
	}
}

// awaitEntry returns true when an entry was made where one of the sockets, or a folder on the
// way to it, is missing, or when there is true already. It returns false when ctx ends, or
// when the kernel does not tell.
func awaitEntry(ctx context.Context, sockets []string, there func() bool) bool {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return false
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer func() { _ = events.Close() }()
	for _, name := range sockets {
		watchAbove(fd, name)
	}
	// What was made before the watch tells nothing.
	if there() {
		return true
	}
	stop := context.AfterFunc(ctx, func() { _ = events.Close() })
	defer stop()
	_, err = events.Read(make([]byte, 4096))
	return err == nil
}

// watchAbove watches the folder of name, or the nearest one above that exists.
func watchAbove(fd int, name string) {
	for range 3 { // a folder on the way may be made between two looks
		missing := name
		for dir := filepath.Dir(name); ; dir = filepath.Dir(dir) {
			_, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_ONLYDIR)
			if err == nil || dir == filepath.Dir(dir) {
				break
			}
			missing = dir
		}
		if _, err := os.Lstat(missing); err != nil {
			return
		}
	}
}
