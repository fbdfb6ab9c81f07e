package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	busDaemon     = "org.freedesktop.DBus"
	busDaemonPath = dbus.ObjectPath("/org/freedesktop/DBus")
	busProperties = "org.freedesktop.DBus.Properties"
	ownerChanged  = "NameOwnerChanged"
)

var (
	errBusClosed  = errors.New("the bus closed the connection")
	errBusAddress = errors.New("no unix socket in the bus address")
)

// busAddresses returns where the two buses are expected.
func busAddresses(getenv func(string) string, uid int) (system, session string) {
	system, session = getenv("DBUS_SYSTEM_BUS_ADDRESS"), getenv("DBUS_SESSION_BUS_ADDRESS")
	if system == "" {
		system = "unix:path=/run/dbus/system_bus_socket"
	}
	if session == "" || session == "autolaunch:" { // a bus of our own would tell nothing
		dir := getenv("XDG_RUNTIME_DIR")
		if dir == "" {
			dir = "/run/user/" + strconv.Itoa(uid)
		}
		session = "unix:path=" + dbus.EscapeBusAddressValue(dir+"/bus")
	}
	return system, session
}

// busSockets lists the unix sockets of a D-Bus address, in order, as net names
// them. Other transports are left out: a connect to them may hang, and nobody
// has a login manager or a screen saver at the other end of TCP.
func busSockets(address string) []string {
	var sockets []string
	for one := range strings.SplitSeq(address, ";") {
		pairs, ok := strings.CutPrefix(one, "unix:")
		if !ok {
			continue
		}
		for pair := range strings.SplitSeq(pairs, ",") {
			key, escaped, _ := strings.Cut(pair, "=")
			value, err := dbus.UnescapeBusAddressValue(escaped)
			switch {
			case err != nil || value == "":
			case key == "path" && value[0] == '/': // net would take @name for an abstract one
				sockets = append(sockets, value)
			case key == "abstract":
				sockets = append(sockets, "@"+value)
			}
		}
	}
	return sockets
}

// dialBus connects to the first socket of address that answers.
func dialBus(ctx context.Context, address string) (*net.UnixConn, error) {
	err := errBusAddress
	for _, socket := range busSockets(address) {
		var d net.Dialer
		var c net.Conn
		if c, err = d.DialContext(ctx, "unix", socket); err == nil {
			return c.(*net.UnixConn), nil
		}
	}
	return nil, err
}

// A bus is a private connection that hears signals of the owners of some names.
// One goroutine uses it. godbus's shared connections are not touched: whoever
// closes one takes it away from everybody else in the process.
type bus struct {
	conn    *dbus.Conn
	signals chan *dbus.Signal // in the order they were sent; closed with the connection
	close   func()

	// owners are the unique names behind the names that were followed, "" for
	// none. The daemon fills in a signal's sender, nobody can forge it; but it
	// also delivers what others send to us alone, whatever we subscribed to.
	owners map[string]string
}

// openBus connects and follows names, within busPatience. The connection ends
// with ctx.
func openBus(ctx context.Context, address string, names ...string) (*bus, error) {
	ctx, cancel := context.WithCancel(ctx)
	limit := time.AfterFunc(busPatience, cancel) // a bus may take a connection and say nothing
	defer limit.Stop()
	socket, err := dialBus(ctx, address)
	if err != nil {
		cancel()
		return nil, err
	}
	// As a plain stream the connection does not agree to take file descriptors.
	// Otherwise any user could send us signals with some until we have no more.
	conn, err := dbus.NewConn(socket, dbus.WithContext(ctx), dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		cancel()
		return nil, errors.Join(err, socket.Close())
	}
	b := &bus{
		conn: conn, signals: make(chan *dbus.Signal, 16), owners: make(map[string]string),
		close: func() { _ = conn.Close(); cancel() },
	}
	if err := b.begin(ctx, names); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bus) begin(ctx context.Context, names []string) error {
	if err := b.conn.Auth(nil); err != nil {
		return err
	}
	if err := b.conn.Hello(); err != nil {
		return err
	}
	b.conn.Signal(b.signals)
	for _, name := range names {
		if err := b.follow(ctx, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// follow subscribes to changes first and asks then, so that none is missed.
func (b *bus) follow(ctx context.Context, name string) error {
	err := b.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(busDaemon), dbus.WithMatchInterface(busDaemon),
		dbus.WithMatchMember(ownerChanged), dbus.WithMatchArg(0, name))
	if err != nil {
		return err
	}
	var owner string
	err = b.conn.BusObject().CallWithContext(ctx, busDaemon+".GetNameOwner", 0, name).Store(&owner)
	var none dbus.Error
	if err != nil && (!errors.As(err, &none) || none.Name != "org.freedesktop.DBus.Error.NameHasNoOwner") {
		return err
	}
	b.owners[name] = owner
	return nil
}

// subscribe asks for a signal of whoever owns name.
func (b *bus) subscribe(ctx context.Context, name string, options ...dbus.MatchOption) error {
	return b.conn.AddMatchSignalContext(ctx, append(options, dbus.WithMatchSender(name))...)
}

// newOwner takes in the news that a followed name has a new owner, or none, and
// returns the name; "" for every other signal.
func (b *bus) newOwner(s *dbus.Signal) string {
	if s.Sender != busDaemon || s.Path != busDaemonPath || s.Name != busDaemon+"."+ownerChanged {
		return ""
	}
	var name, was, is string
	if dbus.Store(s.Body, &name, &was, &is) != nil {
		return ""
	}
	if _, followed := b.owners[name]; !followed {
		return ""
	}
	b.owners[name] = is
	return name
}

// from reports whether the owner of name sent s. On the system bus any user may
// send any signal: without this a stranger could make us forget all day long.
func (b *bus) from(name string, s *dbus.Signal) bool {
	owner := b.owners[name]
	return owner != "" && s.Sender == owner
}

// property asks the owner of name, without starting one, within busPatience.
func (b *bus) property(ctx context.Context, name string, path dbus.ObjectPath, property string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, busPatience)
	defer cancel()
	dot := strings.LastIndexByte(property, '.')
	var v dbus.Variant
	err := b.conn.Object(name, path).CallWithContext(ctx, busProperties+".Get", dbus.FlagNoAutoStart, property[:dot], property[dot+1:]).Store(&v)
	return v.Value(), err
}
