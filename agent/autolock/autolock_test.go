package autolock

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func noLog() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// soleWatcher has no sources but those given.
func soleWatcher(on []string, lock func(string), sources ...source) *Watcher {
	w := New(on, lock, noLog())
	w.sources = sources
	w.drift.steps = nil // a bubble has no time that the kernel tells of
	return w
}

func TestClockDrift(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		jump time.Duration // of the wall clock against the other
		want int           // locks
	}{
		{"none", 0, 0},
		{"corrected by a time service", 30 * time.Second, 0},
		{"corrected backwards", -30 * time.Second, 0},
		{"slept", 31 * time.Second, 1},
		{"slept for days", 72 * time.Hour, 1},
		{"set back", -31 * time.Second, 1},
		{"set back by years", -20 * 365 * 24 * time.Hour, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var reasons []string
				w := soleWatcher([]string{"sleep"}, func(reason string) { reasons = append(reasons, reason) })
				start := time.Now()
				var jump atomic.Int64
				w.drift = &drift{
					wall:  func() time.Time { return time.Now().Add(time.Duration(jump.Load())) },
					awake: func() time.Duration { return time.Since(start) },
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { w.Run(ctx); close(ended) }()
				time.Sleep(45 * time.Second)
				jump.Store(int64(tt.jump))
				time.Sleep(10 * time.Minute) // one event, however many ticks follow
				cancel()
				<-ended
				if want := slices.Repeat([]string{reasonJump}, tt.want); !slices.Equal(reasons, want) {
					t.Errorf("locked for %q, want %q", reasons, want)
				}
			})
		})
	}
}

// Where the system tells of steps, a sleep is noticed at once, and several short ones are
// added up as they are without.
func TestClockSteps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		locks := 0
		steps := make(chan struct{}, 1)
		w := soleWatcher([]string{"sleep"}, func(string) { locks++ })
		start := time.Now()
		var slept atomic.Int64
		w.drift = &drift{
			wall:  func() time.Time { return time.Now().Add(time.Duration(slept.Load())) },
			awake: func() time.Duration { return time.Since(start) },
			steps: func(context.Context) <-chan struct{} { return steps },
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { w.Run(ctx); close(ended) }()
		for _, c := range []struct {
			name         string
			awake, sleep time.Duration
			want         int
		}{
			{"long", time.Hour, 31 * time.Second, 1},
			{"short", time.Hour, 20 * time.Second, 1},
			{"soon again", 10 * time.Second, 20 * time.Second, 2},
			{"short once more", time.Hour, 20 * time.Second, 2},
			{"much later", time.Hour, 20 * time.Second, 2},
		} {
			time.Sleep(c.awake)
			slept.Add(int64(c.sleep))
			steps <- struct{}{}
			synctest.Wait()
			if locks != c.want {
				t.Errorf("%s: %d locks, want %d at once", c.name, locks, c.want)
			}
		}
		close(steps) // the ticks go on
		slept.Add(int64(time.Hour))
		time.Sleep(tickEvery)
		synctest.Wait()
		if locks != 3 {
			t.Errorf("%d locks when the system no longer tells, want 3", locks)
		}
		cancel()
		<-ended
	})
}

// The monotonic clock of the system is not the wall clock: else nothing would
// ever drift.
func TestAwakeClockGoesOn(t *testing.T) {
	t.Parallel()
	d := newDrift()
	d.since()
	before := d.awake()
	for d.awake() == before {
		continue
	}
	if moved := d.since().Abs(); moved > maxDrift {
		t.Errorf("drifted by %v at once", moved)
	}
}

func TestNothingToLockOn(t *testing.T) {
	t.Parallel()
	for _, on := range [][]string{nil, {"screen_lock"}, {"full moon"}} {
		t.Run(strings.Join(on, " "), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := soleWatcher(on, func(reason string) { t.Errorf("locked: %s", reason) })
				w.drift = &drift{wall: time.Now, awake: func() time.Duration { return 0 }} // every tick would be a sleep
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				w.Run(ctx)
			})
		})
	}
	if w := New(nil, nil, noLog()); len(w.sources) != 0 {
		t.Errorf("%d sources are listened to for nothing", len(w.sources))
	}
}

// A source that is not there is asked for ever more seldom, and the log says so once.
func TestSourceIsMissing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var opened []time.Time
		var log bytes.Buffer
		w := soleWatcher([]string{"screen_lock"}, nil, source{"bus", func(context.Context) error {
			opened = append(opened, time.Now())
			return errors.New("no such bus")
		}, "the bus is not there", nil})
		w.log = slog.New(slog.NewTextHandler(&log, nil))
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		w.Run(ctx)
		want := time.Second
		for i := 1; i < len(opened); i++ {
			if got := opened[i].Sub(opened[i-1]); got != want {
				t.Fatalf("try %d came after %v, want %v", i, got, want)
			}
			want = min(2*want, retryMax)
		}
		if len(opened) < 24*60/5 {
			t.Errorf("gave up after %d tries", len(opened))
		}
		if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "level=WARN msg=\"the bus is not there\" cause=\"no such bus\"") {
			t.Errorf("the log says:\n%s", log.String())
		}
		if !slices.Contains(w.Notes(), "the bus is not there") {
			t.Errorf("notes are %q", w.Notes())
		}
	})
}

func TestSourceComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lives := []time.Duration{0, 0, 0, stableAfter, 0} // how long each connection lasts
		wait := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, time.Second, 2 * time.Second}
		var opened, ended []time.Time
		var log bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		var w *Watcher
		w = soleWatcher([]string{"sleep"}, nil, source{"bus", func(ctx context.Context) error {
			n := len(opened)
			opened = append(opened, time.Now())
			if n == len(lives) {
				cancel()
				return nil
			}
			if lives[n] > 0 {
				w.report("bus", "", nil)
				time.Sleep(lives[n])
			}
			ended = append(ended, time.Now())
			return errors.New("gone")
		}, "lost", nil})
		w.log = slog.New(slog.NewTextHandler(&log, nil))
		w.Run(ctx)
		for i := range wait {
			if got := opened[i+1].Sub(ended[i]); got != wait[i] {
				t.Errorf("connection %d was opened after %v, want %v", i+1, got, wait[i])
			}
		}
		if lost, back := strings.Count(log.String(), "level=INFO msg=lost"), strings.Count(log.String(), wordsNoticing); lost != 2 || back != 1 {
			t.Errorf("the log says:\n%s", log.String())
		}
	})
}

// Whatever happens while a lock is made is answered by one more lock.
func TestOrders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reasons []string
		proceed := make(chan struct{})
		w := soleWatcher(nil, func(reason string) {
			reasons = append(reasons, reason)
			<-proceed
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { w.Run(ctx); close(ended) }()
		first := w.queue.add("a")
		synctest.Wait()
		second, third := w.queue.add("b"), w.queue.add("c")
		proceed <- struct{}{}
		<-first
		synctest.Wait()
		select {
		case <-second:
			t.Error("an event is called done by a lock that began before it")
		default:
		}
		cancel()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("run did not wait for the lock")
		default:
		}
		proceed <- struct{}{}
		<-second
		<-third
		<-ended
		if want := []string{"a", "b"}; !slices.Equal(reasons, want) {
			t.Errorf("locked for %q, want %q", reasons, want)
		}
	})
}

func TestLockerNotes(t *testing.T) {
	t.Parallel()
	both := []string{"sleep", "screen_lock"}
	tests := []struct {
		name, goos string
		on         []string
		want       []string
	}{
		{"linux", "linux", both, nil},
		{"nothing asked", "darwin", nil, nil},
		{"darwin", "darwin", both, []string{
			"lock_on \"sleep\": on macOS sleep is noticed after waking up, within 30 s; run `stepup lock` before",
			"lock_on \"screen_lock\" has no effect on macOS: screen locks are not noticed there; run `stepup lock`",
		}},
		{"windows", "windows", []string{"screen_lock"}, []string{
			"lock_on \"screen_lock\" has no effect on Windows: screen locks are not noticed there; run `stepup lock`",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := unsupported(tt.goos, tt.on); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
