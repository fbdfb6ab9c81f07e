package autolock

import (
	"context"
	"maps"
	"slices"

	"github.com/vault-stepup/stepup/messagebus"
)

// A saver is a screen saver's or a desktop's lock on the session bus.
type saver struct {
	name   string // that it owns
	iface  string
	paths  []messagebus.Path // one of them is where it is, depending on its version
	member string            // of the signal
	query  string            // the method that returns whether it is locked now
}

// savers returns the screen savers of the desktops in use. They agree on one interface under
// many names; "active" may be a dark screen that is not locked yet.
func savers() []saver {
	common := func(iface string, own messagebus.Path) saver {
		return saver{name: iface, iface: iface, paths: []messagebus.Path{own, "/ScreenSaver", "/"}, member: "ActiveChanged", query: "GetActive"}
	}
	shell := common("org.gnome.ScreenSaver", "/org/gnome/ScreenSaver")
	// Since 3.36 GNOME Shell sends the signals itself, under this name; the other
	// belongs to a helper that starts at the first call.
	shell.name = "org.gnome.Shell.ScreenShield"
	return []saver{
		common("org.freedesktop.ScreenSaver", "/org/freedesktop/ScreenSaver"), // KDE and others
		common("org.gnome.ScreenSaver", "/org/gnome/ScreenSaver"),
		shell,
		common("org.cinnamon.ScreenSaver", "/org/cinnamon/ScreenSaver"),
		common("org.mate.ScreenSaver", "/org/mate/ScreenSaver"),
		common("org.xfce.ScreenSaver", "/org/xfce/ScreenSaver"),
		{
			name: "com.canonical.Unity", iface: "com.canonical.Unity.Session",
			paths: []messagebus.Path{"/com/canonical/Unity/Session"}, member: "Locked", query: "IsLocked",
		},
	}
}

// announcesLock reports whether s says that the screen is locked.
func (v saver) announcesLock(s *messagebus.Signal) bool {
	if s.Name != v.iface+"."+v.member || !slices.Contains(v.paths, s.Path) {
		return false
	}
	if len(s.Body) == 0 {
		return v.member == "Locked"
	}
	return s.Body[0] == true
}

// maxOutstanding bounds the queries under way. The channel has room for all their
// answers, so that the connection never waits for a reader that has ended.
const maxOutstanding = 64

// A saverListener listens to the screen savers over one connection to the session bus.
type saverListener struct {
	watcher     *Watcher
	bus         *messagebus.Conn
	savers      map[string]saver // by name
	answers     chan *messagebus.Call
	outstanding int // answers that are still to come
}

func watchSavers(ctx context.Context, w *Watcher, address string) error {
	g := &saverListener{watcher: w, savers: make(map[string]saver), answers: make(chan *messagebus.Call, maxOutstanding)}
	for _, v := range savers() {
		g.savers[v.name] = v
	}
	b, err := openBus(ctx, address, slices.Sorted(maps.Keys(g.savers))...)
	if err != nil {
		return err
	}
	defer b.Close()
	g.bus = b
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
		case answer := <-g.answers:
			g.outstanding--
			var active bool
			if messagebus.Result(answer, &active) == nil && active {
				g.watcher.queue.add(reasonScreen)
			}
		}
	}
}

func (g *saverListener) begin(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	for name, v := range g.savers {
		if err := g.bus.Subscribe(limited, messagebus.Match{Sender: name, Interface: v.iface, Member: v.member}); err != nil {
			return err
		}
	}
	for name := range g.savers {
		g.catchUp(ctx, name)
	}
	return nil
}

// catchUp queries a saver that was absent or not listened to before: the screen
// may be locked already. The loop gets the answer, because a saver may hang while
// another one locks. Paths that do not exist answer with an error.
func (g *saverListener) catchUp(ctx context.Context, name string) {
	there := slices.ContainsFunc(slices.Collect(maps.Values(g.bus.Owners)), func(owner string) bool { return owner != "" })
	if there {
		g.watcher.report(partSavers, "", nil)
	} else {
		g.watcher.report(partSavers, noSaver, nil)
	}
	v := g.savers[name]
	if g.bus.Owners[name] == "" {
		return
	}
	for _, path := range v.paths {
		if g.outstanding == maxOutstanding {
			return
		}
		g.outstanding++
		g.bus.Go(ctx, messagebus.Object{Of: name, Path: path}, v.iface+"."+v.query, g.answers)
	}
}

// handle takes signals only from the owner of a saver's name. Any program of this
// user may own one and send any signal: that can cause a lock and never ends one.
func (g *saverListener) handle(ctx context.Context, s *messagebus.Signal) {
	if name := g.bus.Owners.Learn(s); name != "" {
		g.catchUp(ctx, name)
		return
	}
	for name, v := range g.savers {
		if g.bus.Owners.From(name, s) && v.announcesLock(s) {
			g.watcher.queue.add(reasonScreen)
			return
		}
	}
}
