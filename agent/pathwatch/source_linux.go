package pathwatch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// What inotify(7) tells of one file, folder or link itself. Of what is in a folder it tells
// nothing: fsnotify's watches do, and each write beside the file would wake the process.
const (
	selfEvents   = unix.IN_MOVE_SELF | unix.IN_DELETE_SELF
	fileEvents   = selfEvents | unix.IN_MODIFY | unix.IN_ATTRIB // the latter also when the name is gone
	linkEvents   = selfEvents | unix.IN_ATTRIB
	folderEvents = selfEvents
	// searchEvents are those of the folder in which a path ends with nothing, and of a folder
	// that it leads to.
	searchEvents = folderEvents | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_MOVED_FROM
)

// An inotify is a source that watches each step of a path by itself.
type inotify struct {
	events  *os.File
	wake    chan struct{}
	reading sync.WaitGroup
	known   map[int]bool // watch descriptors
}

func newSource() (source, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	i := &inotify{events: os.NewFile(uintptr(fd), "inotify"), wake: make(chan struct{}, 1)}
	i.reading.Go(i.read)
	return i, nil
}

// read drops the events: what they are about is looked at anew.
func (i *inotify) read() {
	defer close(i.wake)
	buf := make([]byte, 4096)
	for {
		if _, err := i.events.Read(buf); err != nil {
			return
		}
		notify(i.wake)
	}
}

func (i *inotify) woken() <-chan struct{} { return i.wake }

func (i *inotify) close() {
	_ = i.events.Close()
	i.reading.Wait()
}

func (i *inotify) watch(chains []chain) error {
	masks := make(map[string]uint32)
	for _, c := range chains {
		for _, s := range c {
			if s.info != nil {
				masks[s.path] |= eventsOf(s, c)
			}
		}
	}
	now := make(map[int]bool)
	raw, err := i.events.SyscallConn()
	if err != nil {
		return err
	}
	for path, mask := range masks {
		var wd int
		var added error
		err := raw.Control(func(fd uintptr) { wd, added = unix.InotifyAddWatch(int(fd), path, mask|unix.IN_DONT_FOLLOW) })
		switch err = errors.Join(err, added); {
		case err == nil:
			now[wd] = true
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EACCES):
			// It has just gone, which is looked for next, or is a folder that only root reads.
		default:
			return fmt.Errorf("inotify: %w", err)
		}
	}
	for wd := range i.known {
		if !now[wd] {
			_ = raw.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(wd)) }) // fails where its file is gone
		}
	}
	i.known = now
	return nil
}

// eventsOf is what is of interest at a step of c.
func eventsOf(s step, c chain) uint32 {
	searched := func() bool { return filepath.Dir(c[len(c)-1].path) == s.path }
	switch {
	case s.target != "":
		return linkEvents
	case !s.info.IsDir():
		return fileEvents
	case s.last, !c.complete() && searched():
		return searchEvents
	}
	return folderEvents
}
