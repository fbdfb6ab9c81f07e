// Package autolock notices that the computer sleeps or that its screen is locked.
package autolock

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"
)

// The words of lock_on.
const (
	onSleep  = "sleep"
	onScreen = "screen_lock"
)

// Reasons of a lock, for the log.
const (
	reasonSleep  = "the computer goes to sleep"
	reasonWake   = "the computer woke up"
	reasonJump   = "the clock jumped: the computer slept, or its time was changed"
	reasonScreen = "the screen was locked"
)

// wordsNoticing is logged when a part works again.
const wordsNoticing = "lock_on works again"

const (
	// busTimeout bounds each question to a bus, so that a hung service does
	// not keep the watcher from the next signal.
	busTimeout = 5 * time.Second
	// maxSleepDelay is how long sleep is delayed for a lock. logind goes on by
	// itself after 5 s (InhibitDelayMaxSec of logind.conf), and all programs
	// that delay sleep share that time.
	maxSleepDelay = 4 * time.Second
	// A source that ends is opened again after retryMin, then after twice that
	// and so on up to retryMax. One that worked for stableAfter begins anew.
	retryMin    = time.Second
	retryMax    = 5 * time.Minute
	stableAfter = time.Minute
)

// A Watcher calls a function when the computer sleeps or its screen is locked.
// The agent then forgets its step-up tokens. No signal ever unlocks anything: a
// forged one costs a prompt and gives nothing away.
type Watcher struct {
	sleep, screen bool
	lock          func(reason string)
	log           *slog.Logger
	drift         *drift
	queue         queue
	sources       []source
	retryMin      time.Duration
	sleepDelay    time.Duration

	mu       sync.Mutex
	problems map[string]string // what does not work, by the name of its part
}

// A source announces sleep or screen locks and may go away.
type source struct {
	name string
	// listen serves until ctx or the source ends. It reports by itself when it
	// works, and returns why it ended.
	listen func(ctx context.Context) error
	lost   string // the problem when it ended
	// appear waits while there is nothing to listen to, at most for retryMax, and reports
	// whether that came. It may be nil.
	appear func(ctx context.Context) bool
}

// New makes a watcher for the words of lock_on. Other words are ignored; without
// any, nothing is ever locked. The watcher calls lock for each event, one call at
// a time. Events during a call cause one more call. Before sleep, lock has four
// seconds: it should forget the tokens first and talk to Vault afterwards.
// [Watcher.Run] does not return while a call of lock is under way.
func New(on []string, lock func(reason string), log *slog.Logger) *Watcher {
	w := &Watcher{
		sleep:      slices.Contains(on, onSleep),
		screen:     slices.Contains(on, onScreen),
		lock:       lock,
		log:        log,
		drift:      newDrift(),
		queue:      queue{wake: make(chan struct{}, 1)},
		retryMin:   retryMin,
		sleepDelay: maxSleepDelay,
		problems:   make(map[string]string),
	}
	w.sources = systemSources(w)
	return w
}

// Run watches until ctx ends and waits for the goroutines it has started. Call it
// once.
func (w *Watcher) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { w.queue.serve(ctx, w.lock) })
	if w.sleep {
		work.Go(func() { w.drift.watch(ctx, func() { w.queue.add(reasonJump) }) })
	}
	for _, s := range w.sources {
		work.Go(func() { w.maintain(ctx, s) })
	}
	<-ctx.Done()
}

// maintain listens to a source and opens it again when it has ended, with growing
// pauses in between.
func (w *Watcher) maintain(ctx context.Context, s source) {
	delay := w.retryMin
	for {
		began := time.Now()
		err := s.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		w.report(s.name, s.lost, err)
		if time.Since(began) >= stableAfter {
			delay = w.retryMin
		}
		if s.appear != nil && s.appear(ctx) {
			delay = w.retryMin
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, retryMax)
	}
}

// report keeps the problem of a part for the status; "" means that the part works.
// A change is logged, a repetition is not.
func (w *Watcher) report(part, problem string, err error) {
	w.mu.Lock()
	was := w.problems[part]
	if problem == "" {
		delete(w.problems, part)
	} else {
		w.problems[part] = problem
	}
	w.mu.Unlock()
	switch {
	case problem == was:
	case problem == "":
		w.log.Info(wordsNoticing, "source", part)
	case !w.screen:
		// The clock shows sleep as well, and a server without these services is
		// no reason for a warning.
		w.log.Info(problem, "cause", err)
	default:
		w.log.Warn(problem, "cause", err)
	}
}

// Notes returns, for the status, the events that cannot be noticed at present.
func (w *Watcher) Notes() []string {
	var on []string
	if w.sleep {
		on = append(on, onSleep)
	}
	if w.screen {
		on = append(on, onScreen)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return append(unsupported(runtime.GOOS, on), slices.Sorted(maps.Values(w.problems))...)
}

// withEffect appends the effect of a missing part on the watched events.
func (w *Watcher) withEffect(missing string) string {
	if w.sleep {
		missing += "; sleep is noticed after waking up, within 30 s"
	}
	if w.screen {
		missing += "; screen locks are noticed only if the session bus tells of them"
	}
	return missing
}

// unsupported returns a note for each word of lock_on that a system cannot fully
// serve.
func unsupported(goos string, on []string) []string {
	if goos == "linux" {
		return nil
	}
	system := goos
	switch goos {
	case "darwin":
		system = "macOS"
	case "windows":
		system = "Windows"
	}
	var notes []string
	for _, word := range on {
		switch word {
		case onSleep:
			notes = append(notes, fmt.Sprintf("lock_on \"sleep\": on %s sleep is noticed after waking up, within 30 s; run `stepup lock` before", system))
		case onScreen:
			notes = append(notes, fmt.Sprintf("lock_on \"screen_lock\" has no effect on %s: screen locks are not noticed there; run `stepup lock`", system))
		}
	}
	return notes
}

// A queue holds at most one lock that has not begun. All events during a lock
// share the next one: a token that arrived in between must go, too.
type queue struct {
	wake chan struct{} // holds one when next is set

	mu   sync.Mutex
	next *pendingLock
}

type pendingLock struct {
	reason string
	done   chan struct{}
}

// add requests a lock and does not block. The returned channel is closed after a
// lock that began later than this call.
func (q *queue) add(reason string) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next == nil {
		q.next = &pendingLock{reason: reason, done: make(chan struct{})}
		q.wake <- struct{}{} // never blocks: serve took the one before together with its lock
	}
	return q.next.done
}

func (q *queue) serve(ctx context.Context, lock func(string)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		q.mu.Lock()
		next := q.next
		q.next = nil
		q.mu.Unlock()
		lock(next.reason)
		close(next.done)
	}
}
