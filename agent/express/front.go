package express

import (
	"net"
	"sync"
)

// A Front is the listener of the HTTP server behind a [Server]. That gets the connections
// first; the HTTP server gets those that it hands over.
type Front struct {
	net.Listener
	server *Server

	handed  chan net.Conn
	closed  chan struct{}
	close   func() // closes closed, once
	working sync.WaitGroup
}

var _ net.Listener = (*Front)(nil)

// NewFront starts to accept. The caller closes the front, and then calls [Front.Wait].
func NewFront(ln net.Listener, s *Server) *Front {
	f := &Front{Listener: ln, server: s, handed: make(chan net.Conn), closed: make(chan struct{})}
	f.close = sync.OnceFunc(func() { close(f.closed) })
	f.working.Go(f.run)
	return f
}

// run accepts until the address is closed. The connections go on after that.
func (f *Front) run() {
	for {
		c, err := f.Listener.Accept()
		if err != nil {
			return
		}
		if f.server.Skip != nil && f.server.Skip(c) {
			f.hand(c)
			continue
		}
		f.working.Go(func() {
			if h := f.server.Serve(c); h != nil {
				f.hand(h)
			}
		})
	}
}

func (f *Front) hand(c net.Conn) {
	select {
	case f.handed <- c:
	case <-f.closed:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (f *Front) Accept() (net.Conn, error) {
	select {
	case c := <-f.handed:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (f *Front) Close() error {
	f.close()
	return f.Listener.Close()
}

// Wait returns when the connections that were not handed over have ended.
func (f *Front) Wait() { f.working.Wait() }
