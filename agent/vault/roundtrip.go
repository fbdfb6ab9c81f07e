package vault

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// maxTries is how often a request is sent that Vault has not begun.
	maxTries = 6
	// firstPause is before the third try, and doubles.
	firstPause = 50 * time.Millisecond
	// Fresh is how long ago Vault must have been heard on a connection that is to carry what
	// cannot be repeated: a push, a code, a login, a write. Else a new connection is made.
	Fresh = 3 * time.Second
	// checkEvery is how often at most the way to Vault is looked at, in use only.
	checkEvery = 2 * time.Second
	// rereadAfter keeps failing handshakes from reading the authorities again and again.
	rereadAfter = 10 * time.Second
)

// A Transport is the way to one Vault, for the relay and for a [Client]. It adds nothing to a
// request: no Accept-Encoding, no cookies. The forward proxy is VAULT_PROXY_ADDR,
// VAULT_HTTP_PROXY or what [http.ProxyFromEnvironment] says, in this order.
//
// A request that Vault has provably not begun is sent again, if its GetBody gives its body
// again: the server says so (HTTP/2 GOAWAY, REFUSED_STREAM), or none of its bytes has arrived.
// A GET without a body is also sent again where a kept connection breaks, as net/http does it
// for HTTP/1. Everything else is sent once.
//
// Connections from before the computer slept or changed its network are not used again, and
// authorities whose files have changed are read again. All that is looked at in use: there is
// no goroutine and no timer.
type Transport struct {
	tls  TLS
	dial dialFunc

	mu      sync.Mutex
	base    *http.Transport
	secure  *tls.Config // that of base, as it was before it was used
	era     int         // how often base was replaced
	read    time.Time   // when the authorities of base were read
	stamp   []fileStamp
	checked time.Time // when current looked, by the clock that stands still while the computer sleeps
	wall    time.Time // the same by the wall clock

	open conns
}

// conns are the connections that are open.
type conns struct {
	mu  sync.Mutex // never held while one is closed
	all map[*conn]struct{}
	// routes are by the remote ends of connections, those of a [Dialer] among them, which are
	// not in all.
	routes map[string]routed
}

// maxRoutes is how many other ends are remembered.
const maxRoutes = 64

// routed is how packets to remote left when they were last looked at.
type routed struct {
	remote net.Addr
	from   netip.Addr
}

// note remembers how packets to the other end of a connection leave. What was known before
// stays, so that moved sees what has changed since.
func (o *conns) note(remote net.Addr) {
	key := remote.String()
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, known := o.routes[key]; known {
		return
	}
	from := route(remote)
	if !from.IsValid() {
		return
	}
	for other := range o.routes {
		if len(o.routes) < maxRoutes {
			break
		}
		delete(o.routes, other)
	}
	o.routes[key] = routed{remote, from}
}

var _ http.RoundTripper = (*Transport)(nil)

// NewTransport returns a transport. Errors name the file and what is wrong with it.
func NewTransport(t TLS) (*Transport, error) {
	tr := &Transport{tls: t, dial: t.Dial, open: conns{all: make(map[*conn]struct{}), routes: make(map[string]routed)}}
	if t.Dial == nil {
		tr.dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	if t.Socket != "" {
		tr.dial = socketDial(tr.dial, t.Socket)
	}
	if err := tr.renew(time.Now()); err != nil {
		return nil, err
	}
	tr.checked, tr.wall = tr.read, tr.read.Round(0)
	return tr, nil
}

// HTTP returns what requests go through now.
func (t *Transport) HTTP() *http.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.base
}

// Renew lets the next request use a new connection, with authorities read anew. Requests
// that are under way go on. If the authorities cannot be read, those from before stay.
func (t *Transport) Renew() {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.renew(time.Now())
}

func (t *Transport) renew(now time.Time) error {
	stamp := t.tls.stamps() // before the files are read: a change in between is seen later
	base, err := t.build()
	was := t.base
	if was != nil {
		defer was.CloseIdleConnections()
	}
	if err != nil && was != nil {
		t.read, t.stamp = now, stamp // not again until they change
		return err
	}
	if err == nil {
		t.base, t.read, t.stamp = base, now, stamp
		t.era++
	}
	return err
}

// CloseIdleConnections closes the connections that no request uses.
func (t *Transport) CloseIdleConnections() { t.HTTP().CloseIdleConnections() }

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	again := r.GetBody
	for tries := 1; ; tries++ {
		a := &attempt{repeatable: repeatable(r)}
		resp, err := a.roundTrip(t.current(a.repeatable), r)
		if err == nil {
			resp.Request = r
			return resp, nil
		}
		if tries == maxTries || r.Context().Err() != nil || !t.mayRepeat(a, err, tries) {
			return nil, err
		}
		if tries > 1 && !sleep(r.Context(), firstPause<<(tries-2)) {
			return nil, err
		}
		if r.Body == nil || r.Body == http.NoBody {
			continue
		}
		if again == nil {
			return nil, err
		}
		body, gone := again()
		if gone != nil {
			return nil, err
		}
		r = r.WithContext(r.Context())
		r.Body = body
	}
}

func sleep(ctx context.Context, d time.Duration) (whole bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// repeatable reports whether net/http may repeat r on a new connection by itself, whatever
// the server has done with it.
func repeatable(r *http.Request) bool {
	return (r.Body == nil || r.Body == http.NoBody) &&
		slices.Contains([]string{"", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace}, r.Method)
}

// current is what the next request goes through. What cannot be repeated does not go over
// connections that have been silent for a while: one of them may be forgotten by whatever is
// between us and Vault.
func (t *Transport) current(repeatable bool) *http.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.look(now)
	if !repeatable && !t.open.heard(now) {
		t.base.CloseIdleConnections()
	}
	return t.base
}

// look renews what requests go through where the way to Vault has changed.
func (t *Transport) look(now time.Time) {
	if age := now.Round(0).Sub(t.wall); age < 0 || age >= checkEvery {
		slept := (age - now.Sub(t.checked)).Abs() > checkEvery
		t.checked, t.wall = now, now.Round(0)
		if slept || t.open.moved() || !slices.Equal(t.stamp, t.tls.stamps()) {
			_ = t.renew(now)
		}
	}
}

// heard reports whether Vault was heard lately on any connection.
func (o *conns) heard(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.all {
		if c.silence(now) < Fresh {
			return true
		}
	}
	return false
}

// moved reports whether packets to Vault leave by another address than before: the network
// changed, or a VPN came or went.
func (o *conns) moved() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	moved := false
	for key, r := range o.routes {
		if now := route(r.remote); now != r.from {
			o.routes[key] = routed{r.remote, now}
			moved = true
		}
	}
	return moved
}

// add returns c as a connection that is open until it is closed.
func (o *conns) add(inner net.Conn) *conn {
	o.note(inner.RemoteAddr())
	c := newConn(inner)
	c.forget = func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.all, c)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all[c] = struct{}{}
	return c
}

// mayRepeat reports whether the request of a may be sent again after err.
func (t *Transport) mayRepeat(a *attempt, err error, tries int) bool {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case notBegun(err):
		return true
	case untrusted: // before a byte of the request was sent
		return tries == 1 && t.reread()
	case a.repeatable && a.reused && broken(err):
		t.CloseIdleConnections() // others of the same age are as dead
		return tries == 1
	case a.conn == nil || !a.conn.over():
		return false
	}
	t.CloseIdleConnections()
	return a.neverArrived()
}

// reread reads the authorities again, unless that has just been done.
func (t *Transport) reread() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if age := now.Round(0).Sub(t.read.Round(0)); age >= 0 && age < rereadAfter && slices.Equal(t.stamp, t.tls.stamps()) {
		return false
	}
	return t.renew(now) == nil
}

// refused finds what net/http says of a request that the server has not begun, when there is
// a body that net/http cannot have again. It has no error values for that.
var refused = regexp.MustCompile(`^http2: Transport: cannot retry err \[(http2: Transport received Server's graceful shutdown GOAWAY|stream error: stream ID \d+; REFUSED_STREAM)`)

// notBegun reports whether the server says that it has not begun the request (RFC 9113, 8.7),
// or net/http that it found no connection for it. Without a GetBody, net/http cannot rewind
// only there: it has let go of the body, and has sent none of the request.
func notBegun(err error) bool {
	return refused.MatchString(err.Error()) || err.Error() == "net/http: cannot rewind body after connection loss"
}

// broken reports whether err means that the connection broke, before an answer began.
func broken(err error) bool {
	for _, is := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT} {
		if errors.Is(err, is) {
			return true
		}
	}
	// net/http has no error values for these.
	return err.Error() == "http2: client connection lost" || strings.HasPrefix(err.Error(), "http2: server sent GOAWAY and closed the connection")
}

// An attempt is one sending of a request.
type attempt struct {
	repeatable bool

	conn   *conn // nil before there was one, and for those that are not ours
	secure bool
	reused bool
	offset int64 // of the request's first byte, at the earliest
	counts counts
}

// roundTrip sends r by way of to, with the body for this attempt.
func (a *attempt) roundTrip(to *http.Transport, r *http.Request) (*http.Response, error) {
	r = a.traced(r)
	if r.Body == nil || r.Body == http.NoBody {
		return to.RoundTrip(r)
	}
	body := &lateBody{inner: r.Body}
	defer body.end()
	r.Body = body
	return to.RoundTrip(r)
}

// traced is r as net/http gets it: without a way to repeat it unasked.
func (a *attempt) traced(r *http.Request) *http.Request {
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{GotConn: a.gotConn}))
	// net/http would also use it after a PROTOCOL_ERROR, which says nothing about whether
	// the request was carried out, or a code in it used.
	r.GetBody = nil
	return r
}

func (a *attempt) gotConn(info httptrace.GotConnInfo) {
	inner := info.Conn
	a.conn, a.secure, a.reused = nil, false, info.Reused
	for {
		wrapped, ok := inner.(*tls.Conn)
		if !ok {
			break
		}
		inner, a.secure = wrapped.NetConn(), true
	}
	c, ok := inner.(*conn)
	if !ok {
		return
	}
	a.conn, a.offset = c, c.started.Load()
	if a.reused && !a.repeatable {
		a.counts = readCounts(c.Conn)
	}
}

// maxAlert is the length of the TLS record that closes a connection. No request fits in it.
const maxAlert = 31

// neverArrived reports whether it is certain that no byte of the request has reached the
// server. The connection is over.
func (a *attempt) neverArrived() bool {
	_ = a.conn.Close() // no byte is on its way into it after this
	sent := a.conn.started.Load() - a.offset
	if sent == 0 || a.secure && sent <= maxAlert {
		return true
	}
	end := a.conn.ending()
	if !a.reused || !end.known || !a.counts.known || end.retransmitted != a.counts.retransmitted {
		return false // sent twice: the first copy may have arrived
	}
	if end.acknowledged > a.offset {
		return false
	}
	// The side that closes acknowledges what came until then. A reset does not: the request may have
	// been carried out before it.
	return end.closed
}

// watched dials a connection of which is known what was sent and heard.
func (t *Transport) watched(ctx context.Context, network, addr string) (net.Conn, error) {
	inner, err := t.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	keepAlive(inner)
	return t.open.add(inner), nil
}
