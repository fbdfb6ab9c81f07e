package listener

import (
	"net"
	"sync"

	"github.com/vault-stepup/stepup/agent/express"
)

// A front is the listener of the HTTP server. It gives the connections of this user to the
// express server first; the HTTP server gets them when that hands them over.
type front struct {
	net.Listener
	express *express.Server

	handed  chan net.Conn
	closed  chan struct{}
	close   func() // closes closed, once
	working sync.WaitGroup
}

// newFront starts to accept. The caller closes the front, and then calls wait.
func newFront(ln net.Listener, e *express.Server) *front {
	f := &front{Listener: ln, express: e, handed: make(chan net.Conn), closed: make(chan struct{})}
	f.close = sync.OnceFunc(func() { close(f.closed) })
	f.working.Go(f.run)
	return f
}

// run accepts until the address is closed. The express server goes on after that.
func (f *front) run() {
	for {
		c, err := f.Listener.Accept()
		if err != nil {
			return
		}
		if _, other := c.(*limitedConn); other {
			f.hand(c)
			continue
		}
		f.working.Go(func() {
			if h := f.express.Serve(c); h != nil {
				f.hand(h)
			}
		})
	}
}

func (f *front) hand(c net.Conn) {
	select {
	case f.handed <- c:
	case <-f.closed:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.handed:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (f *front) Close() error {
	f.close()
	return f.Listener.Close()
}

// wait returns when the connections that were not handed over have ended.
func (f *front) wait() { f.working.Wait() }
