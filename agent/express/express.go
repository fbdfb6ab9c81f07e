// Package express relays requests that have nothing to do with a second factor. It copies
// the bytes between a connection of an app and a kept connection to Vault, in the goroutine
// of the app's connection, and parses no more of them than it must.
//
// It is strict, not complete. A request that is not plainly what it takes, and an answer
// that is not plainly one to hand on, go to the HTTP server behind it, with all bytes that
// were read. So it decides nothing that the server would decide in another way: it sends
// no request twice, and it answers none by itself.
package express

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// A Lane is the way of a listener's requests to one Vault. It is not changed while it is
// in use.
type Lane struct {
	*Route
	// Handler serves what is not for the lane. It must send by way of [Transport].
	Handler http.Handler
	// RequireHeader leaves requests without X-Vault-Request: true to the handler.
	RequireHeader bool
	// Admit reports whether requests of a connection are for this lane; nil means all.
	Admit func(net.Conn) bool
	// Count is told the status of an answer, 0 for an app that has left before it, and the
	// time that was spent on it here before the app could see it; nil means that nothing is
	// counted.
	Count func(status int, spent time.Duration)
}

// A Pass is how a request is sent. The zero Pass is as it stands.
type Pass struct {
	// Token are lines that take the place of those with the token of the caller, with their
	// ends; nil leaves these.
	Token []byte
	// Mark is a line for the head of the answer, with its end; "" adds none.
	Mark string
	// Served is called before the app gets the answer; nil is allowed.
	Served func()
	// Ticket is for the handler, see [Ticket], when it has to go on with the answer.
	Ticket any
}

// A Config is what a [Route] needs.
type Config struct {
	Taken     int64  // how many requests count as taken already
	Host      string // of Vault, for the Host line
	Base      string // path of the address, without a slash at its end
	Namespace string // sent as X-Vault-Namespace when a request has none; "" sends none
	Dialer    Dialer
	// Decide reports how a request is sent, if nothing else is to be done before that, nor
	// after an answer that is no challenge. ctx has the peer. It may ask Vault about the
	// caller.
	Decide func(ctx context.Context, q Request) (Pass, bool)
	// Timeout is how long Vault may take for the beginning of an answer.
	Timeout time.Duration
	// MaxOpen is how many connections are open at once; 0 means no limit. More requests than
	// that go by the server behind, which may share one connection among them.
	MaxOpen int
	// IdleTimeout is how long a connection to Vault is kept unused, and Fresh after how much
	// of that it carries no write: whatever is in between may have forgotten it without a
	// word, and a write that gets no answer is not sent again.
	IdleTimeout, Fresh time.Duration
}

// A Dialer opens connections to Vault. *vault.Dialer is one.
type Dialer interface {
	// Dial opens a connection on which HTTP/1.1 is spoken.
	Dial(ctx context.Context) (net.Conn, error)
	// Era changes when connections from before are not to be used again.
	Era() int
}

// A Route leads to one Vault, over connections that it keeps. Its owner calls
// [Route.CloseIdle] when it is no longer used. It is safe for concurrent use.
type Route struct {
	config Config
	pool   pool
	taken  atomic.Int64
}

// NewRoute returns a route, nil where the host cannot be written as it is.
func NewRoute(c Config) *Route {
	if !plainHost(c.Host) {
		return nil
	}
	r := &Route{config: c}
	r.taken.Store(c.Taken)
	r.pool.dialer, r.pool.lifetime, r.pool.maxOpen = c.Dialer, c.IdleTimeout, c.MaxOpen
	return r
}

// Taken is how many requests the route has answered; nil has none.
func (r *Route) Taken() int64 {
	if r == nil {
		return 0
	}
	return r.taken.Load()
}

// CloseIdle closes the connections that are not in use. nil has none.
func (r *Route) CloseIdle() {
	if r != nil {
		r.pool.closeIdle()
	}
}

// A Server serves the connections of one listener until they are for the HTTP server
// behind it.
type Server struct {
	// Accepts reports whether a value of Host is the listener's; nil means any.
	Accepts func(host string) bool
	// Lane returns the lane for the next request; nil means that there is none.
	Lane func() *Lane
	// Skip reports whether a connection goes to the server behind at once; nil means none.
	Skip func(net.Conn) bool
	// Admit reports whether a connection is served at all, once something came by it. The
	// server behind knows what to say to the others.
	Admit func(net.Conn) bool
	// Context is that of the requests of a connection.
	Context func(net.Conn) context.Context
	Log     *slog.Logger

	buffers buffers
	mu      sync.Mutex
	conns   map[*conn]struct{}
	ended   chan struct{} // closed when the last connection has ended; nil before Drain
	closing atomic.Bool
}

// Serve serves c. It returns what the server behind goes on with, nil where c is closed.
// It blocks for as long as the app keeps the connection.
func (s *Server) Serve(c net.Conn) (handed *Handed) {
	x := &conn{server: s, client: c}
	if !s.add(x) {
		_ = c.Close()
		return nil
	}
	defer s.remove(x)
	defer func() {
		// As net/http has it: one request must not end the agent and its other requests.
		if v := recover(); v != nil {
			s.Log.Error("panic while a request was relayed", "panic", v, "stack", string(debug.Stack()))
			x.closeBoth()
		}
	}()
	if handed = x.serve(); handed == nil {
		_ = c.Close()
	}
	x.release()
	return handed
}

// closeBoth closes the connection and that to Vault, if there is one.
func (x *conn) closeBoth() {
	_ = x.client.Close()
	if up := x.upstream.Load(); up != nil {
		_ = up.Close()
	}
}

func (s *Server) add(x *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	if s.conns == nil {
		s.conns = make(map[*conn]struct{})
	}
	s.conns[x] = struct{}{}
	return true
}

func (s *Server) remove(x *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, x)
	if s.ended != nil && len(s.conns) == 0 {
		close(s.ended)
		s.ended = nil
	}
}

// Drain takes no more connections. It ends those that wait for a request, each other one
// after its answer, and returns when all have ended, or with the error of ctx.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.closing.Store(true)
	for x := range s.conns {
		if x.idle.CompareAndSwap(true, false) {
			_ = x.client.Close()
		}
	}
	// One channel for all that wait: a listener may be stopped while it is being retired.
	ended := s.ended
	if ended == nil {
		ended = make(chan struct{})
		if len(s.conns) == 0 {
			close(ended)
		} else {
			s.ended = ended
		}
	}
	s.mu.Unlock()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends all connections at once, after [Server.Drain].
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for x := range s.conns {
		x.closeBoth()
	}
}
