//go:build unix

package pathwatch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// A fixture is home/config/stepup/file, where config is a link to dotfiles.
type fixture struct {
	home, file string
	watcher    *Watcher
}

func newFixture(t *testing.T, change func(*Watcher)) fixture {
	t.Helper()
	home, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{home: home, file: filepath.Join(home, "config", "stepup", "file")}
	f.folder(t, "dotfiles")
	f.folder(t, "other")
	f.link(t, "dotfiles", "config")
	f.watcher = New(f.file)
	f.watcher.outside = func(chain) string { return "" } // wherever the test runs
	change(f.watcher)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); f.watcher.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return f
}

func (f fixture) folder(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(f.home, name, "stepup"), 0o700); err != nil {
		t.Fatal(err)
	}
	f.write(t, filepath.Join(name, "stepup", "file"), name)
}

func (f fixture) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.home, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f fixture) rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(f.home, from), filepath.Join(f.home, to)); err != nil {
		t.Fatal(err)
	}
}

// link replaces what is at name, as ln -sfn does.
func (f fixture) link(t *testing.T, to, name string) {
	t.Helper()
	path := filepath.Join(f.home, name)
	if err := errors.Join(os.Symlink(to, path+".new"), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// changes waits for a change, after which the file has this text ("" for none). Others may
// come before it.
func (f fixture) changes(t *testing.T, text string) {
	t.Helper()
	for end := time.After(30 * time.Second); ; {
		select {
		case <-f.watcher.Changed():
		case <-end:
			t.Fatalf("not noticed: %q", text)
		}
		if read, _ := os.ReadFile(f.file); string(read) == text {
			return
		}
	}
}

// settle waits until Run watches. Before that it notices by looking, not by events.
func (f fixture) settle(t *testing.T) {
	t.Helper()
	f.write(t, "config/stepup/file", "settled")
	f.changes(t, "settled")
}

func TestWatcher(t *testing.T) {
	t.Parallel()
	modes := map[string]func(*Watcher){
		"events": func(w *Watcher) { w.poll, w.check = time.Hour, time.Hour },
		"polls": func(w *Watcher) {
			w.poll = time.Millisecond
			w.open = func() (source, error) { return nil, errors.New("too many files are watched") }
		},
	}
	for mode, set := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			for name, change := range changes() {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					f := newFixture(t, set)
					f.settle(t)
					change(t, f)
					// And what is there now is watched as well.
					f.write(t, "config/stepup/file", "in the end")
					f.changes(t, "in the end")
					if problem := f.watcher.Problem(); (problem != "") != (mode == "polls") {
						t.Errorf("problem %q", problem)
					}
				})
			}
		})
	}
}

func changes() map[string]func(*testing.T, fixture) {
	return map[string]func(*testing.T, fixture){
		"written": func(t *testing.T, f fixture) {
			f.write(t, "config/stepup/file", "one")
			f.changes(t, "one")
		},
		"replaced by another of its name": func(t *testing.T, f fixture) {
			f.write(t, "new", "one")
			f.rename(t, "new", "config/stepup/file")
			f.changes(t, "one")
		},
		"link above it leads elsewhere": func(t *testing.T, f fixture) {
			f.link(t, "other", "config")
			f.changes(t, "other")
		},
		"file becomes a link": func(t *testing.T, f fixture) {
			f.write(t, "far", "one")
			f.link(t, filepath.Join(f.home, "far"), "config/stepup/file")
			f.changes(t, "one")
			f.write(t, "far", "two")
			f.changes(t, "two")
		},
		"folder replaced": func(t *testing.T, f fixture) { // as a restore, chezmoi or stow does
			f.rename(t, "dotfiles/stepup", "old")
			f.changes(t, "")
			f.folder(t, "dotfiles")
			f.changes(t, "dotfiles")
		},
		"folder above it replaced": func(t *testing.T, f fixture) {
			f.rename(t, "dotfiles", "old")
			f.rename(t, "other", "dotfiles")
			f.changes(t, "other")
		},
		"folder removed while a shell is in it": func(t *testing.T, f fixture) {
			held, err := os.Open(filepath.Join(f.home, "dotfiles", "stepup"))
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			if err := os.RemoveAll(held.Name()); err != nil {
				t.Fatal(err)
			}
			f.changes(t, "")
			f.folder(t, "dotfiles")
			f.changes(t, "dotfiles")
		},
		"removed": func(t *testing.T, f fixture) {
			if err := os.Remove(f.file); err != nil {
				t.Fatal(err)
			}
			f.changes(t, "")
		},
	}
}

// Where the system tells of nothing, it is asked again after a while.
func TestEventsComeBack(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	f := newFixture(t, func(w *Watcher) {
		w.poll = time.Millisecond
		w.open = func() (source, error) {
			if tries.Add(1) < 3 {
				return nil, errors.New("too many files are watched")
			}
			return newSource()
		}
	})
	for end := time.After(30 * time.Second); f.watcher.Problem() != "" || tries.Load() < 3; {
		select {
		case <-time.After(time.Millisecond):
		case <-end:
			t.Fatal("never asked again")
		}
	}
	f.settle(t)
}

// What is changed from elsewhere makes no events, and is looked for; what makes some is seen
// at once all the same.
func TestOutside(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*Watcher){
		"no event": func(w *Watcher) {
			w.poll, w.check = time.Millisecond, time.Hour
			w.open = func() (source, error) { return deaf{}, nil }
		},
		"events": func(w *Watcher) { w.poll, w.check = time.Hour, time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, func(w *Watcher) {
				w.outside = func(chain) string { return "it is far away" }
				set(w)
			})
			f.settle(t)
			f.link(t, "other", "config")
			f.changes(t, "other")
			if got := f.watcher.Outside(); got != "it is far away" || f.watcher.Problem() != "" {
				t.Errorf("outside %q, problem %q", got, f.watcher.Problem())
			}
		})
	}
}

// A deaf source hears of nothing.
type deaf struct{}

func (deaf) watch([]chain) error    { return nil }
func (deaf) woken() <-chan struct{} { return nil }
func (deaf) close()                 {}

// Other paths, after a reload.
func TestWatchOther(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(w *Watcher) { w.poll, w.check = time.Hour, time.Hour })
	f.settle(t)
	f.watcher.Watch(filepath.Join(f.home, "late"))
	f.write(t, "config/stepup/file", "one")
	f.write(t, "late", "there")
	for end := time.After(30 * time.Second); ; {
		select {
		case <-f.watcher.Changed():
			return
		case <-end:
			t.Fatal("not noticed")
		}
	}
}

// Of a folder it is told what comes and goes there, also when it comes later itself, and
// not what is written into a file in it.
func TestWatchFolder(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(w *Watcher) { w.poll, w.check = time.Hour, time.Hour })
	f.settle(t)
	folder := filepath.Join(f.home, "config", "stepup", "more.d")
	f.watcher.Watch(folder)
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"made", func() error { return os.Mkdir(folder, 0o700) }},
		{"a file comes", func() error { return os.WriteFile(filepath.Join(folder, "a"), nil, 0o600) }},
		{"it gets another name", func() error { return os.Rename(filepath.Join(folder, "a"), filepath.Join(folder, "b")) }},
		{"it goes", func() error { return os.Remove(filepath.Join(folder, "b")) }},
		{"the folder goes", func() error { return os.Remove(folder) }},
		{"made again", func() error { return os.Mkdir(folder, 0o700) }},
	} {
		known := follow(folder)
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		for end := time.After(30 * time.Second); ; { // what was told of before may come once more
			select {
			case <-f.watcher.Changed():
			case <-end:
				t.Fatalf("%s: not noticed", step.name)
			}
			f.watcher.mu.Lock()
			seen := f.watcher.known[0]
			f.watcher.mu.Unlock()
			if !seen.same(known) {
				break
			}
		}
	}
}
