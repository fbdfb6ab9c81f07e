package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// The words of lock_on.
const (
	lockOnSleep  = "sleep"
	lockOnScreen = "screen_lock"
)

const (
	// busPatience bounds each question to a bus, so that a hung service does
	// not keep the locker from the next signal.
	busPatience = 5 * time.Second
	// sleepPatience is how long sleep is held up for a lock. logind goes on by
	// itself after 5 s (InhibitDelayMaxSec of logind.conf); whoever lets go in
	// time leaves the others their share.
	sleepPatience = 4 * time.Second
	// A source that ends is opened again after retryMin, then after twice that
	// and so on up to retryMax. One that worked for steady begins anew.
	retryMin = time.Second
	retryMax = 5 * time.Minute
	steady   = time.Minute
)

// A locker forgets step-up tokens when the computer sleeps or its screen is
// locked. Nothing it hears ever unlocks anything: a signal that somebody made
// up costs a prompt and gives nothing away.
type locker struct {
	sleep, screen bool
	lock          func(reason string)
	log           *slog.Logger
	drift         *drift
	orders        orders
	sources       []source
	retryMin      time.Duration
	patience      time.Duration // for a lock before sleep

	mu       sync.Mutex
	troubles map[string]string // what does not work, by the name of its part
}

// A source is something that tells of sleep or of screen locks and may go away.
type source struct {
	name string
	// listen serves until ctx or the source ends. It reports by itself when it
	// works, and returns why it ended.
	listen func(ctx context.Context) error
	lost   string // the words when it ended
}

// newLocker makes a locker for the words of lock_on; other words are ignored and
// none means that nothing is ever locked. lock is called for each event, one call
// at a time, and may take its time: events during a call make one more. Before
// sleep it should forget first and only then talk to Vault, because the computer
// waits four seconds at most. [locker.run] does not return before it.
func newLocker(on []string, lock func(reason string), log *slog.Logger) *locker {
	l := &locker{
		sleep:    slices.Contains(on, lockOnSleep),
		screen:   slices.Contains(on, lockOnScreen),
		lock:     lock,
		log:      log,
		drift:    newDrift(),
		orders:   orders{wake: make(chan struct{}, 1)},
		retryMin: retryMin,
		patience: sleepPatience,
		troubles: make(map[string]string),
	}
	l.sources = l.systemSources()
	return l
}

// run watches until ctx ends and waits for what it has started. Call it once.
func (l *locker) run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { l.orders.serve(ctx, l.lock) })
	if l.sleep {
		work.Go(func() { l.tick(ctx) })
	}
	for _, s := range l.sources {
		work.Go(func() { l.keep(ctx, s) })
	}
	<-ctx.Done()
}

// keep listens to a source and opens it again when it has ended, ever more
// slowly: a bus that is not there is not asked for at each turn.
func (l *locker) keep(ctx context.Context, s source) {
	delay := l.retryMin
	for {
		began := time.Now()
		err := s.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		l.report(s.name, s.lost, err)
		if time.Since(began) >= steady {
			delay = l.retryMin
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, retryMax)
	}
}

// report keeps what part cannot do for the status, "" when it works, and says
// it once in the log however often it is found again.
func (l *locker) report(part, words string, err error) {
	l.mu.Lock()
	was := l.troubles[part]
	if words == "" {
		delete(l.troubles, part)
	} else {
		l.troubles[part] = words
	}
	l.mu.Unlock()
	switch {
	case words == was:
	case words == "":
		l.log.Info(wordsNoticing, "source", part)
	case !l.screen:
		// Sleep is noticed by the clock as well, and a server without these
		// services is no reason to alarm anybody.
		l.log.Info(words, "cause", err)
	default:
		l.log.Warn(words, "cause", err)
	}
}

// notes says, for the status, what cannot be noticed here and now.
func (l *locker) notes() []string {
	var on []string
	if l.sleep {
		on = append(on, lockOnSleep)
	}
	if l.screen {
		on = append(on, lockOnScreen)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(lockerNotes(on), slices.Sorted(maps.Values(l.troubles))...)
}

// trouble says what is missing and what that means for the words of lock_on.
func (l *locker) trouble(missing string) string {
	if l.sleep {
		missing += "; " + wordsClockOnly
	}
	if l.screen {
		missing += "; " + wordsSaverOnly
	}
	return missing
}

func lockerNotesOf(goos string, on []string) []string {
	if goos == "linux" {
		return nil
	}
	var notes []string
	for _, word := range on {
		switch word {
		case lockOnSleep:
			notes = append(notes, fmt.Sprintf(wordsLateSleep, systemName(goos)))
		case lockOnScreen:
			notes = append(notes, fmt.Sprintf(wordsNoScreenLock, systemName(goos)))
		}
	}
	return notes
}

// orders are the locks that are still to be made. However many events come
// while one is made, one more follows: a token that arrived in between must go.
type orders struct {
	wake chan struct{} // holds one when next is set

	mu   sync.Mutex
	next *order
}

type order struct {
	reason string
	done   chan struct{}
}

// place asks for a lock and returns at once. The channel is closed after a lock
// that began later than this call.
func (o *orders) place(reason string) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.next == nil {
		o.next = &order{reason: reason, done: make(chan struct{})}
		o.wake <- struct{}{} // never blocks: the one before was taken with its order
	}
	return o.next.done
}

func (o *orders) serve(ctx context.Context, lock func(string)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.wake:
		}
		o.mu.Lock()
		next := o.next
		o.next = nil
		o.mu.Unlock()
		lock(next.reason)
		close(next.done)
	}
}
