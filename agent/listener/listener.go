// Package listener opens the addresses of the agent and refuses the connections and
// requests that are not the user's own.
package listener

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vault-stepup/stepup/agent/express"
)

// Limits of a listener's server. Reading a body and writing an answer have none:
// a prompt may take a minute, and Vault streams for hours.
const (
	// net/http allows 4 KiB more than it is told; the sum is 1 MiB.
	maxHeaderBytes    = 1<<20 - 4<<10
	readHeaderTimeout = 10 * time.Second
)

// stopGrace is how long [Listener.Stop] waits for answers that are under way.
const stopGrace = 3 * time.Second

// A Listener is an open address and its server. Its handler may change at any
// time; its connections stay.
type Listener struct {
	ln      *notifyingListener
	server  *http.Server
	express *express.Server
	others  *OtherUsers
	log     *slog.Logger
	served  atomic.Pointer[served]
	cancel  context.CancelFunc // ends streams that would keep a stop waiting
}

// served is what a listener serves from now on.
type served struct {
	handler http.Handler
	lane    *express.Lane // nil without one
}

// A Config is how a [Listener] serves. All fields are required.
type Config struct {
	Guard  *Guard
	Others *OtherUsers
	// Measure returns a handler around the guard. It is called once.
	Measure func(http.Handler) http.Handler
	Log     *slog.Logger
}

// New returns a listener that takes over ln. The caller sets its handler before it
// calls [Listener.Serve]. Requests outlive ctx: those under way get their answer
// when the agent is told to stop.
func New(ctx context.Context, ln net.Listener, c Config) *Listener {
	l := &Listener{ln: newNotifyingListener(ln), others: c.Others, log: c.Log}
	l.server = newServer(l, c.Guard, c.Log)
	l.server.Handler = c.Measure(l.server.Handler)
	guard := c.Guard
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	l.server.BaseContext = func(net.Listener) context.Context { return base }
	l.express = &express.Server{
		Accepts: acceptedHosts(ln.Addr()).accept, Skip: isLimited, Admit: guard.admits, Log: c.Log,
		Lane:    func() *express.Lane { return l.served.Load().lane },
		Context: func(c net.Conn) context.Context { return guard.ConnContext(base, c) },
	}
	return l
}

// newServer returns a server that serves h behind g. The caller owns it. It
// speaks HTTP/1 only: a browser does not speak HTTP/2 without TLS, and nor do
// Vault's clients.
func newServer(h http.Handler, g *Guard, log *slog.Logger) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:                      g.Wrap(h),
		ConnContext:                  g.ConnContext,
		DisableGeneralOptionsHandler: true, // OPTIONS * is Vault's to answer
		MaxHeaderBytes:               maxHeaderBytes,
		ReadHeaderTimeout:            readHeaderTimeout,
		IdleTimeout:                  express.IdleTimeout,
		// Mistakes of clients. Errors of accepting are not among them: see identifier.
		ErrorLog:  slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Protocols: &protocols,
	}
}

// ServeHTTP implements http.Handler.
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	express.Resume(w, r, l.served.Load().handler)
}

// SetHandler replaces the handler, also of open connections.
func (l *Listener) SetHandler(h http.Handler) { l.served.Store(&served{handler: h}) }

// SetLane replaces the handler by the one of lane, which serves what it can before.
func (l *Listener) SetLane(lane *express.Lane) {
	l.served.Store(&served{handler: lane.Handler, lane: lane})
}

// SetOtherUsersTime is how long each connection of other users may live from now on.
func (l *Listener) SetOtherUsersTime(d time.Duration) { l.others.lifetime.Store(int64(d)) }

// Addr returns the address that the listener is bound to.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Serve accepts connections until the listener is closed. It returns when that is retired
// or stopped, and logs another end.
func (l *Listener) Serve() {
	i := newIdentifier(l.ln, l.others, l.log)
	f := express.NewFront(i, l.express)
	err := l.server.Serve(f)
	i.drain()
	f.Wait()
	if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		l.log.Error("listener ended", "address", l.ln.Addr().String(), "error", err)
	}
}

// Close closes the address. Connections stay open.
func (l *Listener) Close() error { return l.ln.Close() }

// Restore opens a unix socket again whose file was removed, and reports whether it did so.
// Its connections stay. Other listeners are as they were.
func (l *Listener) Restore(ctx context.Context) (bool, error) {
	if unix, ok := l.ln.Listener.(*unixListener); ok {
		return unix.restore(ctx)
	}
	return false, nil
}

// Closed returns a channel that is closed when the address is.
func (l *Listener) Closed() <-chan struct{} { return l.ln.closed }

// Retire closes the address and waits until the requests under way have ended by
// themselves.
func (l *Listener) Retire() {
	_ = l.ln.Close()
	_ = l.express.Drain(context.Background())
	_ = l.server.Shutdown(context.Background())
	l.cancel()
}

// Stop closes the address, waits a moment for answers that are under way, and then
// ends them.
func (l *Listener) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	_ = l.ln.Close()
	if err := l.express.Drain(ctx); err != nil {
		l.express.Close()
	}
	if err := l.server.Shutdown(ctx); err != nil {
		l.cancel()
		_ = l.server.Close()
	}
	l.cancel()
}

// A notifyingListener closes a channel when it is closed.
type notifyingListener struct {
	net.Listener
	closed chan struct{}
	notify func() // closes closed, once
}

func newNotifyingListener(ln net.Listener) *notifyingListener {
	n := &notifyingListener{Listener: ln, closed: make(chan struct{})}
	n.notify = sync.OnceFunc(func() { close(n.closed) })
	return n
}

// Close implements net.Listener.
func (l *notifyingListener) Close() error {
	defer l.notify()
	return l.Listener.Close()
}
