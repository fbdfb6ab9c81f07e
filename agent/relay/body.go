package relay

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
)

// A keptBody is the body of a request while it streams to Vault. It remembers
// what went by, up to a limit, so that the request can be sent again after a
// redirect or a 403. Each [keptBody.reader] is one sending; net/http may still
// read an earlier one after its answer came, so the next waits for its Close.
type keptBody struct {
	src   io.ReadCloser
	limit int64

	mu     sync.Mutex // one reader at a time
	kept   []byte
	err    error // how src ended; io.EOF when it is kept whole
	lost   bool  // more went by than was kept: cannot be sent again
	closed chan struct{}
}

// once is b for a request that net/http must not repeat by itself. It repeats
// only what has no body at all (net/http, Request.isReplayable), so where there
// is none, an empty one takes its place; it is not seen on the wire.
func (b *keptBody) once() *keptBody {
	if b != nil {
		return b
	}
	return &keptBody{src: io.NopCloser(strings.NewReader("")), err: io.EOF}
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
	return &keptBody{src: http.NoBody, kept: data, err: io.EOF}
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

// bytes are what is kept; the caller does not change them.
func (b *keptBody) bytes() []byte {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept
}

// newKeptBody takes over the body of r. nil means that r has none.
func newKeptBody(r *http.Request, limit int64) *keptBody {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	return &keptBody{src: r.Body, limit: limit}
}

// fill reads src to its end and reports whether all of it is kept. Reading
// stops one byte past the limit; what was read is not lost.
func (b *keptBody) fill() (whole bool, err error) {
	if b == nil {
		return true, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	data, err := io.ReadAll(io.LimitReader(b.src, b.limit+1))
	b.kept = data
	if err != nil {
		return false, &bodyError{err}
	}
	if int64(len(data)) > b.limit {
		return false, nil
	}
	b.err = io.EOF
	return true, nil
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
	if b.lost {
		return nil, false
	}
	b.closed = make(chan struct{})
	return &bodyReader{body: b, closed: b.closed}, true
}

// bodyReader reads what is kept, then on from src.
type bodyReader struct {
	body   *keptBody
	offset int
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
	if !b.lost && r.offset < len(b.kept) {
		n := copy(p, b.kept[r.offset:])
		r.offset += n
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

// keep remembers p, or forgets everything once that would be too much. What
// fill read past the limit stays until it was sent.
func (r *bodyReader) keep(p []byte) {
	b := r.body
	r.offset += len(p)
	if b.lost || len(p) == 0 {
		return
	}
	if int64(len(b.kept)+len(p)) > b.limit {
		b.kept, b.lost = nil, true
		return
	}
	b.kept = append(b.kept, p...)
}

// Close lets go of the reader; the source is closed by the server that owns it.
func (r *bodyReader) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}
