package agent

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

// Parts of what a locker does on Linux, as [locker.report] names them.
const (
	partLogind    = "logind"
	partInhibitor = "logind inhibitor"
	partSavers    = "screen saver"
)

// inhibitorRetry is when an inhibitor that was refused is asked for again.
const inhibitorRetry = time.Minute

func (l *locker) systemSources() []source {
	return l.busSources(messagebus.SystemAddress(os.Getenv), messagebus.SessionAddress(os.Getenv, os.Getuid()))
}

func (l *locker) busSources(system, session string) []source {
	var sources []source
	if l.sleep || l.screen {
		sources = append(sources, source{partLogind, func(ctx context.Context) error { return l.watchLogind(ctx, system) }, l.trouble(wordsNoSystemBus)})
	}
	if l.screen {
		sources = append(sources, source{partSavers, func(ctx context.Context) error { return l.watchSavers(ctx, session) }, wordsNoSessionBus})
	}
	return sources
}

// logind listens to the login manager over one connection.
type logind struct {
	*locker
	bus     *messagebus.Conn
	address string

	inhibitor *os.File         // held while awake; sleep waits until it is closed
	again     <-chan time.Time // when to ask for an inhibitor again
	locked    <-chan struct{}  // the lock that sleep waits for has been made
	late      <-chan time.Time // sleep has waited long enough
}

func (l *locker) watchLogind(ctx context.Context, address string) error {
	b, err := openBus(ctx, address, login1)
	if err != nil {
		return err
	}
	defer b.Close()
	g := &logind{locker: l, bus: b, address: address}
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
			g.hear(ctx, s)
		case <-g.again:
			g.inhibit(ctx)
		case <-g.locked:
			g.release()
		case <-g.late:
			g.release()
		}
	}
}

func (g *logind) begin(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, busPatience)
	defer cancel()
	var wanted []messagebus.Match
	if g.sleep {
		wanted = append(wanted, messagebus.Match{Path: login1Path, Interface: login1Manager, Member: "PrepareForSleep"})
	}
	if g.screen {
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
	g.meet(ctx)
	return nil
}

// meet catches up with a logind that was not there, or not heard, until now.
func (g *logind) meet(ctx context.Context) {
	g.release()
	if g.bus.Owners[login1] == "" {
		g.report(partLogind, g.trouble(wordsNoLogind), nil)
		return
	}
	g.report(partLogind, "", nil)
	if g.sleep {
		if falling, err := g.bus.Property(ctx, manager(), login1Manager+".PreparingForSleep"); err == nil && falling == true {
			g.fallAsleep()
		} else {
			g.inhibit(ctx)
		}
	}
	if g.screen && g.hinted(ctx) {
		g.orders.place(reasonScreen)
	}
}

func (g *logind) hear(ctx context.Context, s *messagebus.Signal) {
	if g.bus.Owners.Learn(s) == login1 {
		g.meet(ctx)
		return
	}
	if !g.bus.Owners.From(login1, s) {
		return
	}
	switch {
	case s.Name == prepareForSleep && s.Path == login1Path && g.sleep:
		var falling bool
		if messagebus.Store(s.Body, &falling) != nil {
			return
		}
		if falling {
			g.fallAsleep()
		} else {
			g.wakeUp(ctx)
		}
	case !g.screen || !strings.HasPrefix(string(s.Path), login1Sessions+"/"):
	case s.Name == sessionLock, s.Name == propertiesChanged && saysLocked(s.Body):
		if g.ours(ctx, s.Path) {
			g.orders.place(reasonScreen)
		}
	}
}

// fallAsleep locks while the inhibitor is still held; the loop lets go of it.
func (g *logind) fallAsleep() {
	g.again = nil
	g.locked, g.late = g.orders.place(reasonSleep), time.After(g.patience)
}

// wakeUp locks once more: until the computer stood still others may have held up
// its sleep for seconds, and apps went on working. The clock need not notice
// the same sleep again, when a new token may have been asked for already.
func (g *logind) wakeUp(ctx context.Context) {
	g.drift.since()
	g.orders.place(reasonWake)
	g.release()
	g.inhibit(ctx)
}

// release lets the computer sleep.
func (g *logind) release() {
	g.locked, g.late, g.again = nil, nil, nil
	if g.inhibitor != nil {
		_ = g.inhibitor.Close()
		g.inhibitor = nil
	}
}

func (g *logind) inhibit(ctx context.Context) {
	g.again = nil
	f, err := delaySleep(ctx, g.address)
	if err != nil {
		g.again = time.After(inhibitorRetry)
		g.report(partInhibitor, wordsNoDelay, err)
		return
	}
	g.inhibitor = f
	g.report(partInhibitor, "", nil)
}

// delaySleep makes sleep wait, for as long as logind lets it, until the file is
// closed. It asks over a connection of its own, the only one that takes file
// descriptors, and closes that: the inhibitor is the descriptor alone.
func delaySleep(ctx context.Context, address string) (*os.File, error) {
	b, err := messagebus.Open(ctx, messagebus.Config{Address: address, Limit: busPatience, Files: true})
	if err != nil {
		return nil, err
	}
	// An answer that comes after the call was given up leaves no descriptor behind:
	// the connection closes what was not taken.
	defer b.Close()
	if err := b.Call(ctx, manager(), login1Manager+".Inhibit", "sleep", wordsWho, wordsWhy, "delay").Err; err != nil {
		return nil, err
	}
	return b.TakeFile("inhibitor")
}

func manager() messagebus.Object { return messagebus.Object{Of: login1, Path: login1Path} }

// saysLocked looks at the body of PropertiesChanged. Desktops set LockedHint
// when their own lock is shown, also when nobody asked logind for it.
func saysLocked(body []any) bool {
	var of string
	var changed map[string]messagebus.Variant
	var gone []string
	if messagebus.Store(body, &of, &changed, &gone) != nil {
		return false
	}
	return of == login1Session && changed["LockedHint"].Value() == true
}

// ours reports whether a session is this user's. An agent under systemd --user
// belongs to no session, so each of the user's counts; and one that ended before
// it could be asked about counts too: a lock too many costs a prompt.
func (g *logind) ours(ctx context.Context, session messagebus.Path) bool {
	user, err := g.bus.Property(ctx, messagebus.Object{Of: login1, Path: session}, login1Session+".User")
	pair, ok := user.([]any) // (uo): the number and the object of the user
	if err != nil || !ok || len(pair) == 0 {
		return true
	}
	uid, ok := pair[0].(uint32)
	return !ok || int(uid) == os.Getuid()
}

// hinted reports whether one of the user's sessions is locked already: the
// screen may have been locked while nobody listened.
func (g *logind) hinted(ctx context.Context) bool {
	asking, cancel := context.WithTimeout(ctx, busPatience)
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
