package notification

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

const busName = "org.freedesktop.DBus"

// A bus is a private connection to a session bus. go-keyring waits for signals on
// the connection that godbus shares within a process, and ends when somebody else's
// arrive there or when it is closed.
type bus struct {
	conn    *dbus.Conn
	socket  net.Conn
	limit   time.Duration     // of each call
	signals chan *dbus.Signal // in the order of the bus; closed with the connection
}

// dialBus connects to a bus within the limit. Its address may come from another
// process's environment, so what is there need not be a bus.
func dialBus(ctx context.Context, address string, limit time.Duration) (*bus, error) {
	name, ok := busSocket(address)
	if !ok {
		return nil, errors.New("the address of the session bus is no unix socket")
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	socket, err := (&net.Dialer{}).DialContext(ctx, "unix", name)
	if err != nil {
		return nil, err
	}
	// What listens there may never say anything.
	unhang := context.AfterFunc(ctx, func() { _ = socket.SetDeadline(time.Unix(1, 0)) })
	conn, err := greet(socket)
	if err != nil {
		unhang()
		_ = socket.Close()
		return nil, err
	}
	b := &bus{conn: conn, socket: socket, limit: limit, signals: make(chan *dbus.Signal, 16)}
	conn.Signal(b.signals)
	if !unhang() {
		b.close()
		return nil, context.Cause(ctx)
	}
	return b, nil
}

func greet(socket net.Conn) (*dbus.Conn, error) {
	// Not DialUnix: a stranger on the bus could send us files until we have too many open.
	conn, err := dbus.NewConn(socket, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()), dbus.WithIncomingInterceptor(tame))
	if err != nil {
		return nil, err
	}
	if err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err == nil {
		err = conn.Hello()
	}
	if err != nil {
		// The socket first: conn waits for a write that hangs.
		_ = socket.Close()
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// tame keeps something that only claims to be a bus from ending this process:
// godbus panics on these two signals when their body is not what a bus sends.
func tame(m *dbus.Message) {
	if m.Type != dbus.TypeSignal {
		return
	}
	switch member, _ := m.Headers[dbus.FieldMember].Value().(string); member {
	case "NameLost", "NameAcquired":
		if len(m.Body) > 0 {
			if _, ok := m.Body[0].(string); ok {
				return
			}
		}
		m.Body = []any{""}
	}
}

// call calls a method and waits at most the limit. It never starts a service.
func (b *bus) call(ctx context.Context, on dbus.BusObject, method string, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	// The context does not end a write that hangs.
	_ = b.socket.SetWriteDeadline(time.Now().Add(b.limit))
	call := on.CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
	if errors.Is(call.Err, context.DeadlineExceeded) {
		call.Err = fmt.Errorf("%s: %w", method, errHung)
	}
	return call
}

// owner finds the unique name of the program that owns a well-known name, and
// has the bus start it if there is none.
func (b *bus) owner(ctx context.Context, name string) (string, error) {
	var owner string
	daemon := b.conn.BusObject()
	if b.call(ctx, daemon, busName+".GetNameOwner", name).Store(&owner) == nil {
		return owner, nil
	}
	if err := b.call(ctx, daemon, busName+".StartServiceByName", name, uint32(0)).Err; err != nil {
		return "", err
	}
	err := b.call(ctx, daemon, busName+".GetNameOwner", name).Store(&owner)
	return owner, err
}

// listen asks the bus for an interface's signals of one program, and for the
// news that the program has left the bus.
func (b *bus) listen(ctx context.Context, owner, iface string) error {
	for _, rule := range []string{
		"type='signal',sender='" + owner + "',interface='" + iface + "'",
		"type='signal',sender='" + busName + "',member='NameOwnerChanged',arg0='" + owner + "'",
	} {
		if err := b.call(ctx, b.conn.BusObject(), busName+".AddMatch", rule).Err; err != nil {
			return err
		}
	}
	return nil
}

func (b *bus) close() {
	// The socket first: conn waits for a write that hangs.
	_ = b.socket.Close()
	_ = b.conn.Close()
}

// busSocket returns the first unix socket of a D-Bus address that session.Finder has
// worded, as package net names it.
func busSocket(address string) (socket string, ok bool) {
	key, escaped, _ := strings.Cut(strings.TrimPrefix(address, "unix:"), "=")
	value, err := url.PathUnescape(escaped)
	if key == "abstract" {
		value = "@" + value
	}
	return value, err == nil && strings.HasPrefix(address, "unix:")
}
