package relay

import (
	"errors"
	"hash"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// A keptBody is the body of a request while it streams to Vault. It remembers
// what went by, up to a limit and as far as the budget goes, so that the request
// can be sent again after a redirect or a 403. Each [keptBody.reader] is one
// sending; net/http may still read an earlier one after its answer came, so the
// next waits for its Close. [keptBody.done] ends it.
type keptBody struct {
	src    io.ReadCloser
	limit  int64
	length int64 // as announced; less than 0 when unknown
	kept   *chunks

	mu     sync.Mutex // one reader of src at a time
	err    error      // how src ended; io.EOF when it is kept whole
	lost   bool       // more went by than was kept: cannot be sent again
	shared bool       // others may send it after this request has ended
	ended  atomic.Bool
	closed chan struct{}
}

// once is b for a request that net/http must not repeat by itself. It repeats
// only what has no body at all (net/http, Request.isReplayable), so where there
// is none, an empty one takes its place; it is not seen on the wire.
func (b *keptBody) once() *keptBody {
	if b != nil {
		return b
	}
	return &keptBody{src: io.NopCloser(strings.NewReader("")), kept: newChunks(nil), err: io.EOF}
}

// keepOnce is once for the headers: net/http also repeats what has no body and one
// of these. Written in small letters, which mean the same, it does not know them.
func keepOnce(h http.Header) {
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values, ok := h[name]; ok {
			delete(h, name)
			h[strings.ToLower(name)] = values
		}
	}
}

// newBody is a body that is known as a whole; nil when it is empty.
func newBody(data []byte) *keptBody {
	if len(data) == 0 {
		return nil
	}
	kept := newChunks(nil)
	kept.list, kept.size = [][]byte{data}, int64(len(data))
	return &keptBody{src: http.NoBody, kept: kept, err: io.EOF}
}

// newKeptBody takes over the body of r. nil means that r has none.
func newKeptBody(r *http.Request, limit int64, budget *Budget) *keptBody {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	return &keptBody{src: r.Body, limit: limit, length: r.ContentLength, kept: newChunks(budget)}
}

// done gives back the memory, at once or when net/http lets go of the last reader.
// It is called once, when the request is answered or its app has left.
func (b *keptBody) done() {
	if b == nil {
		return
	}
	b.ended.Store(true)
	if b.shared {
		// Requests that are the same share one first try, which goes on with this
		// body when this request has left. Each such try has another request that
		// waits for it, with the same body, which is in the budget.
		b.kept.unbudgeted()
		return
	}
	b.kept.letGo()
}

// share says that the body may be sent by others when this request has ended, or
// that it may not any more.
func (b *keptBody) share(shared bool) {
	if b != nil {
		b.shared = shared
	}
}

// whole reports whether all of the body went by and is kept.
func (b *keptBody) whole() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err == io.EOF && !b.lost
}

// len is how much is kept.
func (b *keptBody) len() int64 {
	if b == nil {
		return 0
	}
	return b.kept.len()
}

// hash adds what is kept to h.
func (b *keptBody) hash(h hash.Hash) {
	if b != nil {
		b.kept.hash(h)
	}
}

// bytes copies what is kept.
func (b *keptBody) bytes() []byte {
	all := make([]byte, b.len())
	var at place
	for n := 0; n < len(all); {
		n += b.kept.read(all[n:], &at)
	}
	return all
}

// fill reads src to its end and reports whether all of it is kept. Reading stops
// one byte past the limit, or where the budget ends; what was read is not lost.
func (b *keptBody) fill() (whole bool, err error) {
	if b == nil {
		return true, nil
	}
	if b.length > b.limit {
		return false, nil // nothing to try: it would only take from the budget
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
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
		case err == io.EOF && b.kept.len() <= b.limit:
			b.err = io.EOF
			return true, nil
		case err == io.EOF:
			return false, nil
		case err != nil:
			return false, &bodyError{err}
		}
	}
}

// rest is how much of the body is still to come; less than 0 when unknown.
func (b *keptBody) rest() int64 {
	if b.length < 0 {
		return -1
	}
	return max(b.length-b.kept.len(), 0)
}

// reader returns the body from its start, or false when it cannot be had again.
// It waits until net/http let go of the reader before.
func (b *keptBody) reader() (io.ReadCloser, bool) {
	if b == nil {
		return http.NoBody, true
	}
	if b.closed != nil {
		<-b.closed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost || !b.kept.hold() {
		return nil, false
	}
	b.closed = make(chan struct{})
	return &bodyReader{body: b, closed: b.closed}, true
}

// bodyReader reads what is kept, then on from src.
type bodyReader struct {
	body   *keptBody
	at     place
	once   sync.Once
	closed chan struct{}
}

// A bodyError is a body that the app did not send as HTTP wants it, or not to its
// end. It says nothing about Vault.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return e.err.Error() }

func (e *bodyError) Unwrap() error { return e.err }

var errBodyClosed = errors.New("body of the request was closed")

func (r *bodyReader) Read(p []byte) (int, error) {
	b := r.body
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-r.closed:
		return 0, errBodyClosed
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
// use any more. What fill read past the limit stays until it was sent.
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
	r.once.Do(func() {
		close(r.closed)
		r.body.kept.letGo()
	})
	return nil
}
