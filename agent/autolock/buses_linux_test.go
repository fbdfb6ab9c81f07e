package autolock

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/vault-stepup/stepup/messagebus"
	"github.com/vault-stepup/stepup/messagebus/messagebustest"
)

// receive takes what must come; the limit is for tests that fail.
func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(30 * time.Second):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// connect gives a connection that sees signals in their order.
func connect(t *testing.T, bus *messagebustest.Daemon) *dbus.Conn {
	t.Helper()
	return bus.Connect(t, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
}

// own takes a name, which must not have another owner.
func own(t *testing.T, conn *dbus.Conn, name string) {
	t.Helper()
	reply, err := conn.RequestName(name, dbus.NameFlagDoNotQueue)
	must(t, err)
	if reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("%s has another owner", name)
	}
}

// flush returns when the bus has passed on what conn sent before.
func flush(t *testing.T, conn *dbus.Conn) {
	t.Helper()
	must(t, conn.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err)
}

// sendTo sends a signal to one connection, whatever that subscribed to.
func sendTo(t *testing.T, conn *dbus.Conn, to string, s *dbus.Signal) {
	t.Helper()
	dot := strings.LastIndexByte(s.Name, '.')
	m := &dbus.Message{Type: dbus.TypeSignal, Body: s.Body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(to),
		dbus.FieldPath:        dbus.MakeVariant(s.Path),
		dbus.FieldInterface:   dbus.MakeVariant(s.Name[:dot]),
		dbus.FieldMember:      dbus.MakeVariant(s.Name[dot+1:]),
	}}
	if len(s.Body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(s.Body...))
	}
	must(t, conn.Send(m, make(chan *dbus.Call, 1)).Err)
	flush(t, conn)
}

// A fakeLogind is the part of logind that a watcher uses.
type fakeLogind struct {
	conn  *dbus.Conn
	taken chan *fakeInhibitor // told when the caller has it
	asked chan dbus.Sender    // for the sessions

	mu       sync.Mutex
	refuse   bool
	falling  bool
	pending  map[string]*fakeInhibitor // by connection
	sessions map[dbus.ObjectPath]fakeSession
}

type fakeSession struct {
	uid    uint32
	locked bool
}

const (
	ourSession   = dbus.ObjectPath("/org/freedesktop/login1/session/_31")
	otherSession = dbus.ObjectPath("/org/freedesktop/login1/session/_32")
)

// newLogind prepares one; it serves when it owns its name.
func newLogind(t *testing.T, p *messagebustest.Daemon) *fakeLogind {
	t.Helper()
	f := &fakeLogind{
		conn: connect(t, p), taken: make(chan *fakeInhibitor, 100), asked: make(chan dbus.Sender, 100),
		pending: make(map[string]*fakeInhibitor),
		sessions: map[dbus.ObjectPath]fakeSession{
			ourSession:   {uid: uint32(os.Getuid())},
			otherSession: {uid: uint32(os.Getuid()) + 1, locked: true},
		},
	}
	must(t, f.conn.Export(f, login1Path, login1Manager))
	must(t, f.conn.Export(fakeProperties(f.managerProperty), login1Path, messagebus.Properties))
	for path := range f.sessions {
		must(t, f.conn.Export(fakeProperties(func(name string) any { return f.sessionProperty(path, name) }), path, messagebus.Properties))
	}
	must(t, f.conn.AddMatchSignal(dbus.WithMatchInterface(messagebus.Daemon), dbus.WithMatchMember("NameOwnerChanged")))
	signals := make(chan *dbus.Signal, 10)
	f.conn.Signal(signals)
	go func() { // ends with the connection
		for s := range signals {
			if s.Name == messagebus.OwnerChanged && s.Body[2] == "" {
				f.delivered(s.Body[0].(string))
			}
		}
	}()
	return f
}

func startLogind(t *testing.T, p *messagebustest.Daemon) *fakeLogind {
	t.Helper()
	f := newLogind(t, p)
	own(t, f.conn, login1)
	return f
}

type fakeProperties func(name string) any

func (f fakeProperties) Get(_, name string) (dbus.Variant, *dbus.Error) {
	if v := f(name); v != nil {
		return dbus.MakeVariant(v), nil
	}
	return dbus.Variant{}, dbus.MakeFailedError(errors.New("no such property"))
}

func (f *fakeLogind) managerProperty(name string) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	if name == "PreparingForSleep" {
		return f.falling
	}
	return nil
}

func (f *fakeLogind) sessionProperty(path dbus.ObjectPath, name string) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch s := f.sessions[path]; name {
	case "User":
		return struct {
			UID  uint32
			Path dbus.ObjectPath
		}{s.uid, "/org/freedesktop/login1/user/_1"}
	case "LockedHint":
		return s.locked
	}
	return nil
}

func (f *fakeLogind) ListSessions(sender dbus.Sender) ([]struct {
	ID   string
	UID  uint32
	User string
	Seat string
	Path dbus.ObjectPath
}, *dbus.Error,
) {
	defer func() { f.asked <- sender }()
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []struct {
		ID   string
		UID  uint32
		User string
		Seat string
		Path dbus.ObjectPath
	}
	for path, s := range f.sessions {
		all = append(all, struct {
			ID   string
			UID  uint32
			User string
			Seat string
			Path dbus.ObjectPath
		}{"1", s.uid, "somebody", "seat0", path})
	}
	return all, nil
}

// A fakeInhibitor is logind's end of an inhibitor.
type fakeInhibitor struct {
	call        string
	read, write *os.File
	released    chan struct{}
}

func (f *fakeLogind) Inhibit(sender dbus.Sender, what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse {
		return 0, dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"no"})
	}
	i := &fakeInhibitor{call: strings.Join([]string{what, who, why, mode}, ", "), released: make(chan struct{})}
	var err error
	if i.read, i.write, err = os.Pipe(); err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	f.pending[string(sender)] = i
	return dbus.UnixFD(i.write.Fd()), nil
}

// delivered closes our copy of the descriptor when the caller has left
// the bus, and so has its own.
func (f *fakeLogind) delivered(sender string) {
	f.mu.Lock()
	i := f.pending[sender]
	delete(f.pending, sender)
	f.mu.Unlock()
	if i == nil {
		return
	}
	_ = i.write.Close()
	go func() { // ends with the watcher
		_, _ = i.read.Read(make([]byte, 1))
		close(i.released)
		_ = i.read.Close()
	}()
	f.taken <- i
}

// held looks without waiting.
func (i *fakeInhibitor) held() bool {
	raw, err := i.read.SyscallConn()
	if err != nil {
		return false
	}
	held := false
	_ = raw.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		for errors.Is(err, syscall.EINTR) {
			n, err = unix.Poll(poll, 0)
		}
		held = n == 0
	})
	return held
}

func (f *fakeLogind) emit(t *testing.T, path dbus.ObjectPath, name string, body ...any) {
	t.Helper()
	must(t, f.conn.Emit(path, name, body...))
}

func hint(name string, value any) []any {
	return []any{login1Session, map[string]dbus.Variant{name: dbus.MakeVariant(value)}, []string{}}
}

// A fixture is a watcher that runs on a fake bus and tells each lock and each line of its log.
type fixture struct {
	*Watcher
	reasons chan string
	lines   lineWriter
	stop    func() // ends it and waits
}

type lineWriter chan string

// Write implements io.Writer.
func (w lineWriter) Write(p []byte) (int, error) { w <- string(p); return len(p), nil }

// newFixture makes a Watcher that [fixture.start] starts.
func newFixture(p *messagebustest.Daemon, on ...string) *fixture {
	r := &fixture{reasons: make(chan string, 100), lines: make(lineWriter, 1000)}
	r.Watcher = New(on, func(reason string) { r.reasons <- reason }, slog.New(slog.NewTextHandler(r.lines, nil)))
	r.sources = busSources(r.Watcher, p.Address, p.Address)
	r.retryMin = time.Millisecond
	return r
}

func (r *fixture) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { r.Run(ctx); close(ended) }()
	r.stop = func() { cancel(); receive(t, ended, "the end of the watcher") }
	t.Cleanup(r.stop)
}

// line waits for a line of the log and returns it; lines before it are passed to seen.
func (r *fixture) line(t *testing.T, with string) (seen []string) {
	t.Helper()
	for {
		line := receive(t, r.lines, "a line with "+with)
		seen = append(seen, line)
		if strings.Contains(line, with) {
			return seen
		}
	}
}

func (r *fixture) wantReason(t *testing.T, want string) {
	t.Helper()
	if got := receive(t, r.reasons, "a lock"); got != want {
		t.Fatalf("locked because %q, want %q", got, want)
	}
}
