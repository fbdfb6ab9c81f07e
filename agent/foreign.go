package agent

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vault-stepup/stepup/agent/peer"
)

const (
	// maxForeign is how many connections of other users, or of unknown ones, are
	// open at once. They only get a refusal.
	maxForeign = 16
	// foreignTime is enough to send a request and to read the refusal.
	foreignTime = time.Second
	// collectorTime is for collectors of other users that may read the metrics: as
	// long as Prometheus waits for a scrape by default.
	collectorTime = 10 * time.Second
)

// A foreign bounds the connections that do not belong to this user, over all
// listeners that share it.
type foreign struct {
	slots  chan struct{} // holds one for each open connection
	time   atomic.Int64  // a time.Duration: how long each may live
	closed pace
}

func newForeign() *foreign {
	f := &foreign{slots: make(chan struct{}, maxForeign)}
	f.time.Store(int64(foreignTime))
	return f
}

// admit gives c a place and its deadline. Without a free place it closes c and
// returns nil.
func (f *foreign) admit(c net.Conn, who *peer.Conn, log *slog.Logger) net.Conn {
	select {
	case f.slots <- struct{}{}:
	default:
		if n, due := f.closed.due(time.Now()); due {
			log.Warn("too many connections of other users, closed at once", "uid", who.UID(), "times", n)
		}
		reset(c)
		return nil
	}
	limited := &foreignConn{
		Conn: c, who: who, until: time.Now().Add(time.Duration(f.time.Load())),
		release: sync.OnceFunc(func() { <-f.slots }),
	}
	_ = limited.SetDeadline(time.Time{})
	return limited
}

// reset closes c without the state that the kernel keeps for a minute after an
// orderly close: a flood would fill the tables in which clients are looked up.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// A foreignConn is a connection whose deadlines never go beyond its own, whatever
// a server sets.
type foreignConn struct {
	net.Conn
	who     *peer.Conn
	until   time.Time
	release func()
}

func (c *foreignConn) identity() *peer.Conn { return c.who }

// Close implements net.Conn.
func (c *foreignConn) Close() error { defer c.release(); return c.Conn.Close() }

// SetDeadline implements net.Conn.
func (c *foreignConn) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(c.limit(t)) }

// SetReadDeadline implements net.Conn.
func (c *foreignConn) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(c.limit(t)) }

// SetWriteDeadline implements net.Conn.
func (c *foreignConn) SetWriteDeadline(t time.Time) error {
	return c.Conn.SetWriteDeadline(c.limit(t))
}

func (c *foreignConn) limit(t time.Time) time.Time {
	if t.IsZero() || t.After(c.until) {
		return c.until
	}
	return t
}

// paceInterval is the least time between two lines of one kind in the log.
const paceInterval = 10 * time.Second

// A pace lets a line into the log now and then, so that it cannot be flooded. The
// zero value is ready.
type pace struct {
	mu   sync.Mutex
	next time.Time
	n    int
}

// due counts one more occasion. It reports whether to say something, and how many
// occasions there were since the last time.
func (p *pace) due(now time.Time) (n int, due bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	if now.Before(p.next) {
		return 0, false
	}
	n, p.n, p.next = p.n, 0, now.Add(paceInterval)
	return n, true
}
