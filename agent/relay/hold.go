package relay

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
)

const (
	// maxUndecided is read of an answer without knowing whether it is a challenge.
	// In a challenge everything before auth is a few hundred bytes.
	maxUndecided = 16 << 10
	// stall is how long an undecided answer may pause. A challenge arrives at
	// once; what trickles is a stream that the app waits for.
	stall = 250 * time.Millisecond
)

// A heldBody is an answer's body whose beginning is read ahead. A goroutine
// reads until the scanner has decided; after that, or when the answer is
// released, Read continues where it stopped. Close ends the goroutine and waits.
type heldBody struct {
	src  io.ReadCloser
	done chan struct{} // closed when the goroutine no longer reads src

	mu       sync.Mutex
	scanner  mfa.Scanner
	scan     bool // false for encoded bodies, which are only collected
	buf      []byte
	offset   int
	err      error
	released bool
	progress chan struct{} // replaced and closed at each step
}

// hold starts to read src. With scan false nothing is decided before its end.
func hold(src io.ReadCloser, scan bool) *heldBody {
	h := &heldBody{src: src, scan: scan, done: make(chan struct{}), progress: make(chan struct{})}
	go h.readAhead()
	return h
}

func (h *heldBody) readAhead() {
	defer close(h.done)
	chunk := make([]byte, 4<<10)
	for {
		n, err := h.src.Read(chunk)
		if h.step(chunk[:n], err) {
			return
		}
		if n == len(chunk) && n < maxUndecided {
			chunk = make([]byte, 2*n)
		}
	}
}

// step takes what was read and reports whether to stop.
func (h *heldBody) step(p []byte, err error) (stop bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf = append(h.buf, p...)
	h.err = err
	if h.scan {
		h.scanner.Scan(p)
	}
	close(h.progress)
	h.progress = make(chan struct{})
	switch finding := h.scanner.Scan(nil); {
	case err != nil, h.released:
		return true
	case finding == mfa.Suspect:
		return len(h.buf) > mfa.MaxBody
	default:
		return finding == mfa.Ordinary || len(h.buf) > maxUndecided
	}
}

// body waits until the whole of a suspect answer is there and returns it. nil
// means that the answer is an ordinary one; it can be read from its start.
// truncated is set for a suspect that broke off or is too large.
func (h *heldBody) body(ctx context.Context) (whole []byte, truncated bool) {
	timer := time.NewTimer(stall)
	defer timer.Stop()
	for {
		h.mu.Lock()
		progress, suspect := h.progress, h.scanner.Scan(nil) == mfa.Suspect
		h.mu.Unlock()
		pause := timer.C
		if suspect {
			pause = nil
		}
		select {
		case <-h.done:
			return h.result()
		case <-progress:
		case <-pause:
			h.release()
			return nil, false
		case <-ctx.Done():
			h.release()
			return nil, false
		}
	}
}

func (h *heldBody) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.released = true
}

func (h *heldBody) result() (whole []byte, truncated bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	suspect := h.scanner.Scan(nil) == mfa.Suspect || !h.scan
	if !suspect {
		return nil, false
	}
	if h.err != io.EOF {
		return nil, h.scan
	}
	return h.buf, false
}

// Read implements io.Reader: first what was read ahead, then the source.
func (h *heldBody) Read(p []byte) (int, error) {
	for {
		h.mu.Lock()
		if h.offset < len(h.buf) {
			n := copy(p, h.buf[h.offset:])
			if h.offset += n; h.offset == len(h.buf) {
				h.buf, h.offset = h.buf[:0], 0
			}
			h.mu.Unlock()
			return n, nil
		}
		progress, err := h.progress, h.err
		h.mu.Unlock()
		if err != nil {
			return 0, err
		}
		select {
		case <-h.done:
			if h.drained() {
				return h.src.Read(p)
			}
		case <-progress:
		}
	}
}

// drained reports whether nothing is left of what was read ahead.
func (h *heldBody) drained() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.offset < len(h.buf) || h.err != nil {
		return false
	}
	h.buf, h.offset = nil, 0
	return true
}

// Close closes the source, which ends the read ahead, and waits for that.
func (h *heldBody) Close() error {
	err := h.src.Close()
	<-h.done
	return err
}
