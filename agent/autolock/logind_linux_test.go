package autolock

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/vault-stepup/stepup/messagebus"
	"github.com/vault-stepup/stepup/messagebus/messagebustest"
)

func TestLockBeforeSleep(t *testing.T) {
	t.Parallel()
	p := messagebustest.NewDaemon(t)
	f := startLogind(t, p)
	r := newFixture(p, "sleep")
	r.sleepDelay = time.Hour // sleep waits for the lock, not for this
	inhibitors := make(chan *fakeInhibitor, 1)
	r.lock = func(reason string) {
		if reason == reasonSleep {
			if i := <-inhibitors; !i.held() {
				reason = "the computer slept already"
			}
		}
		r.reasons <- reason
	}
	r.start(t)
	i := receive(t, f.taken, "an inhibitor")
	if want := "sleep, stepup, forgets step-up tokens before sleep, delay"; i.call != want {
		t.Errorf("asked for %q, want %q", i.call, want)
	}
	for range 2 {
		inhibitors <- i
		f.emit(t, login1Path, prepareForSleep, true)
		r.wantReason(t, reasonSleep)
		receive(t, i.released, "sleep")
		f.emit(t, login1Path, prepareForSleep, false)
		r.wantReason(t, reasonWake)
		i = receive(t, f.taken, "the next inhibitor")
	}
	if !i.held() {
		t.Error("the inhibitor is not held while the computer is awake")
	}
	r.stop()
	receive(t, i.released, "the inhibitor of a Watcher that has ended")
	if notes := r.Notes(); len(notes) != 0 {
		t.Errorf("notes are %q", notes)
	}
}

// The clock does not find the sleep again that logind has told of: the first
// token after it would be gone within half a minute.
func TestClockKnowsAnnouncedSleep(t *testing.T) {
	t.Parallel()
	p := messagebustest.NewDaemon(t)
	f := startLogind(t, p)
	r := newFixture(p, "sleep")
	var wall atomic.Int64
	r.drift = &drift{wall: func() time.Time { return time.Unix(0, wall.Load()) }, awake: func() time.Duration { return 0 }}
	r.start(t)
	receive(t, f.taken, "an inhibitor")
	f.emit(t, login1Path, prepareForSleep, true)
	r.wantReason(t, reasonSleep)
	wall.Store(int64(time.Hour))
	f.emit(t, login1Path, prepareForSleep, false)
	r.wantReason(t, reasonWake)
	if moved := r.drift.since(); moved != 0 {
		t.Errorf("drifted by %v since the computer woke up", moved)
	}
}

func TestSleepDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	p := messagebustest.NewDaemon(t)
	f := startLogind(t, p)
	r := newFixture(p, "sleep")
	r.sleepDelay = time.Millisecond
	slept := make(chan struct{})
	r.lock = func(reason string) { <-slept; r.reasons <- reason }
	r.start(t)
	i := receive(t, f.taken, "an inhibitor")
	f.emit(t, login1Path, prepareForSleep, true)
	receive(t, i.released, "sleep")
	close(slept)
	r.wantReason(t, reasonSleep)
}

func TestFallingAsleepAlready(t *testing.T) {
	t.Parallel()
	p := messagebustest.NewDaemon(t)
	f := newLogind(t, p)
	f.falling = true
	own(t, f.conn, login1)
	r := newFixture(p, "sleep")
	r.start(t)
	r.wantReason(t, reasonSleep)
	f.emit(t, login1Path, prepareForSleep, false)
	r.wantReason(t, reasonWake)
	receive(t, f.taken, "an inhibitor")
}

func TestInhibitorRefused(t *testing.T) {
	t.Parallel()
	p := messagebustest.NewDaemon(t)
	f := newLogind(t, p)
	f.refuse = true
	own(t, f.conn, login1)
	r := newFixture(p, "sleep")
	r.start(t)
	r.line(t, noDelay)
	if notes := r.Notes(); !slices.Contains(notes, noDelay) {
		t.Errorf("notes are %q", notes)
	}
	f.emit(t, login1Path, prepareForSleep, true)
	r.wantReason(t, reasonSleep)
	f.mu.Lock()
	f.refuse = false
	f.mu.Unlock()
	f.emit(t, login1Path, prepareForSleep, false)
	r.wantReason(t, reasonWake)
	receive(t, f.taken, "an inhibitor")
	r.line(t, wordsNoticing)
}

// Each signal is followed by one that certainly locks, so that nothing has to be
// waited for in vain.
func TestSessions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		path  dbus.ObjectPath
		iface string
		body  []any
		locks bool
	}{
		{"lock", ourSession, sessionLock, nil, true},
		{"hint", ourSession, propertiesChanged, hint("LockedHint", true), true},
		{"session that has gone", "/org/freedesktop/login1/session/_39", sessionLock, nil, true},
		{"other user's lock", otherSession, sessionLock, nil, false},
		{"other user's hint", otherSession, propertiesChanged, hint("LockedHint", true), false},
		{"unlocked hint", ourSession, propertiesChanged, hint("LockedHint", false), false},
		{"hint of a wrong type", ourSession, propertiesChanged, hint("LockedHint", "true"), false},
		{"other property", ourSession, propertiesChanged, hint("Active", true), false},
		{"wrong body", ourSession, propertiesChanged, []any{"LockedHint"}, false},
		{"unlock", ourSession, login1Session + ".Unlock", nil, false},
		{"not a session", login1Path, sessionLock, nil, false},
		{"sleep at a wrong path", "/org/freedesktop", prepareForSleep, []any{false}, false},
		{"sleep without a value", login1Path, prepareForSleep, nil, false},
	}
	p := messagebustest.NewDaemon(t)
	f := startLogind(t, p)
	r := newFixture(p, "sleep", "screen_lock")
	r.start(t)
	watcher := receive(t, f.asked, "the question for sessions")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// To the watcher alone, so that the subscription does not sort it out.
			sendTo(t, f.conn, string(watcher), &dbus.Signal{Path: tt.path, Name: tt.iface, Body: tt.body})
			if tt.locks {
				r.wantReason(t, reasonScreen)
			}
			f.emit(t, login1Path, prepareForSleep, true)
			r.wantReason(t, reasonSleep)
		})
	}
}

// The subscriptions let through what they should.
func TestScreenLockThroughLogind(t *testing.T) {
	t.Parallel()
	for _, signal := range []dbus.Signal{
		{Path: ourSession, Name: sessionLock},
		{Path: ourSession, Name: propertiesChanged, Body: hint("LockedHint", true)},
	} {
		t.Run(signal.Name, func(t *testing.T) {
			t.Parallel()
			p := messagebustest.NewDaemon(t)
			f := startLogind(t, p)
			r := newFixture(p, "screen_lock")
			r.start(t)
			watcher := receive(t, f.asked, "the question for sessions")
			// This is not worth a line.
			sendTo(t, f.conn, string(watcher), &dbus.Signal{Path: login1Path, Name: prepareForSleep, Body: []any{true}})
			f.emit(t, signal.Path, signal.Name, signal.Body...)
			r.wantReason(t, reasonScreen)
		})
	}
}

func TestScreenIsLockedAlready(t *testing.T) {
	t.Parallel()
	p := messagebustest.NewDaemon(t)
	f := newLogind(t, p)
	f.sessions[ourSession] = fakeSession{uid: uint32(os.Getuid()), locked: true}
	own(t, f.conn, login1)
	r := newFixture(p, "screen_lock")
	r.start(t)
	r.wantReason(t, reasonScreen)
}

// A sender that does not own the name is not believed, though the bus delivers what
// they say.
func TestStrangersOnTheBus(t *testing.T) {
	t.Parallel()
	p := messagebustest.NewDaemon(t)
	f := startLogind(t, p)
	r := newFixture(p, "sleep", "screen_lock")
	r.start(t)
	watcher := string(receive(t, f.asked, "the question for sessions"))
	stranger := connect(t, p)
	own(t, stranger, "org.example.Stranger")
	for _, s := range []*dbus.Signal{
		{Path: login1Path, Name: prepareForSleep, Body: []any{true}},
		{Path: ourSession, Name: sessionLock},
		{Path: messagebus.DaemonPath, Name: messagebus.OwnerChanged, Body: []any{login1, "", stranger.Names()[0]}},
		{Path: login1Path, Name: prepareForSleep, Body: []any{false}},
	} {
		sendTo(t, stranger, watcher, s)
	}
	f.emit(t, ourSession, sessionLock)
	r.wantReason(t, reasonScreen)
	f.emit(t, login1Path, prepareForSleep, true)
	r.wantReason(t, reasonSleep)
}

func TestLogindComesAndGoes(t *testing.T) {
	t.Parallel()
	p := messagebustest.NewDaemon(t)
	f := newLogind(t, p)
	r := newFixture(p, "sleep")
	r.start(t)
	missing := r.withEffect(noLogind)
	r.line(t, missing)
	if notes := r.Notes(); !slices.Contains(notes, missing) {
		t.Errorf("notes are %q", notes)
	}
	own(t, f.conn, login1)
	i := receive(t, f.taken, "an inhibitor")
	_, err := f.conn.ReleaseName(login1)
	must(t, err)
	receive(t, i.released, "the inhibitor of a logind that has gone")
	r.line(t, missing)
	successor := startLogind(t, p)
	receive(t, successor.taken, "an inhibitor")
	successor.emit(t, login1Path, prepareForSleep, true)
	r.wantReason(t, reasonSleep)
}

func TestBusDies(t *testing.T) {
	t.Parallel()
	p := messagebustest.NewDaemon(t)
	f := startLogind(t, p)
	r := newFixture(p, "sleep", "screen_lock")
	saver := startSaver(t, p, "org.freedesktop.ScreenSaver", "/ScreenSaver")
	r.start(t)
	i := receive(t, f.taken, "an inhibitor")
	receive(t, saver.asked, "the question whether the screen is locked")
	must(t, p.Process.Kill())
	receive(t, i.released, "sleep, which is no longer announced")
	lost := r.withEffect(noSystemBus)
	r.line(t, lost)
	p.Start(t)
	f = startLogind(t, p)
	saver = startSaver(t, p, "org.freedesktop.ScreenSaver", "/ScreenSaver")
	receive(t, f.taken, "an inhibitor")
	receive(t, saver.asked, "the question whether the screen is locked")
	f.emit(t, login1Path, prepareForSleep, true)
	r.wantReason(t, reasonSleep)
	must(t, saver.conn.Emit("/ScreenSaver", "org.freedesktop.ScreenSaver.ActiveChanged", true))
	r.wantReason(t, reasonScreen)
	r.stop()
	close(r.lines)
	for line := range r.lines {
		if strings.Contains(line, lost) {
			t.Errorf("said again: %s", line)
		}
	}
	if notes := r.Notes(); len(notes) != 0 {
		t.Errorf("notes are %q", notes)
	}
}

// footprint counts the open files of this process and the goroutines that serve
// buses or watchers.
func footprint(t *testing.T) (descriptors, goroutines int) {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, "godbus/dbus") || strings.Contains(stack, "agent.(*Watcher)") {
			goroutines++
		}
	}
	return len(files), goroutines
}

// Not parallel: it counts what the process has.
func TestLockerLeavesNothingBehind(t *testing.T) {
	p := messagebustest.NewDaemon(t)
	f := startLogind(t, p)
	startSaver(t, p, "org.gnome.ScreenSaver", "/org/gnome/ScreenSaver")
	files, goroutines := footprint(t)
	for range 5 {
		r := newFixture(p, "sleep", "screen_lock")
		r.start(t)
		i := receive(t, f.taken, "an inhibitor")
		r.stop()
		if i.held() {
			t.Error("the computer cannot sleep after the end of the watcher")
		}
	}
	// godbus ends its goroutines soon after a connection was closed, and the
	// fake's need a moment to see that.
	deadline := time.Now().Add(30 * time.Second)
	for {
		f, g := footprint(t)
		if f <= files && g <= goroutines {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d files and %d goroutines, before %d and %d", f, g, files, goroutines)
		}
		runtime.Gosched()
	}
}
