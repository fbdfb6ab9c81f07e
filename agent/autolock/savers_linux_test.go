package autolock

import (
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/vault-stepup/stepup/messagebus"
	"github.com/vault-stepup/stepup/messagebus/messagebustest"
)

// A fakeSaver is a screen saver on the session bus.
type fakeSaver struct {
	conn   *dbus.Conn
	asked  chan dbus.Sender
	active bool
	silent chan struct{} // when set, questions are answered after it was closed
}

// GetActive is the question whether the screen is locked.
func (f *fakeSaver) GetActive(sender dbus.Sender) (bool, *dbus.Error) {
	f.asked <- sender
	if f.silent != nil {
		<-f.silent
	}
	return f.active, nil
}

// IsLocked is Unity's word for it.
func (f *fakeSaver) IsLocked(sender dbus.Sender) (bool, *dbus.Error) { return f.GetActive(sender) }

// newSaver prepares one at a path; it serves when it owns its name.
func newSaver(t *testing.T, p *messagebustest.Daemon, iface string, path dbus.ObjectPath) *fakeSaver {
	t.Helper()
	f := &fakeSaver{conn: connect(t, p), asked: make(chan dbus.Sender, 100)}
	must(t, f.conn.Export(f, path, iface))
	return f
}

func startSaver(t *testing.T, p *messagebustest.Daemon, iface string, path dbus.ObjectPath) *fakeSaver {
	t.Helper()
	f := newSaver(t, p, iface, path)
	own(t, f.conn, iface)
	return f
}

func TestScreenSavers(t *testing.T) {
	t.Parallel()
	p := messagebustest.NewDaemon(t)
	for _, v := range savers() {
		for _, path := range v.paths {
			t.Run(v.name+string(path), func(t *testing.T) {
				f := newSaver(t, p, v.iface, path)
				own(t, f.conn, v.name)
				r := newFixture(p, "screen_lock")
				r.start(t)
				receive(t, f.asked, "the question whether the screen is locked")
				var body []any
				if v.member == "ActiveChanged" {
					body = []any{true}
				}
				must(t, f.conn.Emit(path, v.iface+"."+v.member, body...))
				r.wantReason(t, reasonScreen)
				_, err := f.conn.ReleaseName(v.name) // for the next one
				must(t, err)
			})
		}
	}
}

func TestSaverIsActiveAlready(t *testing.T) {
	t.Parallel()
	p := messagebustest.NewDaemon(t)
	r := newFixture(p, "screen_lock")
	r.start(t)
	r.line(t, noSaver)
	f := newSaver(t, p, "org.gnome.ScreenSaver", "/org/gnome/ScreenSaver")
	f.active = true
	own(t, f.conn, "org.gnome.Shell.ScreenShield") // comes later than the agent
	r.wantReason(t, reasonScreen)
	r.line(t, wordsNoticing)
}

// A saver that hangs does not keep another one from being heard.
func TestSaverHangs(t *testing.T) {
	t.Parallel()
	p := messagebustest.NewDaemon(t)
	hung := newSaver(t, p, "org.mate.ScreenSaver", "/org/mate/ScreenSaver")
	hung.silent = make(chan struct{})
	defer close(hung.silent)
	own(t, hung.conn, "org.mate.ScreenSaver")
	f := startSaver(t, p, "org.freedesktop.ScreenSaver", "/ScreenSaver")
	r := newFixture(p, "screen_lock")
	r.start(t)
	receive(t, hung.asked, "the question whether the screen is locked")
	receive(t, f.asked, "the question whether the screen is locked")
	must(t, f.conn.Emit("/ScreenSaver", "org.freedesktop.ScreenSaver.ActiveChanged", true))
	r.wantReason(t, reasonScreen)
	r.stop()
}

func TestSaverSignals(t *testing.T) {
	t.Parallel()
	const active = "org.freedesktop.ScreenSaver.ActiveChanged"
	tests := []struct {
		name   string
		signal dbus.Signal
		locks  bool
	}{
		{"active", dbus.Signal{Sender: ":1.5", Path: "/ScreenSaver", Name: active, Body: []any{true}}, true},
		{"unity", dbus.Signal{Sender: ":1.6", Path: "/com/canonical/Unity/Session", Name: "com.canonical.Unity.Session.Locked"}, true},
		{"inactive", dbus.Signal{Sender: ":1.5", Path: "/ScreenSaver", Name: active, Body: []any{false}}, false},
		{"a word instead", dbus.Signal{Sender: ":1.5", Path: "/ScreenSaver", Name: active, Body: []any{"true"}}, false},
		{"nothing instead", dbus.Signal{Sender: ":1.5", Path: "/ScreenSaver", Name: active}, false},
		{"other path", dbus.Signal{Sender: ":1.5", Path: "/org/example", Name: active, Body: []any{true}}, false},
		{"other interface", dbus.Signal{Sender: ":1.5", Path: "/ScreenSaver", Name: "org.gnome.ScreenSaver.ActiveChanged", Body: []any{true}}, false},
		{"other signal", dbus.Signal{Sender: ":1.5", Path: "/ScreenSaver", Name: "org.freedesktop.ScreenSaver.WakeUpScreen"}, false},
		{"other sender", dbus.Signal{Sender: ":1.7", Path: "/ScreenSaver", Name: active, Body: []any{true}}, false},
		{"owner of another saver's name", dbus.Signal{Sender: ":1.6", Path: "/ScreenSaver", Name: active, Body: []any{true}}, false},
		{"no sender", dbus.Signal{Path: "/ScreenSaver", Name: active, Body: []any{true}}, false},
		{"unity unlocked", dbus.Signal{Sender: ":1.6", Path: "/com/canonical/Unity/Session", Name: "com.canonical.Unity.Session.Unlocked"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := New([]string{"screen_lock"}, nil, noLog())
			g := &saverListener{watcher: w, savers: make(map[string]saver), bus: &messagebus.Conn{Owners: messagebus.Owners{
				"org.freedesktop.ScreenSaver": ":1.5", "com.canonical.Unity": ":1.6", "org.gnome.ScreenSaver": "",
			}}}
			for _, v := range savers() {
				g.savers[v.name] = v
			}
			g.handle(t.Context(), &tt.signal)
			if locks := w.queue.next != nil; locks != tt.locks {
				t.Errorf("locks: %v, want %v", locks, tt.locks)
			}
		})
	}
}
