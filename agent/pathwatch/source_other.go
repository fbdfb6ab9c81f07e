//go:build !linux

package pathwatch

import (
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// A folderSource watches the folders of a file and of the links on its way.
type folderSource struct {
	watcher *fsnotify.Watcher
	wake    chan struct{}
	reading sync.WaitGroup
	known   map[string]bool
}

func newSource() (source, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	f := &folderSource{watcher: watcher, wake: make(chan struct{}, 1), known: make(map[string]bool)}
	f.reading.Go(f.read)
	return f, nil
}

func (f *folderSource) read() {
	defer close(f.wake)
	for {
		select {
		case _, ok := <-f.watcher.Events:
			if !ok {
				return
			}
		case _, ok := <-f.watcher.Errors:
			if !ok {
				return
			}
		}
		notify(f.wake)
	}
}

func (f *folderSource) woken() <-chan struct{} { return f.wake }

func (f *folderSource) close() {
	_ = f.watcher.Close()
	f.reading.Wait()
}

func (f *folderSource) watch(chains []chain) error {
	now := make(map[string]bool)
	for _, c := range chains {
		for i, s := range c {
			// The folder of a folder shows that it was replaced.
			if i > 0 && (s.last || s.target != "" || i == len(c)-2) {
				now[filepath.Dir(s.path)] = true
			}
			if s.folder() {
				now[s.path] = true
			}
		}
	}
	for path := range now {
		// Again, as it may be another folder of the same name.
		_ = f.watcher.Remove(path)
		if err := f.watcher.Add(path); err != nil && stepAt(path).info != nil {
			return err
		}
	}
	for path := range f.known {
		if !now[path] {
			_ = f.watcher.Remove(path)
		}
	}
	f.known = now
	return nil
}
