package listener

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vault-stepup/stepup/agent/peer"
)

const (
	// acceptors is how many connections of a listener are looked up at once. One
	// takes microseconds on Linux; elsewhere it reads a table of the kernel,
	// and a flood of connections must not make that many reads at once.
	acceptors = 4
	// Waits after a failed accept, as in net/http but shorter: the acceptors take
	// turns.
	minAcceptWait = 5 * time.Millisecond
	maxAcceptWait = 250 * time.Millisecond
	// maxTries is how often a peer is looked up that is not found for want of a file:
	// some seconds.
	maxTries = 40
)

// An identifier is a listener that finds the peer of each connection before a server
// gets the connection. Connections of this user pass. All others share the limit of
// [OtherUsers], so that another user cannot take the file descriptors, and the
// memory, that our own connections need: about a thousand idle connections did.
type identifier struct {
	net.Listener
	others *OtherUsers
	log    *slog.Logger

	admitted chan net.Conn // closed when the last acceptor has ended
	running  atomic.Int32
	closed   chan struct{}
	close    func() // closes closed, once
	failed   rateLimit
}

var _ net.Listener = (*identifier)(nil)

// newIdentifier starts to accept. The caller closes ln, or the identifier, and then calls drain.
func newIdentifier(ln net.Listener, f *OtherUsers, log *slog.Logger) *identifier {
	i := &identifier{Listener: ln, others: f, log: log, admitted: make(chan net.Conn), closed: make(chan struct{})}
	i.close = sync.OnceFunc(func() { close(i.closed) })
	i.running.Store(acceptors)
	for range acceptors {
		go i.run() // drain waits for it
	}
	return i
}

// Accept implements net.Listener.
func (i *identifier) Accept() (net.Conn, error) {
	c, ok := <-i.admitted
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

// Close implements net.Listener.
func (i *identifier) Close() error {
	i.close()
	return i.Listener.Close()
}

// drain waits for the acceptors of a closed listener. It closes the connections that no server took.
func (i *identifier) drain() {
	for c := range i.admitted {
		_ = c.Close()
	}
}

// run accepts until the listener is closed, and only until then: every other
// error may pass, and an agent without its listener is of no use.
func (i *identifier) run() {
	defer func() {
		if i.running.Add(-1) == 0 {
			close(i.admitted)
		}
	}()
	wait := minAcceptWait
	for {
		c, err := i.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			wait = i.retry(err, wait)
			continue
		}
		wait = minAcceptWait
		if c = i.identify(c); c != nil {
			i.admitted <- c
		}
	}
}

// identify finds the peer of a connection, before anything is read from it. It
// returns nil when it has closed the connection.
func (i *identifier) identify(c net.Conn) net.Conn {
	found := peer.Identify(c)
	// Looking a peer up needs a file descriptor. If there is none, the client may still
	// be this user: refusing it would lock the owner out of a full agent.
	wait := minAcceptWait
	for n := 0; n < maxTries && outOfFiles(found.SameUser()); n++ {
		wait = i.retry(found.SameUser(), wait)
		found = peer.Identify(c)
	}
	if found.SameUser() != nil { // also when the kernel does not tell, or not yet
		return i.others.admit(c, found, i.log)
	}
	switch c := c.(type) {
	case *net.TCPConn:
		return &ownTCP{c, found}
	case *net.UnixConn:
		return &ownUnix{c, found}
	}
	return &ownConn{c, found}
}

func outOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// retry logs a connection that could not be accepted or looked up, waits, and
// returns how long to wait the next time.
func (i *identifier) retry(err error, wait time.Duration) time.Duration {
	if n, due := i.failed.due(time.Now()); due {
		i.log.Warn("connections cannot be accepted, trying again", "address", i.Addr().String(), "error", err, "times", n)
	}
	select {
	case <-time.After(wait):
	case <-i.closed:
	}
	return min(2*wait, maxAcceptWait)
}

// The types of our own connections keep the methods of what they wrap, as those
// of Loop.Dial do.
type (
	ownTCP struct {
		*net.TCPConn
		peer *peer.Conn
	}
	ownUnix struct {
		*net.UnixConn
		peer *peer.Conn
	}
	ownConn struct {
		net.Conn
		peer *peer.Conn
	}
)

func (c *ownTCP) identity() *peer.Conn  { return c.peer }
func (c *ownUnix) identity() *peer.Conn { return c.peer }
func (c *ownConn) identity() *peer.Conn { return c.peer }

// identityOf returns the peer of c. It asks the kernel where no identifier has done
// so.
func identityOf(c net.Conn) *peer.Conn {
	if known, ok := c.(interface{ identity() *peer.Conn }); ok {
		return known.identity()
	}
	return peer.Identify(c)
}
