package agent

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
	ask    string            // the method that tells whether it is locked now
}

// savers are those of the desktops in use. They agree on one interface under
// many names; "active" may be a dark screen that is not locked yet.
func savers() []saver {
	like := func(iface string, own messagebus.Path) saver {
		return saver{name: iface, iface: iface, paths: []messagebus.Path{own, "/ScreenSaver", "/"}, member: "ActiveChanged", ask: "GetActive"}
	}
	shell := like("org.gnome.ScreenSaver", "/org/gnome/ScreenSaver")
	// Since 3.36 GNOME Shell sends the signals itself, under this name; the other
	// belongs to a helper that starts when somebody calls it.
	shell.name = "org.gnome.Shell.ScreenShield"
	return []saver{
		like("org.freedesktop.ScreenSaver", "/org/freedesktop/ScreenSaver"), // KDE and others
		like("org.gnome.ScreenSaver", "/org/gnome/ScreenSaver"),
		shell,
		like("org.cinnamon.ScreenSaver", "/org/cinnamon/ScreenSaver"),
		like("org.mate.ScreenSaver", "/org/mate/ScreenSaver"),
		like("org.xfce.ScreenSaver", "/org/xfce/ScreenSaver"),
		{
			name: "com.canonical.Unity", iface: "com.canonical.Unity.Session",
			paths: []messagebus.Path{"/com/canonical/Unity/Session"}, member: "Locked", ask: "IsLocked",
		},
	}
}

// tells reports whether s says that the screen is locked.
func (v saver) tells(s *messagebus.Signal) bool {
	if s.Name != v.iface+"."+v.member || !slices.Contains(v.paths, s.Path) {
		return false
	}
	if len(s.Body) == 0 {
		return v.member == "Locked"
	}
	return s.Body[0] == true
}

// maxAnswers bounds the questions under way. Each has room for its answer, so
// that the connection never waits for a reader that has gone.
const maxAnswers = 64

// screens listens to the screen savers over one connection to the session bus.
type screens struct {
	*locker
	bus     *messagebus.Conn
	savers  map[string]saver // by name
	answers chan *messagebus.Call
	asked   int // answers that are still to come
}

func (l *locker) watchSavers(ctx context.Context, address string) error {
	g := &screens{locker: l, savers: make(map[string]saver), answers: make(chan *messagebus.Call, maxAnswers)}
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
			g.hear(ctx, s)
		case answer := <-g.answers:
			g.asked--
			var active bool
			if messagebus.Result(answer, &active) == nil && active {
				g.orders.place(reasonScreen)
			}
		}
	}
}

func (g *screens) begin(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, busPatience)
	defer cancel()
	for name, v := range g.savers {
		if err := g.bus.Subscribe(limited, messagebus.Match{Sender: name, Interface: v.iface, Member: v.member}); err != nil {
			return err
		}
	}
	for name := range g.savers {
		g.meet(ctx, name)
	}
	return nil
}

// meet asks a saver that was not there, or not heard, until now: the screen may
// have been locked meanwhile. The answer comes to the loop, because a saver may
// hang while another one locks. Paths that do not exist answer with an error.
func (g *screens) meet(ctx context.Context, name string) {
	there := slices.ContainsFunc(slices.Collect(maps.Values(g.bus.Owners)), func(owner string) bool { return owner != "" })
	if there {
		g.report(partSavers, "", nil)
	} else {
		g.report(partSavers, wordsNoSaver, nil)
	}
	v := g.savers[name]
	if g.bus.Owners[name] == "" {
		return
	}
	for _, path := range v.paths {
		if g.asked == maxAnswers {
			return
		}
		g.asked++
		g.bus.Go(ctx, messagebus.Object{Of: name, Path: path}, v.iface+"."+v.ask, g.answers)
	}
}

// hear takes signals only of those who own a saver's name. Any program of this
// user may own one and say what it likes: it can make us lock, never unlock.
func (g *screens) hear(ctx context.Context, s *messagebus.Signal) {
	if name := g.bus.Owners.Learn(s); name != "" {
		g.meet(ctx, name)
		return
	}
	for name, v := range g.savers {
		if g.bus.Owners.From(name, s) && v.tells(s) {
			g.orders.place(reasonScreen)
			return
		}
	}
}
