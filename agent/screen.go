package agent

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
	// screeners is how many connections of a listener are looked up at once. One
	// look takes microseconds on Linux; elsewhere it reads a table of the kernel,
	// and a flood of connections must not make that many reads at once.
	screeners = 4
	// Waits after a failed accept, as in net/http but shorter: the screeners take
	// turns.
	minAcceptWait = 5 * time.Millisecond
	maxAcceptWait = 250 * time.Millisecond
	// maxLooks is how often a look is tried that fails for want of a file: some
	// seconds.
	maxLooks = 40
)

// A screen is a listener that knows who connects before a server gets the
// connection. Connections of this user pass as they are. All others share what
// foreign allows, so that another user cannot take the file descriptors, and the
// memory, that our own connections need: about a thousand idle connections did.
type screen struct {
	net.Listener
	foreign *foreign
	log     *slog.Logger

	admitted chan net.Conn // closed when the last screener has ended
	running  atomic.Int32
	closed   chan struct{}
	close    func() // closes closed, once
	failed   pace
}

var _ net.Listener = (*screen)(nil)

// newScreen starts to accept. The caller closes ln, or the screen, and then calls end.
func newScreen(ln net.Listener, f *foreign, log *slog.Logger) *screen {
	s := &screen{Listener: ln, foreign: f, log: log, admitted: make(chan net.Conn), closed: make(chan struct{})}
	s.close = sync.OnceFunc(func() { close(s.closed) })
	s.running.Store(screeners)
	for range screeners {
		go s.run() // end waits for it
	}
	return s
}

// Accept implements net.Listener.
func (s *screen) Accept() (net.Conn, error) {
	c, ok := <-s.admitted
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

// Close implements net.Listener.
func (s *screen) Close() error {
	s.close()
	return s.Listener.Close()
}

// end waits for the screeners of a closed listener. What they still hold is closed.
func (s *screen) end() {
	for c := range s.admitted {
		_ = c.Close()
	}
}

// run accepts until the listener is closed, and only until then: every other
// error may pass, and an agent without its listener is of no use.
func (s *screen) run() {
	defer func() {
		if s.running.Add(-1) == 0 {
			close(s.admitted)
		}
	}()
	wait := minAcceptWait
	for {
		c, err := s.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			wait = s.retry(err, wait)
			continue
		}
		wait = minAcceptWait
		if c = s.look(c); c != nil {
			s.admitted <- c
		}
	}
}

// look asks whose connection it is, before anything is read from it. It returns
// nil when it has closed the connection.
func (s *screen) look(c net.Conn) net.Conn {
	who := peer.Identify(c)
	// A look needs a file descriptor. That there is none says nothing about the
	// client; taking it for a stranger would lock the owner out of a full agent.
	wait := minAcceptWait
	for n := 0; n < maxLooks && outOfFiles(who.SameUser()); n++ {
		wait = s.retry(who.SameUser(), wait)
		who = peer.Identify(c)
	}
	if who.SameUser() != nil { // also when the kernel does not tell, or not yet
		return s.foreign.admit(c, who, s.log)
	}
	switch c := c.(type) {
	case *net.TCPConn:
		return &ownTCP{c, who}
	case *net.UnixConn:
		return &ownUnix{c, who}
	}
	return &ownConn{c, who}
}

func outOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// retry tells of a connection that could not be accepted or looked up, waits, and
// returns how long to wait the next time.
func (s *screen) retry(err error, wait time.Duration) time.Duration {
	if n, due := s.failed.due(time.Now()); due {
		s.log.Warn("connections cannot be accepted, trying again", "address", s.Addr().String(), "error", err, "times", n)
	}
	select {
	case <-time.After(wait):
	case <-s.closed:
	}
	return min(2*wait, maxAcceptWait)
}

// The types of our own connections keep the methods of what they wrap, as those
// of Loop.Dial do.
type (
	ownTCP struct {
		*net.TCPConn
		who *peer.Conn
	}
	ownUnix struct {
		*net.UnixConn
		who *peer.Conn
	}
	ownConn struct {
		net.Conn
		who *peer.Conn
	}
)

func (c *ownTCP) identity() *peer.Conn  { return c.who }
func (c *ownUnix) identity() *peer.Conn { return c.who }
func (c *ownConn) identity() *peer.Conn { return c.who }

// identityOf returns who is at the other end of c. It asks the kernel where no
// screen has done so.
func identityOf(c net.Conn) *peer.Conn {
	if known, ok := c.(interface{ identity() *peer.Conn }); ok {
		return known.identity()
	}
	return peer.Identify(c)
}
