package listener

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vault-stepup/stepup/agent/peer"
)

const (
	// maxOthers is how many connections of other users, or of unknown ones, are
	// open at once. They only get a refusal.
	maxOthers = 16
	// OtherUsersTime is enough to send a request and to read the refusal.
	OtherUsersTime = time.Second
)

// OtherUsers bounds the connections that do not belong to this user, over all
// listeners that share it.
type OtherUsers struct {
	slots    chan struct{} // holds one for each open connection
	lifetime atomic.Int64  // a time.Duration of each
	closed   rateLimit
}

// NewOtherUsers returns a limit of 16 connections, of a second each.
func NewOtherUsers() *OtherUsers {
	o := &OtherUsers{slots: make(chan struct{}, maxOthers)}
	o.lifetime.Store(int64(OtherUsersTime))
	return o
}

// admit gives c a slot and its deadline. Without a free slot it closes c and
// returns nil.
func (o *OtherUsers) admit(c net.Conn, found *peer.Conn, log *slog.Logger) net.Conn {
	select {
	case o.slots <- struct{}{}:
	default:
		if n, due := o.closed.due(time.Now()); due {
			log.Warn("too many connections of other users, closed at once", "uid", found.UID(), "times", n)
		}
		reset(c)
		return nil
	}
	limited := &limitedConn{
		Conn: c, peer: found, until: time.Now().Add(time.Duration(o.lifetime.Load())),
		release: sync.OnceFunc(func() { <-o.slots }),
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

// A limitedConn is a connection with a last deadline: a server can only set earlier
// ones.
type limitedConn struct {
	net.Conn
	peer    *peer.Conn
	until   time.Time
	release func()
}

// isLimited reports whether c is of another user, or of an unknown one.
func isLimited(c net.Conn) bool {
	_, limited := c.(*limitedConn)
	return limited
}

func (c *limitedConn) identity() *peer.Conn { return c.peer }

// Close implements net.Conn.
func (c *limitedConn) Close() error { defer c.release(); return c.Conn.Close() }

// SetDeadline implements net.Conn.
func (c *limitedConn) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(c.limit(t)) }

// SetReadDeadline implements net.Conn.
func (c *limitedConn) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(c.limit(t)) }

// SetWriteDeadline implements net.Conn.
func (c *limitedConn) SetWriteDeadline(t time.Time) error {
	return c.Conn.SetWriteDeadline(c.limit(t))
}

func (c *limitedConn) limit(t time.Time) time.Time {
	if t.IsZero() || t.After(c.until) {
		return c.until
	}
	return t
}

// logInterval is the least time between two lines of one kind in the log.
const logInterval = 10 * time.Second

// A rateLimit lets a line into the log now and then, so that it cannot be flooded. The
// zero value is ready.
type rateLimit struct {
	mu   sync.Mutex
	next time.Time
	n    int
}

// due counts one more occasion. It reports whether to log, and the number of occasions
// since the last time.
func (r *rateLimit) due(now time.Time) (n int, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	if now.Before(r.next) {
		return 0, false
	}
	n, r.n, r.next = r.n, 0, now.Add(logInterval)
	return n, true
}
