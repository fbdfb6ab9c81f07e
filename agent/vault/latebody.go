package vault

import (
	"io"
	"sync"
)

// A lateBody is the body of a request while net/http sends it. Closing it has no effect
// before net/http is done, as long as nothing was read of it: where a connection of HTTP/2
// turns out to be of no use, net/http closes the body, and then sends the same request, with
// the same body, over another one (h2_bundle.go, cleanupWriteRequest and
// shouldRetryRequest).
type lateBody struct {
	inner io.ReadCloser

	mu     sync.Mutex
	read   bool // something was read, or tried to be
	closed bool // a close was put off
	ended  bool // net/http sends it no more
}

// Read implements io.Reader.
func (b *lateBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	if !b.ended {
		b.read = true
	}
	b.mu.Unlock()
	return b.inner.Read(p)
}

// Close implements io.Closer.
func (b *lateBody) Close() error {
	b.mu.Lock()
	late := !b.read && !b.ended
	b.closed = b.closed || late
	b.mu.Unlock()
	if late {
		return nil
	}
	return b.inner.Close()
}

// end is called when net/http has returned. It closes what was closed before, also where
// net/http has read of it after that: it does not close it again then.
func (b *lateBody) end() {
	b.mu.Lock()
	b.ended = true
	closed := b.closed
	b.mu.Unlock()
	if closed {
		_ = b.inner.Close()
	}
}
