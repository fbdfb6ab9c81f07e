package notification_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/vault-stepup/stepup/messagebus/messagebustest"
	"github.com/vault-stepup/stepup/prompt/notification"
	"github.com/vault-stepup/stepup/prompt/session"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

const (
	notifications     = "org.freedesktop.Notifications"
	notificationsPath = dbus.ObjectPath("/org/freedesktop/Notifications")
)

// A sessionBus is a real one of the test's own.
type sessionBus struct{ *messagebustest.Daemon }

// startBus starts a bus that gives env to the services that it starts.
func startBus(t *testing.T, env ...string) *sessionBus {
	t.Helper()
	return &sessionBus{messagebustest.NewDaemon(t, env...)}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// notifier has more patience than people: a busy machine takes its time.
func (b *sessionBus) notifier() *notification.Prompter {
	return notification.New(notification.Config{Limit: patience, Bus: sessionAt("DBUS_SESSION_BUS_ADDRESS=" + b.Address).FindBus})
}

// hasty has the limit that people get, for a desktop that hangs.
func (b *sessionBus) hasty() *notification.Prompter {
	return notification.New(notification.Config{Bus: sessionAt("DBUS_SESSION_BUS_ADDRESS=" + b.Address).FindBus})
}

// sessionAt is a session with these variables, not one of this machine.
func sessionAt(env ...string) session.Finder {
	return session.Finder{
		Proc:            "/nonexistent",
		UserEnvironment: func(context.Context) (string, error) { return "", errors.New("no systemd") },
		Environ:         func() []string { return env },
	}
}

// A popup is one call of Notify.
type popup struct {
	Sender  string
	ID      uint32 // that it got
	App     string
	Instead uint32 // replaces_id
	Icon    string
	Title   string
	Body    string
	Actions []string
	Hints   map[string]dbus.Variant
	Expiry  int32
}

// key is the key of the button with a label.
func (p popup) key(t *testing.T, label string) string {
	t.Helper()
	for i := 0; i+1 < len(p.Actions); i += 2 {
		if p.Actions[i+1] == label && p.Actions[i] != "default" {
			return p.Actions[i]
		}
	}
	t.Fatalf("no button %q in %q", label, p.Actions)
	return ""
}

// labels are those of the buttons that a server shows.
func (p popup) labels() []string {
	labels := []string{}
	for i := 0; i+1 < len(p.Actions); i += 2 {
		if p.Actions[i] != "default" {
			labels = append(labels, p.Actions[i+1])
		}
	}
	return labels
}

// A desktop is a notification server without a screen.
type desktop struct {
	conn   *dbus.Conn
	shown  chan popup // its number has been sent to the caller
	closed chan uint32
}

// An outbox gives the messages of a connection their numbers, and shows a popup
// when the answer with its number is out: godbus sends that in a goroutine of its
// own, and a signal about the popup could overtake it.
type outbox struct {
	shown chan popup

	mu      sync.Mutex
	last    uint32
	popups  map[uint32]popup // by their own numbers
	answers map[uint32]popup // by those of the messages
}

func newOutbox() *outbox {
	return &outbox{shown: make(chan popup, 100), popups: make(map[uint32]popup), answers: make(map[uint32]popup)}
}

func (o *outbox) add(p popup) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.popups[p.ID] = p
}

// GetSerial implements dbus.SerialGenerator.
func (o *outbox) GetSerial() uint32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last++
	return o.last
}

// leaves sees each message before it is sent.
func (o *outbox) leaves(m *dbus.Message) {
	if m.Type != dbus.TypeMethodReply || len(m.Body) != 1 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if id, ok := m.Body[0].(uint32); ok {
		o.answers[m.Serial()] = o.popups[id]
	}
}

// RetireSerial implements dbus.SerialGenerator: an answer has been sent.
func (o *outbox) RetireSerial(serial uint32) {
	o.mu.Lock()
	p, ok := o.answers[serial]
	delete(o.answers, serial)
	o.mu.Unlock()
	if ok {
		o.shown <- p
	}
}

// startDesktop puts a server on the bus. hang names the method that is never
// answered, "" means none.
func startDesktop(t *testing.T, b *sessionBus, capabilities []string, hang string) *desktop {
	t.Helper()
	out := newOutbox()
	conn := b.Connect(t, dbus.WithSerialGenerator(out), dbus.WithOutgoingInterceptor(out.leaves))
	d := &desktop{conn: conn, shown: out.shown, closed: make(chan uint32, 100)}
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	wait := func(method string) {
		if method == hang {
			<-ended
		}
	}
	var mu sync.Mutex
	last := uint32(6)
	must(t, d.conn.ExportMethodTable(map[string]any{
		"GetCapabilities": func() ([]string, *dbus.Error) {
			wait("GetCapabilities")
			return capabilities, nil
		},
		"GetServerInformation": func() (name, vendor, version, specification string, err *dbus.Error) {
			if slices.Equal(capabilities, gnome()) {
				return "gnome-shell", "GNOME", "48.7", "1.2", nil
			}
			return "test", "test", "1", "1.2", nil
		},
		"Notify": func(m dbus.Message, app string, instead uint32, icon, title, body string, actions []string, hints map[string]dbus.Variant, expiry int32) (uint32, *dbus.Error) {
			id := instead
			if id == 0 {
				mu.Lock()
				last++
				id = last
				mu.Unlock()
			}
			sender, _ := m.Headers[dbus.FieldSender].Value().(string)
			out.add(popup{sender, id, app, instead, icon, title, body, actions, hints, expiry})
			wait("Notify")
			return id, nil
		},
		"CloseNotification": func(id uint32) *dbus.Error {
			d.closed <- id
			wait("CloseNotification")
			d.emit("NotificationClosed", id, uint32(3))
			return nil
		},
	}, notificationsPath, notifications))
	_, err := d.conn.RequestName(notifications, dbus.NameFlagDoNotQueue)
	must(t, err)
	return d
}

func (d *desktop) emit(signal string, args ...any) {
	_ = d.conn.Emit(notificationsPath, notifications+"."+signal, args...)
}

// press emits what a press on a button does.
func (d *desktop) press(t *testing.T, p popup, label string) {
	t.Helper()
	d.emit("ActionInvoked", p.ID, p.key(t, label))
	d.emit("NotificationClosed", p.ID, uint32(2))
}
