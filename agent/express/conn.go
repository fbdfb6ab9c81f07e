package express

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
)

const (
	// IdleTimeout is how long an app may keep a connection unused. It is set again when less
	// than minIdle of it is left.
	IdleTimeout = 5 * time.Minute
	minIdle     = IdleTimeout - 20*time.Second
	// maxWait is how long the rest of a request may take. The server behind waits longer.
	maxWait = 20 * time.Millisecond
	// patience is how long Vault may take before anything watches whether the app is there.
	patience = 100 * time.Millisecond
)

// A conn is a connection of an app. One goroutine serves it.
type conn struct {
	server   *Server
	client   net.Conn
	idle     atomic.Bool // waits for a request
	upstream atomic.Pointer[upstream]

	in      []byte          // what was read of the app and is not answered
	context context.Context //nolint:containedctx // lives as long as the connection; nil before the first request
	until   time.Time       // read deadline of client; zero means none
	head    requestHead
	pass    Pass
	started time.Time // when the request was there

	out    []byte // what was read of Vault
	answer answerHead
	scan   mfa.Scanner
	watch  *watch // nil while nothing watches the app
}

// serve answers requests until one is for the server behind. nil means that the app has
// left, or that an answer has broken off.
func (x *conn) serve() *Handed {
	for {
		if len(x.in) == 0 && !x.await() {
			return nil
		}
		lane := x.next()
		if lane == nil {
			return x.handOver(nil)
		}
		t := &transaction{conn: x, lane: lane}
		switch t.run() {
		case left:
			return nil
		case unsent:
			return x.handOver(nil)
		case begun:
			return x.handOver(t.answered())
		}
		rest := copy(x.in, x.in[x.head.length+x.head.Body:])
		x.in = x.in[:rest]
		if x.server.closing.Load() {
			return nil
		}
	}
}

// await waits for the first bytes of a request. It returns false when the connection is
// of no more use.
func (x *conn) await() bool {
	x.in = x.server.buffers.shrink(x.in)
	if until := time.Until(x.until); until < minIdle {
		x.deadline(IdleTimeout)
	}
	x.idle.Store(true)
	if x.server.closing.Load() {
		return false
	}
	n, err := x.client.Read(x.in[:cap(x.in)])
	if !x.idle.CompareAndSwap(true, false) {
		return false // drained
	}
	x.in = x.in[:n]
	return err == nil
}

// release gives the buffers back. What was handed over is not among them.
func (x *conn) release() {
	x.server.buffers.give(x.in)
	x.server.buffers.give(x.out)
	x.in, x.out = nil, nil
}

func (x *conn) deadline(d time.Duration) {
	x.until = time.Time{}
	if d > 0 {
		x.until = time.Now().Add(d)
	}
	_ = x.client.SetReadDeadline(x.until)
}

// next reads on until there is a whole request. It returns nil for one that is not for
// a lane.
func (x *conn) next() *Lane {
	if x.context == nil {
		if !x.server.Admit(x.client) {
			return nil
		}
		x.context = x.server.Context(x.client)
	}
	lane := x.server.Lane()
	if lane == nil {
		return nil
	}
	for {
		h := &x.head
		switch f := h.parse(x.in); {
		case f == other, f == plain && h.length+h.Body > maxRequest:
			return nil
		case f == plain && len(x.in) >= h.length+h.Body:
			if !x.allowed(lane) {
				return nil
			}
			return lane
		}
		if !x.more() {
			return nil
		}
	}
}

// allowed reports whether the request may pass, and nothing but passing is to be done.
func (x *conn) allowed(lane *Lane) bool {
	h := &x.head
	if lane.Admit != nil && !lane.Admit(x.client) || lane.RequireHeader && !h.hasVault || x.server.Accepts != nil && !x.server.Accepts(h.host) {
		return false
	}
	q := h.Request
	if q.Namespace == "" {
		q.Namespace = lane.config.Namespace
	}
	x.started = time.Now()
	pass, ok := lane.config.Decide(x.context, q)
	if x.pass = pass; pass.Ticket != nil {
		x.started = time.Now() // before, Vault may have been asked about the caller
	}
	return ok
}

// more reads more of a request. It returns false when that does not come at once.
func (x *conn) more() bool {
	x.in = x.server.buffers.grow(x.in)
	for range 2 { // on a busy machine, the first may be over before it began
		x.deadline(maxWait)
		n, err := x.client.Read(x.in[len(x.in):cap(x.in)])
		x.in = x.in[:len(x.in)+n]
		if !timedOut(err) {
			return err == nil
		}
	}
	return false
}

// handOver gives the connection to the server behind, with what was read of it.
func (x *conn) handOver(a *answered) *Handed {
	x.deadline(0)
	h := &Handed{Conn: x.client, read: x.in}
	h.answer.Store(a)
	x.in = nil
	return h
}

// A watch waits for an app to leave, or to say more, while Vault is waited for.
type watch struct {
	done chan struct{}
	read [1]byte
	n    int
	left bool
}

// startWatch has the upstream closed when the app leaves.
func (x *conn) startWatch(up net.Conn) {
	x.deadline(0)
	w := &watch{done: make(chan struct{})}
	x.watch = w
	go func() { // endWatch waits for it
		defer close(w.done)
		n, err := x.client.Read(w.read[:])
		w.n = n
		if w.left = err != nil && !timedOut(err); w.left {
			_ = up.Close()
		}
	}()
}

// endWatch returns false when the app has left.
func (x *conn) endWatch() bool {
	w := x.watch
	if w == nil {
		return true
	}
	x.watch = nil
	x.deadline(time.Nanosecond)
	<-w.done
	x.in = append(x.in, w.read[:w.n]...)
	return !w.left
}

// timedOut reports whether err is the end of a deadline.
func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
