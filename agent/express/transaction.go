package express

import (
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
)

// An end is how a transaction ended.
type end int

const (
	done   end = iota
	left       // the connection is of no more use
	unsent     // Vault has not seen the request, or has ended a read without an answer
	begun      // the server behind goes on with the answer
)

// A transaction is one request on its way to Vault and back.
type transaction struct {
	*conn
	lane  *Lane
	up    *upstream
	err   error // instead of an answer
	sent  time.Time
	spent time.Duration // before it was sent
	read  time.Time     // when the last of the head was there
}

// run sends the request and hands on the answer.
func (t *transaction) run() end {
	if !t.send() {
		return unsent
	}
	if e := t.readHead(); e != done {
		stays := t.endWatch()
		t.upstream.Store(nil)
		if stays {
			return e
		}
		t.count(0)
		_ = t.up.Close()
		return left
	}
	t.count(t.answer.status)
	t.lane.taken.Add(1)
	if t.pass.Served != nil {
		t.pass.Served()
	}
	whole, clean := t.copyBody()
	// Only then the connection to Vault may be another request's: the watch closes it.
	stays := t.endWatch()
	t.upstream.Store(nil)
	if stays && clean {
		t.lane.pool.put(t.up)
		return done
	}
	_ = t.up.Close()
	if stays && whole {
		return done
	}
	return left
}

// send writes the request to a connection that is kept, or to a new one. It returns false
// where Vault has not seen it.
func (t *transaction) send() bool {
	maxAge := t.lane.config.IdleTimeout
	if !t.head.Reads() {
		maxAge = min(maxAge, t.lane.config.Fresh)
	}
	up, err := t.lane.pool.get(t.context, maxAge)
	if err != nil {
		return false // the server behind dials again, and says what is wrong
	}
	t.up = up
	t.conn.upstream.Store(up)
	if t.out == nil {
		t.out = t.server.buffers.take()
	}
	t.out = t.head.appendTo(t.out[:0], t.in, &t.lane.config, t.pass)
	t.sent = time.Now()
	t.spent = t.sent.Sub(t.started)
	_ = up.SetReadDeadline(t.sent.Add(min(patience, t.lane.config.Timeout)))
	n, err := up.Write(t.out)
	if err == nil {
		return true
	}
	if n == 0 && up.reused {
		_ = up.Close()
		return false
	}
	t.err = err
	return true
}

// readHead reads until the head of the answer is there, and as much of a JSON answer as is
// needed to know that it is no challenge.
func (t *transaction) readHead() end {
	if t.err != nil {
		return t.failed()
	}
	t.out = t.out[:0]
	for {
		if e := t.readMore(); e != done {
			return e
		}
		switch t.answer.parse(t.out) {
		case plain:
			return t.decide()
		case other:
			return begun
		}
	}
}

// readMore reads more of the head.
func (t *transaction) readMore() end {
	t.out = t.server.buffers.grow(t.out)
	for {
		n, err := t.up.Read(t.out[len(t.out):cap(t.out)])
		t.out = t.out[:len(t.out)+n]
		switch {
		case n > 0:
			t.read = time.Now()
			return done
		case err == nil:
		case t.watch == nil && timedOut(err) && t.lane.config.Timeout > patience:
			t.startWatch(t.up)
			_ = t.up.SetReadDeadline(t.sent.Add(t.lane.config.Timeout))
		default:
			t.err = err
			return t.failed()
		}
	}
}

// failed is the end after an error. A read that a kept connection gave no answer to goes
// out again, as net/http has it: that connection was closed at the same moment.
func (t *transaction) failed() end {
	if t.up.reused && t.head.Reads() && len(t.out) == 0 && !timedOut(t.err) {
		_ = t.up.Close()
		return unsent
	}
	return begun
}

// decide reads the beginning of a JSON answer until it is no challenge.
func (t *transaction) decide() end {
	h := &t.answer
	// The framing and the scanner go over the body once here, and the framing again when
	// it is written: until then the server behind may still get the answer as it came.
	trial, at := h.framing, h.length
	if !h.json {
		if _, _, ok := trial.advance(t.out[at:], nil); !ok {
			return begun // chunks that net/http may read all the same
		}
		return done
	}
	t.scan = mfa.Scanner{}
	finding := mfa.Undecided
	look := func(data []byte) { finding = t.scan.Scan(data) }
	for {
		n, ended, ok := trial.advance(t.out[at:], look)
		at += n
		switch {
		case !ok || finding == mfa.Suspect:
			return begun
		case ended || finding == mfa.Ordinary || at-h.length > mfa.MaxUndecided:
			return done
		}
		t.out = t.server.buffers.grow(t.out)
		_ = t.up.SetReadDeadline(time.Now().Add(mfa.MaxPause))
		got, err := t.up.Read(t.out[len(t.out):cap(t.out)])
		t.out = t.out[:len(t.out)+got]
		if got == 0 && err != nil {
			if !timedOut(err) {
				t.err = err
			}
			return begun
		}
	}
}

// answered is what the server behind gets.
func (t *transaction) answered() *answered {
	a := &answered{conn: t.up, read: t.out, err: t.err, lane: t.lane, ticket: t.pass.Ticket}
	if len(t.out) > 0 {
		a.err = nil // it meets the error when it reads on
	}
	t.out = nil
	return a
}

func (t *transaction) count(status int) {
	if t.lane.Count != nil {
		if !t.read.IsZero() {
			t.spent += time.Since(t.read)
		}
		t.lane.Count(status, t.spent)
	}
}

// copyBody hands on what was read, and the rest of the answer as it comes. whole reports
// whether the app has all of it, clean whether the connection to Vault can be used again.
func (t *transaction) copyBody() (whole, clean bool) {
	h := &t.answer
	n, ended, ok := h.framing.advance(t.out[h.length:], nil)
	total := h.length + n
	if err := t.writeBeginning(total); err != nil || !ok {
		return false, false
	}
	if ended {
		return true, total == len(t.out) && !h.close
	}
	whole, clean = t.copyRest()
	return whole, whole && clean && !h.close
}

// writeBeginning hands on the head and the beginning of the body, which are in out.
func (t *transaction) writeBeginning(length int) error {
	h, mark := &t.answer, t.pass.Mark
	b := h.compact(t.out[:length])
	if mark == "" {
		_, err := t.client.Write(b)
		return err
	}
	body := length - h.length
	end := len(b) - body - len("\r\n")
	marked := append(t.server.buffers.take(), b[:end]...)
	marked = append(append(marked, mark...), b[end:]...)
	_, err := t.client.Write(marked)
	t.server.buffers.give(marked)
	return err
}

// copyRest copies until the end of the body. clean reports whether nothing came after it.
func (t *transaction) copyRest() (ended, clean bool) {
	if len(t.in) == t.head.length+t.head.Body {
		t.forget()
	}
	if t.watch != nil {
		_ = t.up.SetReadDeadline(time.Time{}) // that of the head; a body may pause for hours
	}
	f := &t.answer.framing
	t.out = t.server.buffers.shrink(t.out)
	for {
		b := t.out[:cap(t.out)]
		n, err := t.up.Read(b)
		if n > 0 {
			body, ended, ok := f.advance(b[:n], nil)
			if _, err := t.client.Write(b[:body]); err != nil || !ok {
				return false, false
			}
			if ended {
				return true, body == n
			}
			switch {
			case n == small: // more is there than that
				t.out = t.server.buffers.grow(b)[:0]
			case n < small:
				t.out = t.server.buffers.shrink(t.out)
			}
			continue
		}
		if err == nil {
			continue
		}
		if t.watch != nil || !timedOut(err) {
			return false, false
		}
		t.startWatch(t.up)
		_ = t.up.SetReadDeadline(time.Time{})
		t.out = t.server.buffers.shrink(t.out)
	}
}

// forget gives back the request: it is not sent again once its answer is handed on.
func (t *transaction) forget() {
	t.server.buffers.give(t.in)
	t.in, t.head.length, t.head.Body = nil, 0, 0
}
