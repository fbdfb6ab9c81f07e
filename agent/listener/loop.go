package listener

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/vault-stepup/stepup/agent/peer"
)

// A Loop knows the connections that the agent has opened to its upstreams. A
// guard that meets one of them at the accepting side has found the agent talking
// to itself. No header is needed for that, so that nothing is added to what Vault
// gets. The zero value is ready; all listeners and upstreams share one.
type Loop struct {
	// Dialer makes the connections.
	Dialer net.Dialer

	mu sync.Mutex
	// open holds the outgoing connections, as remote ends by local end. Unix
	// sockets that dial have no name, so theirs are under "".
	open map[string][]string
}

// Dial connects as net.Dialer does and remembers the connection until it is
// closed. It is meant for the DialContext of a transport.
func (l *Loop) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := l.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	local, remote := endName(c.LocalAddr()), endName(c.RemoteAddr())
	l.add(local, remote)
	forget := sync.OnceFunc(func() { l.remove(local, remote) })
	switch c := c.(type) {
	case *net.TCPConn:
		return &dialedTCP{c, forget}, nil
	case *net.UnixConn:
		return &dialedUnix{c, forget}, nil
	}
	return &dialed{c, forget}, nil
}

// The types of Dial's connections keep the methods of what they wrap: half
// closing and sending files without copying depend on them.
type (
	dialedTCP struct {
		*net.TCPConn
		forget func()
	}
	dialedUnix struct {
		*net.UnixConn
		forget func()
	}
	dialed struct {
		net.Conn
		forget func()
	}
)

// Close implements net.Conn.
func (d *dialedTCP) Close() error { defer d.forget(); return d.TCPConn.Close() }

// Close implements net.Conn.
func (d *dialedUnix) Close() error { defer d.forget(); return d.UnixConn.Close() }

// Close implements net.Conn.
func (d *dialed) Close() error { defer d.forget(); return d.Conn.Close() }

func (l *Loop) add(local, remote string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = make(map[string][]string)
	}
	l.open[local] = append(l.open[local], remote)
}

func (l *Loop) remove(local, remote string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ends := l.open[local]
	if i := slices.Index(ends, remote); i >= 0 {
		ends = slices.Delete(ends, i, i+1)
	}
	if len(ends) == 0 {
		delete(l.open, local)
		return
	}
	l.open[local] = ends
}

// contains reports whether c is the other side of one of our own connections. A
// nil Loop has none.
func (l *Loop) contains(c *peer.Conn) bool {
	if l == nil {
		return false
	}
	local, remote := endName(c.LocalAddr()), endName(c.RemoteAddr())
	l.mu.Lock()
	same := slices.Contains(l.open[remote], local)
	l.mu.Unlock()
	if remote != "" {
		// Both ends must be the same: a program may have the port that we use
		// towards another host. A connection that a packet filter sent back to us
		// has another far end, too, and its owner is not found.
		return same
	}
	// Every unix client is nameless: it is ours if the process is. A program that
	// runs the agent inside may use its sockets as long as no upstream of its own
	// is the same socket.
	return same && c.Self()
}

// endName is an address in one spelling; "" for a nameless one.
func endName(a net.Addr) string {
	switch a := a.(type) {
	case *net.TCPAddr:
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()
	case *net.UnixAddr:
		if a == nil || a.Name == "@" {
			return ""
		}
		return a.Name
	case nil:
		return ""
	}
	return a.String()
}
