// Package pathwatch notices that what is at a path has changed: the file, a folder above it,
// or a link on the way to it, and of a folder which entries it has. It looks at these alone,
// so that other files beside them wake nothing.
package pathwatch

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// pollEvery is how often paths are looked at where the system tells of no changes.
	pollEvery = 30 * time.Second
	// checkEvery is how often they are looked at where it does. It tells nothing of a mount.
	checkEvery = 5 * time.Minute
	// retryPolls is after how many polls the system is asked again.
	retryPolls = 10
	// lookAgain is when paths are looked at once more after an event: Linux tells of a
	// removal a moment before the name is gone (vfs_unlink).
	lookAgain = 100 * time.Millisecond
)

// A Watcher notices what changes at some paths after it was made. They may be missing at any
// time. [New], then Run once.
type Watcher struct {
	changed chan struct{} // holds an element while a change was not received
	replace chan struct{} // holds an element while Run has not seen new paths
	open    func() (source, error)
	outside func(chain) string // see Outside
	poll    time.Duration
	check   time.Duration

	mu      sync.Mutex
	paths   []string
	known   []chain // what was there when they were last looked at
	problem string  // why the paths are polled; "" while they are not
	foreign string  // what Outside returns
}

// A source tells of changes by the means of the system.
type source interface {
	// watch replaces what is watched.
	watch(chains []chain) error
	// woken has an element after a change, which may be of no interest. It is closed when
	// no more come.
	woken() <-chan struct{}
	// close waits for the goroutines of the source.
	close()
}

// New returns a watcher of absolute paths.
func New(paths ...string) *Watcher {
	return &Watcher{
		changed: make(chan struct{}, 1), replace: make(chan struct{}, 1),
		open: newSource, outside: elsewhere, poll: pollEvery, check: checkEvery, paths: paths, known: look(paths),
	}
}

// Changed returns a channel that has an element after one or more changes.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Watch replaces the paths. That is no change by itself.
func (w *Watcher) Watch(paths ...string) {
	known := look(paths)
	w.mu.Lock()
	w.paths, w.known = paths, known
	w.mu.Unlock()
	notify(w.replace)
}

// Look takes what is at the paths now for what was there when they were last looked at.
func (w *Watcher) Look() {
	w.news()
	notify(w.replace)
}

// Problem returns why the system tells of no changes, so that they are noticed up to half a
// minute later; "" where it does.
func (w *Watcher) Problem() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.problem
}

// Outside returns why the system tells of its own changes alone: others can be made from
// elsewhere, and are noticed up to half a minute later. It is "" where there are none.
func (w *Watcher) Outside() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.foreign
}

// Run watches until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	src := w.connect()
	defer func() {
		if src != nil {
			src.close()
		}
	}()
	timer := time.NewTimer(0) // there may be changes from before
	defer timer.Stop()
	for polls := 0; ; {
		var woken <-chan struct{}
		if src != nil {
			woken = src.woken()
		}
		alive, again := true, false
		select {
		case <-ctx.Done():
			return
		case <-w.replace:
			alive = w.rewatch(src)
		case _, alive = <-woken:
			again = true
			if !alive {
				w.setProblem("the system has ended the watch")
			}
		case <-timer.C:
			if polls++; src == nil && polls%retryPolls == 0 {
				src = w.connect()
			}
		}
		if alive {
			alive = w.compare(src)
		}
		if !alive && src != nil {
			src.close()
			src = nil
		}
		next := w.interval(src)
		if again {
			next = lookAgain
		}
		timer.Reset(next)
	}
}

func (w *Watcher) interval(src source) time.Duration {
	if src == nil || w.Outside() != "" {
		return w.poll
	}
	return w.check
}

// connect returns a source that watches the paths, nil where there is none.
func (w *Watcher) connect() source {
	src, err := w.open()
	if err != nil {
		w.setProblem(err.Error())
		return nil
	}
	if !w.rewatch(src) {
		src.close()
		return nil
	}
	w.setProblem("")
	return src
}

// rewatch lets src watch what is known, and reports whether it is of use; none is, in its way.
// Paths that also change from elsewhere are polled besides.
func (w *Watcher) rewatch(src source) bool {
	if src == nil {
		return true
	}
	w.mu.Lock()
	known := w.known
	w.mu.Unlock()
	if err := src.watch(known); err != nil {
		w.setProblem(err.Error())
		return false
	}
	foreign := ""
	for _, c := range known {
		foreign = cmp.Or(foreign, w.outside(c))
	}
	w.mu.Lock()
	w.foreign = foreign
	w.mu.Unlock()
	return true
}

// compare tells of a change since the paths were last looked at, and watches what is there
// now. It reports whether src is of use.
func (w *Watcher) compare(src source) bool {
	const atOnce = 10 // what changes more often is looked at again after its next event
	for range atOnce {
		if !w.news() {
			return true
		}
		notify(w.changed)
		if !w.rewatch(src) {
			return false
		}
	}
	return true
}

// news looks at the paths and reports whether something has changed.
func (w *Watcher) news() bool {
	w.mu.Lock()
	paths, known := w.paths, w.known
	w.mu.Unlock()
	now := look(paths)
	if slices.EqualFunc(known, now, chain.same) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(paths, w.paths) {
		return false // Watch has replaced them, and Run is told
	}
	w.known = now
	return true
}

// look follows each path.
func look(paths []string) []chain {
	all := make([]chain, 0, len(paths))
	for _, path := range paths {
		all = append(all, follow(path))
	}
	return all
}

func (w *Watcher) setProblem(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problem = text
}

func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
