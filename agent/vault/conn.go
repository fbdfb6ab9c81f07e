package vault

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A conn is a connection towards Vault that knows what was sent and heard on it.
type conn struct {
	net.Conn
	forget  func()
	started atomic.Int64 // bytes that were sent, or were about to be
	last    atomic.Int64 // when the server was heard, in nanoseconds of the wall clock
	closed  atomic.Bool

	mu  sync.Mutex
	end *ending
}

// An ending is what is known of a connection's last moment.
type ending struct {
	counts
	closed bool // the server's side had closed it
}

// counts are what the system has counted on a TCP connection. known is false where it
// does not count.
type counts struct {
	known         bool
	acknowledged  int64 // bytes that the other side has got
	retransmitted uint32
	closed        bool // the other side has closed it
}

func newConn(inner net.Conn) *conn {
	c := &conn{Conn: inner}
	c.hear()
	return c
}

func (c *conn) hear() { c.last.Store(time.Now().UnixNano()) }

// silence is how long the server was not heard.
func (c *conn) silence(now time.Time) time.Duration {
	return now.Round(0).Sub(time.Unix(0, c.last.Load())).Abs()
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.hear()
	}
	if err != nil {
		c.note(err)
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	c.started.Add(int64(len(p)))
	n, err := c.Conn.Write(p)
	if err != nil {
		c.note(err)
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.note(nil)
		defer c.forget()
	}
	return c.Conn.Close()
}

// note keeps the first that ended the connection.
func (c *conn) note(err error) {
	if ne, ok := errors.AsType[net.Error](err); errors.Is(err, net.ErrClosed) || ok && ne.Timeout() && !errors.Is(err, syscall.ETIMEDOUT) {
		return // a deadline, or the second of two
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end != nil {
		return
	}
	n := readCounts(c.Conn)
	c.end = &ending{counts: n, closed: err == io.EOF || err == nil && n.closed}
}

// ending is how the connection ended, nothing while it has not.
func (c *conn) ending() ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end == nil {
		return ending{}
	}
	return *c.end
}

// over reports whether nothing can be sent any more.
func (c *conn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end != nil || c.closed.Load()
}

// keepAlive has the system notice a server that does not answer. What cannot be set is
// not, as on a unix socket.
func keepAlive(c net.Conn) {
	if c, ok := c.(interface {
		SetKeepAliveConfig(config net.KeepAliveConfig) error
	}); ok {
		_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: pingAfter, Interval: pingTimeout / 2, Count: 2})
	}
	if c, ok := c.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			_ = raw.Control(setSendTimeout)
		}
	}
}

// route is the address from which the system would send to remote now, not valid for what is
// on this computer. It sends nothing.
func route(remote net.Addr) netip.Addr {
	to, ok := remote.(*net.TCPAddr)
	if !ok || to.IP.IsLoopback() {
		return netip.Addr{}
	}
	c, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: to.IP, Port: to.Port, Zone: to.Zone})
	if err != nil {
		return netip.IPv6Unspecified() // there is none
	}
	defer func() { _ = c.Close() }()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
}
