package messagebus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// Names of the bus itself.
const (
	Daemon       = "org.freedesktop.DBus" // the bus, and its interface
	DaemonPath   = Path("/org/freedesktop/DBus")
	Properties   = "org.freedesktop.DBus.Properties"
	OwnerChanged = Daemon + ".NameOwnerChanged"
)

// Types of the library below, for its users: no other package imports it.
type (
	// Path names an object.
	Path = dbus.ObjectPath
	// Signal is a signal that came.
	Signal = dbus.Signal
	// Call is a call with its answer.
	Call = dbus.Call
	// Sequence orders what came over a connection.
	Sequence = dbus.Sequence
	// Variant is a value with its type.
	Variant = dbus.Variant
	// Error is what a service answered instead of a result.
	Error = dbus.Error
)

// What goes wrong with a bus.
var (
	// ErrNoBus means that nothing takes connections at the address.
	ErrNoBus = errors.New("no bus is there")
	// ErrHung means that the bus, or the program behind it, took longer than the limit.
	ErrHung = errors.New("the desktop does not answer")
	// ErrNoService means that no program owns a name, and that none can be started.
	ErrNoService = errors.New("no such service")

	errNoSocket = errors.New("the address has no unix socket")
)

// MakeVariant wraps a value, which must have a type that D-Bus knows.
func MakeVariant(v any) Variant { return dbus.MakeVariant(v) }

// Trust says where an address comes from.
type Trust int

const (
	// Own is an address of this process's environment, or the usual place. Each of
	// its sockets is tried in order.
	Own Trust = iota
	// Foreign is an address from the environment of another process. Only its first
	// socket is tried, and only if root or this user listens there: the name of a
	// session that has ended is free for every user, who could answer in the
	// person's place.
	Foreign
)

// A Config says how to reach a bus.
type Config struct {
	Address string
	Trust   Trust
	// Limit bounds the opening and each call. Zero means 5 seconds.
	Limit time.Duration
	// Files takes file descriptors that come with answers, for [Conn.TakeFile].
	// A connection that lives long should not have it.
	Files bool
}

// A Conn is a private connection to a bus. Connections that godbus shares within a
// process are never used: go-keyring waits for signals on one, and fails when
// signals of other users of it arrive there or when it is closed.
//
// One goroutine uses a Conn. Those that godbus starts end after [Conn.Close].
type Conn struct {
	// Owners are those of the names that were followed.
	Owners Owners

	conn    *dbus.Conn
	wire    *wire
	limit   time.Duration
	signals chan *Signal
}

// Open connects within the limit, and until ctx ends; the connection then lives until
// [Conn.Close]. What listens at the address may be no bus, or never say anything.
func Open(ctx context.Context, c Config) (*Conn, error) {
	if c.Limit == 0 {
		c.Limit = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, c.Limit)
	defer cancel()
	socket, err := dial(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBus, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.SetDeadline(time.Unix(1, 0)) })
	b := &Conn{
		Owners: make(Owners), wire: &wire{socket: socket, files: c.Files}, limit: c.Limit,
		signals: make(chan *Signal, 16),
	}
	if err := b.greet(); err != nil {
		stop()
		b.Close()
		return nil, err
	}
	if !stop() {
		b.Close()
		return nil, context.Cause(ctx)
	}
	b.conn.Signal(b.signals)
	return b, nil
}

func dial(ctx context.Context, c Config) (*net.UnixConn, error) {
	sockets := Sockets(c.Address)
	if c.Trust == Foreign {
		sockets = sockets[:min(1, len(sockets))]
	}
	err := errNoSocket
	for _, name := range sockets {
		var conn net.Conn
		if conn, err = (&net.Dialer{}).DialContext(ctx, "unix", name); err != nil {
			continue
		}
		socket := conn.(*net.UnixConn)
		if c.Trust == Foreign {
			if err = checkServer(socket); err != nil {
				_ = socket.Close()
				continue
			}
		}
		return socket, nil
	}
	return nil, err
}

func (b *Conn) greet() error {
	// The library sees a plain stream: over a unix socket it would take every file
	// that a stranger sends, and panics on a list of them.
	conn, err := dbus.NewConn(b.wire, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		return err
	}
	b.conn = conn
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		return err
	}
	return conn.Hello()
}

// Close ends the connection and, soon, its goroutines.
func (b *Conn) Close() {
	// The socket first: the library waits for a write that hangs.
	_ = b.wire.Close()
	if b.conn != nil {
		_ = b.conn.Close()
	}
}

// Signals gives the signals in the order of the bus. The channel is closed when the
// connection ends.
func (b *Conn) Signals() <-chan *Signal { return b.signals }

// Name is the unique name of this connection.
func (b *Conn) Name() string { return b.conn.Names()[0] }

// An Object is an object of a program on the bus.
type Object struct {
	Of   string // the program: its unique name, or one that it owns
	Path Path
}

// Call calls a method, "interface.member", and waits at most the limit. It never
// starts a program.
func (b *Conn) Call(ctx context.Context, on Object, method string, args ...any) *Call {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	b.hurry()
	call := b.conn.Object(on.Of, on.Path).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
	if errors.Is(call.Err, context.DeadlineExceeded) {
		call.Err = fmt.Errorf("%s: %w", method, ErrHung)
	}
	return call
}

// Go calls a method without arguments and sends the answer, which may never come, to
// answers. The channel must have room for it.
func (b *Conn) Go(ctx context.Context, on Object, method string, answers chan *Call) {
	b.hurry()
	b.conn.Object(on.Of, on.Path).GoWithContext(ctx, method, dbus.FlagNoAutoStart, answers)
}

// hurry bounds the next write: no context ends one that hangs.
func (b *Conn) hurry() { _ = b.wire.socket.SetWriteDeadline(time.Now().Add(b.limit)) }

// daemon calls a method of the bus itself.
func (b *Conn) daemon(ctx context.Context, method string, args ...any) *Call {
	return b.Call(ctx, Object{Daemon, DaemonPath}, Daemon+"."+method, args...)
}

// Property asks for a property, "interface.name".
func (b *Conn) Property(ctx context.Context, of Object, property string) (any, error) {
	var v Variant
	dot := strings.LastIndexByte(property, '.')
	err := Result(b.Call(ctx, of, Properties+".Get", property[:dot], property[dot+1:]), &v)
	return v.Value(), err
}

// TakeFile gives the file that came with the answer to the last call. The caller
// closes it; those that were not taken are closed with the connection.
func (b *Conn) TakeFile(name string) (*os.File, error) {
	fd, ok := b.wire.take()
	if !ok {
		return nil, errors.New("the answer came without a file")
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Result stores the results of a call, or returns its error.
func Result(c *Call, to ...any) error {
	if c.Err != nil {
		return c.Err
	}
	return Store(c.Body, to...)
}

// Store stores the values of an answer or a signal where to points. The types are
// the sender's choice.
func Store(body []any, to ...any) (err error) {
	defer func() {
		if p := recover(); p != nil { // the library goes through the values by reflection
			err = fmt.Errorf("unexpected values from the bus: %v", p)
		}
	}()
	return dbus.Store(body, to...)
}
