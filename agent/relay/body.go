package relay

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// A replayableBody is the body of a request while it streams to Vault. It remembers
// what went by, up to a limit and as far as the budget goes, so that the request
// can be sent again after a redirect or a 403. Each [replayableBody.reader] is one
// sending; net/http may still read an earlier one after its answer came, so the
// next waits for its Close. [replayableBody.done] ends it.
type replayableBody struct {
	src    io.ReadCloser // http.NoBody for a request without a body
	limit  int64
	length int64 // as announced; less than 0 when unknown
	kept   *chunks

	mu     sync.Mutex // one reader of src at a time
	err    error      // how src ended; io.EOF when it is fully buffered
	lost   bool       // more went by than was kept: cannot be sent again
	shared bool       // others may send it after this request has ended
	ended  atomic.Bool
	closed chan struct{}
}

// newReplayableBody takes over the body of r.
func newReplayableBody(r *http.Request, limit int64, budget *Budget) *replayableBody {
	if r.Body == nil || r.Body == http.NoBody {
		return newBody(nil)
	}
	return &replayableBody{src: r.Body, limit: limit, length: r.ContentLength, kept: newChunks(budget)}
}

// newBody is a body that is all there.
func newBody(data []byte) *replayableBody {
	kept := newChunks(nil)
	if len(data) > 0 {
		kept.list, kept.size = [][]byte{data}, int64(len(data))
	}
	return &replayableBody{src: http.NoBody, kept: kept, err: io.EOF}
}

// disableRetry keeps net/http from repeating r by itself when a kept connection breaks
// before the answer, and returns the body to send: a repetition would be a second push,
// or a code that arrives twice. Requests that Vault has not begun are sent again all the same
// (vault.Transport).
//
// net/http repeats a GET that has no body at all, and what has no body and one of two
// headers (net/http, Request.isReplayable); over HTTP/2 whatever has no body, after errors
// that do not tell whether it was carried out. A body that turns out to be empty is not seen
// on the wire of a GET. The headers in small letters mean the same, but net/http does not know
// them.
func disableRetry(r *http.Request, body *replayableBody) *replayableBody {
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values, ok := r.Header[name]; ok {
			delete(r.Header, name)
			r.Header[strings.ToLower(name)] = values
		}
	}
	if body.absent() && (r.Method == http.MethodGet || r.URL.Scheme == "https") {
		return &replayableBody{src: io.NopCloser(strings.NewReader("")), kept: newChunks(nil), err: io.EOF}
	}
	return body
}

// done gives back the memory, at once or when net/http lets go of the last reader.
// It is called once, when the request is answered or its app has left.
func (b *replayableBody) done() {
	b.ended.Store(true)
	if b.shared {
		// Requests that are the same share one first try, which goes on with this
		// body when this request has left. Each such try has another request that
		// waits for it, with the same body, which is in the budget.
		b.kept.unbudgeted()
		return
	}
	b.kept.removeUser()
}

// absent reports whether the request has no body, not even an empty one.
func (b *replayableBody) absent() bool { return b.src == http.NoBody && b.kept.len() == 0 }

// fullyBuffered reports whether all of the body went by and is kept.
func (b *replayableBody) fullyBuffered() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err == io.EOF && !b.lost
}

// bytes copies what is kept.
func (b *replayableBody) bytes() []byte {
	all := make([]byte, b.kept.len())
	var at position
	for n := 0; n < len(all); {
		n += b.kept.read(all[n:], &at)
	}
	return all
}

// buffer reads src to its end and reports whether all of it is kept. Reading stops
// one byte past the limit, or where the budget ends; what was read is not lost.
func (b *replayableBody) buffer() (complete bool, err error) {
	if b.length > b.limit {
		return false, nil // nothing to try: it would only take from the budget
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.err == nil {
		left := b.limit + 1 - b.kept.len()
		if left <= 0 {
			return false, nil
		}
		room := b.kept.room(b.rest())
		if room == nil {
			return false, nil
		}
		n, err := b.src.Read(room[:min(left, int64(len(room)))])
		b.kept.add(n)
		switch {
		case err == io.EOF && b.kept.len() > b.limit:
			return false, nil
		case err == io.EOF:
			b.err = io.EOF
		case err != nil:
			return false, &bodyError{err}
		}
	}
	return b.err == io.EOF, nil
}

// rest is how much of the body is still to come; less than 0 when unknown.
func (b *replayableBody) rest() int64 {
	if b.length < 0 {
		return -1
	}
	return max(b.length-b.kept.len(), 0)
}

// reader returns the body from its start, or false when it cannot be had again.
// It waits until net/http let go of the reader before.
func (b *replayableBody) reader() (io.ReadCloser, bool) {
	if b.absent() {
		return http.NoBody, true
	}
	if b.closed != nil {
		<-b.closed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost || !b.kept.addUser() {
		return nil, false
	}
	b.closed = make(chan struct{})
	return &bodyReader{body: b, closed: b.closed}, true
}

// errBodyGone ends the repetition of a request whose body was not kept.
var errBodyGone = errors.New("the body of the request was not kept")

// again is for http.Request.GetBody.
func (b *replayableBody) again() (io.ReadCloser, error) {
	reader, ok := b.reader()
	if !ok {
		return nil, errBodyGone
	}
	return reader, nil
}

// bodyReader reads what is kept, then on from src.
type bodyReader struct {
	body    *replayableBody
	at      position
	closing sync.Once
	closed  chan struct{}
}

// A bodyError is a body that the app did not send as HTTP wants it, or not to its
// end. It says nothing about Vault.
type bodyError struct{ error }

func (e *bodyError) Unwrap() error { return e.error }

func (r *bodyReader) Read(p []byte) (int, error) {
	b := r.body
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-r.closed:
		return 0, http.ErrBodyReadAfterClose
	default:
	}
	if n := b.kept.read(p, &r.at); n > 0 {
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.src.Read(p)
	if err != nil && err != io.EOF {
		err = &bodyError{err}
	}
	b.err = err
	r.keep(p[:n])
	return n, err
}

// keep remembers p, or forgets everything once that would be too much, or of no
// use any more. What buffer read past the limit stays until it was sent.
func (r *bodyReader) keep(p []byte) {
	b := r.body
	if b.lost || len(p) == 0 {
		return
	}
	if b.ended.Load() || b.length > b.limit || b.kept.len()+int64(len(p)) > b.limit || !b.kept.write(p, b.rest()) {
		b.lost = true
		b.kept.drop()
		return
	}
	b.kept.skip(&r.at)
}

// Close lets go of the reader; the source is closed by the server that owns it.
func (r *bodyReader) Close() error {
	r.closing.Do(func() {
		close(r.closed)
		r.body.kept.removeUser()
	})
	return nil
}
