package express

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// maxIdle is how many connections a route keeps.
const maxIdle = 256

var errFull = errors.New("too many connections")

// A pool keeps the connections to one Vault that are not in use. Nothing reads them
// meanwhile: get looks whether one is still open.
type pool struct {
	dialer   Dialer
	lifetime time.Duration
	maxOpen  int // 0 means no limit

	mu    sync.Mutex
	idle  []*upstream // the last one was used last
	open  int
	era   int         // of what is idle
	sweep *time.Timer // set while there is one that is kept
}

// An upstream is a connection to Vault.
type upstream struct {
	net.Conn
	reused bool
	since  time.Time // when it was last used, by the wall clock: the other one stands still in a sleep
	close  func() error
}

// Close implements net.Conn. It may be called again.
func (u *upstream) Close() error { return u.close() }

// unused is how long u is kept. A clock that was set back makes that long, too.
func (u *upstream) unused() time.Duration { return time.Now().Round(0).Sub(u.since).Abs() }

// get returns a connection that was used within maxAge, or opens one. The caller puts or
// closes it.
func (p *pool) get(ctx context.Context, maxAge time.Duration) (*upstream, error) {
	era := p.dialer.Era()
	p.mu.Lock()
	if era != p.era {
		p.era = era
		p.mu.Unlock()
		p.closeIdle()
		p.mu.Lock()
	}
	for len(p.idle) > 0 {
		u := p.idle[len(p.idle)-1]
		if age := u.unused(); age >= maxAge && age < p.lifetime {
			break // all others are older, and good for other requests
		}
		p.idle = p.idle[:len(p.idle)-1]
		if u.unused() < p.lifetime && u.quiet() {
			p.mu.Unlock()
			u.reused = true
			return u, nil
		}
		p.mu.Unlock()
		_ = u.Close()
		p.mu.Lock()
	}
	if p.maxOpen > 0 && p.open >= p.maxOpen {
		p.mu.Unlock()
		return nil, errFull
	}
	p.open++
	p.mu.Unlock()
	c, err := p.dialer.Dial(ctx)
	if err != nil {
		p.closed()
		return nil, err
	}
	u := &upstream{Conn: c}
	u.close = sync.OnceValue(func() error {
		p.closed()
		return c.Close()
	})
	return u, nil
}

func (p *pool) closed() {
	p.mu.Lock()
	p.open--
	p.mu.Unlock()
}

// put keeps u for another request.
func (p *pool) put(u *upstream) {
	u.since = time.Now().Round(0)
	p.mu.Lock()
	full := len(p.idle) >= maxIdle
	if !full {
		p.idle = append(p.idle, u)
		if p.sweep == nil {
			p.sweep = time.AfterFunc(p.lifetime, p.closeOld)
		}
	}
	p.mu.Unlock()
	if full {
		_ = u.Close()
	}
}

// closeOld closes the connections that were not used for their time. It runs only as
// often as one may be: an idle agent sleeps.
func (p *pool) closeOld() {
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && p.idle[n].unused() >= p.lifetime {
		n++
	}
	old := p.idle[:n:n]
	p.idle = append([]*upstream(nil), p.idle[n:]...)
	p.sweep = nil
	if len(p.idle) > 0 {
		p.sweep = time.AfterFunc(p.lifetime-p.idle[0].unused(), p.closeOld)
	}
	p.mu.Unlock()
	for _, u := range old {
		_ = u.Close()
	}
}

// closeIdle closes all that are kept.
func (p *pool) closeIdle() {
	p.mu.Lock()
	all := p.idle
	p.idle = nil
	if p.sweep != nil {
		p.sweep.Stop()
		p.sweep = nil
	}
	p.mu.Unlock()
	for _, u := range all {
		_ = u.Close()
	}
}

// quiet reports whether u is open and Vault has sent nothing by it: it closes a
// connection that was idle for too long, and then a request would get no answer.
func (u *upstream) quiet() bool {
	c := u.Conn
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Control(func(fd uintptr) { quiet = nothingToRead(fd) })
	return err == nil && quiet
}
