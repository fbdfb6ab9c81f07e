package express

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A Handed is a connection of an app for the server behind. It reads what came already
// once more, and then goes on. The answer to its first request may be there.
type Handed struct {
	net.Conn
	read   []byte
	answer atomic.Pointer[answered] // until the first request takes it
}

// Read implements net.Conn.
func (h *Handed) Read(p []byte) (int, error) {
	if n := readAgain(p, &h.read); n > 0 {
		return n, nil
	}
	return h.Conn.Read(p)
}

// readAgain moves what was read already into p.
func readAgain(p []byte, read *[]byte) int {
	n := copy(p, *read)
	if *read = (*read)[n:]; len(*read) == 0 {
		*read = nil
	}
	return n
}

// NetConn returns the connection of the app, whose methods tell the peer.
func (h *Handed) NetConn() net.Conn { return h.Conn }

// ReadFrom implements io.ReaderFrom: the kernel may copy.
func (h *Handed) ReadFrom(r io.Reader) (int64, error) {
	if to, ok := h.Conn.(io.ReaderFrom); ok {
		return to.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{h.Conn}, r)
}

// CloseWrite half closes the connection: net/http does so before it closes one from which
// it has not read everything, and the app can still read the answer.
func (h *Handed) CloseWrite() error {
	if half, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements net.Conn. An answer that no request has taken goes with it.
func (h *Handed) Close() error {
	if a := h.answer.Swap(nil); a != nil {
		_ = a.conn.Close()
	}
	return h.Conn.Close()
}

// An answered is a connection to Vault on which the request of a lane was sent, or what
// became of that.
type answered struct {
	conn net.Conn
	read []byte // of the answer
	err  error  // in its place
	lane *Lane
	// ticket is that of the pass which the request was sent with.
	ticket any
	used   atomic.Bool
}

type (
	handedKey   struct{}
	answeredKey struct{}
)

// ConnContext returns the context of a connection of the server behind, and the connection
// that it was before it was handed over.
func ConnContext(ctx context.Context, c net.Conn) (context.Context, net.Conn) {
	if h, ok := c.(*Handed); ok {
		return context.WithValue(ctx, handedKey{}, h), h.NetConn()
	}
	return ctx, c
}

// Resume serves the request that a connection was handed over with, whose answer may be
// there: then it is the handler of its lane that goes on. Other requests go to next.
func Resume(w http.ResponseWriter, r *http.Request, next http.Handler) {
	h, _ := r.Context().Value(handedKey{}).(*Handed)
	if h == nil {
		next.ServeHTTP(w, r)
		return
	}
	a := h.answer.Swap(nil)
	if a == nil {
		next.ServeHTTP(w, r)
		return
	}
	defer a.conn.Close() //nolint:errcheck // it was read, or is of no use
	a.lane.Handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), answeredKey{}, a)))
}

// Ticket is the ticket of the request of ctx, if an express lane has sent it: the answer to
// the same sending comes by [Transport].
func Ticket(ctx context.Context) any {
	if a, _ := ctx.Value(answeredKey{}).(*answered); a != nil {
		return a.ticket
	}
	return nil
}

// A Transport sends the requests of the handlers of lanes. The first one of a request that
// was sent already gets the answer to that.
type Transport struct{ Base http.RoundTripper }

var _ http.RoundTripper = Transport{}

// RoundTrip implements http.RoundTripper.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	a, _ := r.Context().Value(answeredKey{}).(*answered)
	if a == nil || a.used.Swap(true) {
		return t.Base.RoundTrip(r)
	}
	if a.err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, a.err
	}
	return a.roundTrip(r)
}

// roundTrip reads the answer as net/http does, which thinks that it has sent the request.
func (a *answered) roundTrip(r *http.Request) (*http.Response, error) {
	reader := &http.Transport{
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 1 << 20,
		ResponseHeaderTimeout:  a.lane.config.Timeout,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return newReplay(a.conn, a.read), nil
		},
	}
	again := r.WithContext(r.Context())
	u := *r.URL
	u.Scheme = "http"
	again.URL = &u
	_ = a.conn.SetReadDeadline(time.Time{})
	resp, err := reader.RoundTrip(again)
	if err != nil {
		return nil, err
	}
	resp.Request = r
	return resp, nil
}

// A replay reads what was read already, and does not write: that was done.
type replay struct {
	net.Conn
	read  []byte
	asked chan struct{} // closed with the first Write, or by Close
	ask   func()        // closes asked, once
}

func newReplay(c net.Conn, read []byte) *replay {
	r := &replay{Conn: c, read: read, asked: make(chan struct{})}
	r.ask = sync.OnceFunc(func() { close(r.asked) })
	return r
}

// Read implements net.Conn. net/http takes what comes before it has written for an answer
// that it has not asked for, and would write the beginning of it into the log.
func (r *replay) Read(p []byte) (int, error) {
	<-r.asked
	if n := readAgain(p, &r.read); n > 0 {
		return n, nil
	}
	return r.Conn.Read(p)
}

// Write implements net.Conn.
func (r *replay) Write(p []byte) (int, error) {
	r.ask()
	return len(p), nil
}

// Close implements net.Conn.
func (r *replay) Close() error {
	r.ask()
	return r.Conn.Close()
}
