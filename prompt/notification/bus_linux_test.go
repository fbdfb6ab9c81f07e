package notification_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gen2brain/beeep"
	"github.com/godbus/dbus/v5"
	"github.com/zalando/go-keyring"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/notification"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// The address may come from another process's environment; what listens there
// need not be a bus.
func TestSomethingElseThanABus(t *testing.T) {
	t.Parallel()
	signal := func(member string, body ...any) *dbus.Message {
		m := &dbus.Message{Type: dbus.TypeSignal, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldSender: dbus.MakeVariant("org.freedesktop.DBus"), dbus.FieldPath: dbus.MakeVariant(dbus.ObjectPath("/")),
			dbus.FieldInterface: dbus.MakeVariant("org.freedesktop.DBus"), dbus.FieldMember: dbus.MakeVariant(member),
		}}
		if len(body) > 0 {
			m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
		}
		return m
	}
	for name, serve := range map[string]func(net.Conn, *bufio.Reader){
		"says nothing":  func(_ net.Conn, in *bufio.Reader) { _, _ = in.ReadString(0xff) },
		"leaves":        func(net.Conn, *bufio.Reader) {},
		"talks of HTTP": func(c net.Conn, _ *bufio.Reader) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
		"knows no way to log in": func(c net.Conn, in *bufio.Reader) {
			_, _ = in.ReadString('\n')
			_, _ = c.Write([]byte("REJECTED\r\n"))
		},
		"is silent after the login":  func(c net.Conn, in *bufio.Reader) { admit(c, in); _, _ = in.ReadString(0xff) },
		"takes no name from us":      func(c net.Conn, in *bufio.Reader) { admit(c, in, signal("NameLost")) },
		"takes a number from us":     func(c net.Conn, in *bufio.Reader) { admit(c, in, signal("NameLost", uint32(1))) },
		"gives us no name":           func(c net.Conn, in *bufio.Reader) { admit(c, in, signal("NameAcquired")) },
		"gives us a list for a name": func(c net.Conn, in *bufio.Reader) { admit(c, in, signal("NameAcquired", []string{"a"}, "b")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := listen(t, serve)
			n := notification.New(notification.Config{Limit: 500 * time.Millisecond, Bus: blindly(address)})
			askNotifier(t.Context(), n, prompttest.Request(prompt.Push)).want(t, "", prompt.ErrUnavailable)
		})
	}
	t.Run("withdrawn meanwhile", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		address := listen(t, func(_ net.Conn, in *bufio.Reader) {
			_, _ = in.ReadString('\n')
			cancel()
			_, _ = in.ReadString(0xff)
		})
		n := notification.New(notification.Config{Limit: time.Hour, Bus: blindly(address)})
		askNotifier(ctx, n, prompttest.Request(prompt.Push)).want(t, "", context.Canceled)
	})
}

// blindly finds a bus that is not tried first.
func blindly(address string) func(context.Context, prompt.Requester) (string, error) {
	c := sessionAt("DBUS_SESSION_BUS_ADDRESS=" + address)
	c.Reachable = func(context.Context, string, string) bool { return true }
	return c.FindBus
}

// listen serves connections and returns where, as a D-Bus address.
func listen(t *testing.T, serve func(net.Conn, *bufio.Reader)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bus")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", dir+"/bus")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c, bufio.NewReader(c))
			}()
		}
	}()
	return "unix:path=" + dir + "/bus"
}

// admit lets a client in and sends it messages.
func admit(c net.Conn, in *bufio.Reader, messages ...*dbus.Message) {
	for {
		line, err := in.ReadString('\n')
		switch {
		case err != nil:
			return
		case strings.HasPrefix(line, "AUTH EXTERNAL"):
			_, _ = c.Write([]byte("OK 0123456789abcdef0123456789abcdef\r\n"))
		case strings.HasPrefix(line, "BEGIN"):
			for _, m := range messages {
				_ = m.EncodeTo(c, binary.LittleEndian)
			}
			return
		default:
			_, _ = c.Write([]byte("REJECTED EXTERNAL\r\n"))
		}
	}
}

// TestConnectionIsOurOwn puts go-keyring and beeep, which both use the connection that
// godbus shares within a process, beside a notification: beeep used to close it
// (gen2brain/beeep#73), and go-keyring takes any signal there for the one that it
// waits for. Not parallel: both find the bus by the environment of this process.
func TestConnectionIsOurOwn(t *testing.T) {
	f := newFixture(t, modern())
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", f.Address)
	secrets := startSecrets(t, f.sessionBus)

	open := f.ask(t.Context(), prompt.Confirm)
	p := <-f.shown
	must(t, beeep.Notify("beside", "it", ""))
	<-f.shown
	f.press(t, p, "Allow")
	open.want(t, "yes", nil)

	got := make(chan error, 1)
	go func() { _, err := keyring.Get("stepup", "alice"); got <- err }()
	<-secrets.prompted // it waits for a signal now
	for range 3 {
		a := f.ask(t.Context(), prompt.Confirm)
		f.press(t, <-f.shown, "Deny")
		a.want(t, "", prompt.ErrDenied)
	}
	shared, err := dbus.SessionBus()
	must(t, err)
	flushSignals(t, f.conn, popup{Sender: shared.Names()[0]})
	select {
	case err := <-got:
		t.Fatalf("go-keyring took our signals for its own: %v", err)
	default:
	}
	secrets.unlock(t)
	if err := <-got; !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("go-keyring: %v, want ErrNotFound", err)
	}
	must(t, shared.Close())
}

// A secretService has one locked collection without items.
type secretService struct {
	conn     *dbus.Conn
	prompted chan struct{}
}

const (
	secretsName = "org.freedesktop.secrets"
	loginPath   = dbus.ObjectPath("/org/freedesktop/secrets/collection/login")
	unlockPath  = dbus.ObjectPath("/org/freedesktop/secrets/prompt/1")
)

func startSecrets(t *testing.T, b *sessionBus) *secretService {
	t.Helper()
	s := &secretService{conn: b.Connect(t), prompted: make(chan struct{}, 1)}
	for _, o := range []struct {
		path    dbus.ObjectPath
		iface   string
		methods map[string]any
	}{
		{"/org/freedesktop/secrets", "org.freedesktop.Secret.Service", map[string]any{
			"Unlock": func([]dbus.ObjectPath) ([]dbus.ObjectPath, dbus.ObjectPath, *dbus.Error) {
				return []dbus.ObjectPath{}, unlockPath, nil
			},
		}},
		{"/org/freedesktop/secrets", "org.freedesktop.DBus.Properties", map[string]any{
			"Get": func(_, _ string) (dbus.Variant, *dbus.Error) {
				return dbus.MakeVariant([]dbus.ObjectPath{loginPath}), nil
			},
		}},
		{loginPath, "org.freedesktop.Secret.Collection", map[string]any{
			"SearchItems": func(map[string]string) ([]dbus.ObjectPath, *dbus.Error) { return []dbus.ObjectPath{}, nil },
		}},
		{unlockPath, "org.freedesktop.Secret.Prompt", map[string]any{
			"Prompt": func(string) *dbus.Error { s.prompted <- struct{}{}; return nil },
		}},
	} {
		must(t, s.conn.ExportMethodTable(o.methods, o.path, o.iface))
	}
	_, err := s.conn.RequestName(secretsName, dbus.NameFlagDoNotQueue)
	must(t, err)
	return s
}

func (s *secretService) unlock(t *testing.T) {
	t.Helper()
	must(t, s.conn.Emit(unlockPath, "org.freedesktop.Secret.Prompt.Completed", false, dbus.MakeVariant([]dbus.ObjectPath{loginPath})))
}
