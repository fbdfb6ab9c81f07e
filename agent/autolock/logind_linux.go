package autolock

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/messagebus"
)

// Names of logind's interface: org.freedesktop.login1(5), and
// https://systemd.io/INHIBITOR_LOCKS for how sleep is delayed.
const (
	login1            = "org.freedesktop.login1"
	login1Path        = messagebus.Path("/org/freedesktop/login1")
	login1Manager     = login1 + ".Manager"
	login1Session     = login1 + ".Session"
	login1Sessions    = "/org/freedesktop/login1/session"
	prepareForSleep   = login1Manager + ".PrepareForSleep"
	sessionLock       = login1Session + ".Lock"
	propertiesChanged = messagebus.Properties + ".PropertiesChanged"
)

// Parts of the watcher on Linux, as [Watcher.report] names them.
const (
	partLogind    = "logind"
	partInhibitor = "logind inhibitor"
	partSavers    = "screen saver"
)

// Problems for the log and the status. [Watcher.withEffect] completes the first two.
const (
	noSystemBus  = "lock_on: no answer from the system bus"
	noLogind     = "lock_on: logind is not on the system bus"
	noDelay      = "lock_on: logind does not let this program delay sleep; step-up tokens may still be there while the computer falls asleep"
	noSessionBus = "lock_on: no answer from the session bus; screen locks are noticed only if logind is told (`loginctl lock-session`)"
	noSaver      = "lock_on: no screen saver is on the session bus; screen locks are noticed only if logind is told (`loginctl lock-session`)"
)

// inhibitorRetry is the pause after a refused inhibitor.
const inhibitorRetry = time.Minute

func systemSources(w *Watcher) []source {
	return busSources(w, messagebus.SystemAddress(os.Getenv), messagebus.SessionAddress(os.Getenv, os.Getuid()))
}

func busSources(w *Watcher, system, session string) []source {
	var sources []source
	if w.sleep || w.screen {
		sources = append(sources, source{
			partLogind, func(ctx context.Context) error { return watchLogind(ctx, w, system) }, w.withEffect(noSystemBus), awaitSocket(system),
		})
	}
	if w.screen {
		sources = append(sources, source{
			partSavers, func(ctx context.Context) error { return watchSavers(ctx, w, session) }, noSessionBus, awaitSocket(session),
		})
	}
	return sources
}

// A logindListener listens to the login manager over one connection.
type logindListener struct {
	watcher *Watcher
	bus     *messagebus.Conn
	address string

	inhibitor    *os.File         // held while awake; sleep waits until it is closed
	retryInhibit <-chan time.Time // when to ask for an inhibitor again
	lockDone     <-chan struct{}  // closed after the lock that sleep waits for
	delayOver    <-chan time.Time // when sleep has waited long enough
}

func watchLogind(ctx context.Context, w *Watcher, address string) error {
	b, err := openBus(ctx, address, login1)
	if err != nil {
		return err
	}
	defer b.Close()
	g := &logindListener{watcher: w, bus: b, address: address}
	defer g.release()
	if err := g.begin(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case s, open := <-b.Signals():
			if !open {
				return errBusClosed
			}
			g.handle(ctx, s)
		case <-g.retryInhibit:
			g.inhibit(ctx)
		case <-g.lockDone:
			g.release()
		case <-g.delayOver:
			g.release()
		}
	}
}

func (g *logindListener) begin(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	var wanted []messagebus.Match
	if g.watcher.sleep {
		wanted = append(wanted, messagebus.Match{Path: login1Path, Interface: login1Manager, Member: "PrepareForSleep"})
	}
	if g.watcher.screen {
		wanted = append(wanted,
			messagebus.Match{Below: login1Sessions, Interface: login1Session, Member: "Lock"},
			messagebus.Match{Below: login1Sessions, Interface: messagebus.Properties, Member: "PropertiesChanged", Arg0: login1Session})
	}
	for _, m := range wanted {
		m.Sender = login1
		if err := g.bus.Subscribe(limited, m); err != nil {
			return err
		}
	}
	g.catchUp(ctx)
	return nil
}

// catchUp reads the state of a logind that was absent or not listened to before.
func (g *logindListener) catchUp(ctx context.Context) {
	g.release()
	if g.bus.Owners[login1] == "" {
		g.watcher.report(partLogind, g.watcher.withEffect(noLogind), nil)
		return
	}
	g.watcher.report(partLogind, "", nil)
	if g.watcher.sleep {
		if falling, err := g.bus.Property(ctx, manager(), login1Manager+".PreparingForSleep"); err == nil && falling == true {
			g.beforeSleep()
		} else {
			g.inhibit(ctx)
		}
	}
	if g.watcher.screen && g.sessionLocked(ctx) {
		g.watcher.queue.add(reasonScreen)
	}
}

func (g *logindListener) handle(ctx context.Context, s *messagebus.Signal) {
	if g.bus.Owners.Learn(s) == login1 {
		g.catchUp(ctx)
		return
	}
	if !g.bus.Owners.From(login1, s) {
		return
	}
	switch {
	case s.Name == prepareForSleep && s.Path == login1Path && g.watcher.sleep:
		var falling bool
		if messagebus.Store(s.Body, &falling) != nil {
			return
		}
		if falling {
			g.beforeSleep()
		} else {
			g.afterSleep(ctx)
		}
	case !g.watcher.screen || !strings.HasPrefix(string(s.Path), login1Sessions+"/"):
	case s.Name == sessionLock, s.Name == propertiesChanged && hintsLocked(s.Body):
		if g.ownSession(ctx, s.Path) {
			g.watcher.queue.add(reasonScreen)
		}
	}
}

// beforeSleep locks while the inhibitor is still held. The loop releases it.
func (g *logindListener) beforeSleep() {
	g.retryInhibit = nil
	g.lockDone, g.delayOver = g.watcher.queue.add(reasonSleep), time.After(g.watcher.sleepDelay)
}

// afterSleep locks once more: other programs may have delayed the sleep for
// seconds, and apps went on working. It resets the drift, so that the clock does
// not show the same sleep again and remove a new token.
func (g *logindListener) afterSleep(ctx context.Context) {
	g.watcher.drift.since()
	g.watcher.queue.add(reasonWake)
	g.release()
	g.inhibit(ctx)
}

// release lets the computer sleep.
func (g *logindListener) release() {
	g.lockDone, g.delayOver, g.retryInhibit = nil, nil, nil
	if g.inhibitor != nil {
		_ = g.inhibitor.Close()
		g.inhibitor = nil
	}
}

func (g *logindListener) inhibit(ctx context.Context) {
	g.retryInhibit = nil
	f, err := delaySleep(ctx, g.address)
	if err != nil {
		g.retryInhibit = time.After(inhibitorRetry)
		g.watcher.report(partInhibitor, noDelay, err)
		return
	}
	g.inhibitor = f
	g.watcher.report(partInhibitor, "", nil)
}

// delaySleep makes sleep wait, for as long as logind lets it, until the file is
// closed. It asks over a connection of its own, the only one that takes file
// descriptors, and closes that: the inhibitor is the descriptor alone.
func delaySleep(ctx context.Context, address string) (*os.File, error) {
	b, err := messagebus.Open(ctx, messagebus.Config{Address: address, Limit: busTimeout, Files: true})
	if err != nil {
		return nil, err
	}
	// An answer that comes after the timeout leaves no descriptor behind: the
	// connection closes files that were not taken.
	defer b.Close()
	if err := b.Call(ctx, manager(), login1Manager+".Inhibit", "sleep", "stepup", "forgets step-up tokens before sleep", "delay").Err; err != nil {
		return nil, err
	}
	return b.TakeFile("inhibitor")
}

func manager() messagebus.Object { return messagebus.Object{Of: login1, Path: login1Path} }

// hintsLocked reads the body of PropertiesChanged. Desktops set LockedHint when
// they show their own lock, also if logind did not request it.
func hintsLocked(body []any) bool {
	var of string
	var changed map[string]messagebus.Variant
	var gone []string
	if messagebus.Store(body, &of, &changed, &gone) != nil {
		return false
	}
	return of == login1Session && changed["LockedHint"].Value() == true
}

// ownSession reports whether a session is this user's. An agent under systemd
// --user belongs to no session, so each session of the user counts. A session that
// ended before the question counts, too: a lock too many costs a prompt.
func (g *logindListener) ownSession(ctx context.Context, session messagebus.Path) bool {
	user, err := g.bus.Property(ctx, messagebus.Object{Of: login1, Path: session}, login1Session+".User")
	pair, ok := user.([]any) // (uo): the number and the object of the user
	if err != nil || !ok || len(pair) == 0 {
		return true
	}
	uid, ok := pair[0].(uint32)
	return !ok || int(uid) == os.Getuid()
}

// sessionLocked reports whether one of the user's sessions is locked already: the
// screen may have been locked before this connection.
func (g *logindListener) sessionLocked(ctx context.Context) bool {
	asking, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	var sessions []struct {
		ID   string
		UID  uint32
		User string
		Seat string
		Path messagebus.Path
	}
	if err := messagebus.Result(g.bus.Call(asking, manager(), login1Manager+".ListSessions"), &sessions); err != nil {
		return false
	}
	for _, s := range sessions {
		if int(s.UID) != os.Getuid() {
			continue
		}
		if locked, err := g.bus.Property(asking, messagebus.Object{Of: login1, Path: s.Path}, login1Session+".LockedHint"); err == nil && locked == true {
			return true
		}
	}
	return false
}
