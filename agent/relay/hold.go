package relay

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
)

// firstChunk is enough for most answers.
const firstChunk = 4 << 10

// A heldBody is an answer's body whose beginning is read ahead. A goroutine
// reads until the scanner has decided; after that, or when the answer is
// released, Read continues where it stopped. Close ends the goroutine and waits.
type heldBody struct {
	src  io.ReadCloser
	scan bool          // false for encoded bodies, which are only collected
	done chan struct{} // closed when the goroutine no longer reads src

	mu       sync.Mutex
	more     sync.Cond // signals each step of the goroutine
	reading  bool      // the goroutine has src
	scanner  mfa.Scanner
	buf      []byte
	offset   int
	err      error
	released bool
}

// readAhead returns the text of an answer that may hold a challenge, unpacked, or of any
// answer where scan is false; nil is an ordinary one. The body of resp can be read from
// its start all the same. truncated is set for a suspect that broke off or is too large.
func readAhead(ctx context.Context, resp *http.Response, scan bool) (text []byte, truncated bool) {
	names := codings(resp.Header)
	held := hold(resp.Body, scan && len(names) == 0)
	resp.Body = held
	all, truncated := held.body(ctx)
	return decode(all, names), truncated
}

// hold starts to read src. With scan false nothing is decided before its end.
func hold(src io.ReadCloser, scan bool) *heldBody {
	h := &heldBody{src: src, scan: scan, reading: true, done: make(chan struct{}), buf: make([]byte, 0, firstChunk)}
	h.more.L = &h.mu
	go h.readAhead()
	return h
}

func (h *heldBody) readAhead() {
	defer close(h.done)
	chunk := make([]byte, firstChunk)
	for {
		n, err := h.src.Read(chunk)
		if h.step(chunk[:n], err) {
			return
		}
	}
}

// step takes what was read and reports whether to stop.
func (h *heldBody) step(p []byte, err error) (stop bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf = append(h.buf, p...)
	h.err = err
	finding := mfa.Undecided
	if h.scan {
		finding = h.scanner.Scan(p)
	}
	switch {
	case err != nil, h.released:
		stop = true
	case finding == mfa.Suspect:
		stop = len(h.buf) > mfa.MaxBody
	default:
		stop = finding == mfa.Ordinary || len(h.buf) > mfa.MaxUndecided
	}
	h.reading = !stop
	h.more.Broadcast()
	return stop
}

// body waits until all of a suspect answer is there and returns it. nil means that the
// answer is an ordinary one; it can be read from its start. truncated is set for a
// suspect that broke off or is too large.
func (h *heldBody) body(ctx context.Context) (all []byte, truncated bool) {
	timer := time.NewTimer(mfa.MaxPause)
	defer timer.Stop()
	select {
	case <-h.done:
		return h.result()
	case <-timer.C:
	case <-ctx.Done():
	}
	if !h.release() {
		return nil, false
	}
	// A challenge has begun: the rest of it is worth waiting for.
	select {
	case <-h.done:
		return h.result()
	case <-ctx.Done():
		return nil, false
	}
}

// release lets the answer go on unless it is a suspect, which it reports.
func (h *heldBody) release() (suspect bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	suspect = h.scanner.Scan(nil) == mfa.Suspect
	h.released = !suspect
	return suspect
}

func (h *heldBody) result() (all []byte, truncated bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.scan && h.scanner.Scan(nil) != mfa.Suspect {
		return nil, false
	}
	if h.err != io.EOF {
		return nil, h.scan
	}
	return h.buf, false
}

// Read implements io.Reader: first what was read ahead, then the source.
func (h *heldBody) Read(p []byte) (int, error) {
	h.mu.Lock()
	for h.reading && h.offset == len(h.buf) {
		h.more.Wait()
	}
	if h.offset < len(h.buf) {
		defer h.mu.Unlock()
		n := copy(p, h.buf[h.offset:])
		h.offset += n
		return n, nil
	}
	err := h.err
	h.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return h.src.Read(p)
}

// Close closes the source, which ends the read ahead, and waits for that.
func (h *heldBody) Close() error {
	err := h.src.Close()
	<-h.done
	return err
}
