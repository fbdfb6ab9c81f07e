package state

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
)

// maxAhead is how far the fastest reader of a shared answer may be ahead of the
// slowest, in bytes. It bounds what is kept; the answer itself may be of any length.
const maxAhead = 1 << 20

var errReaderClosed = errors.New("answer was closed")

// A fanout hands one answer to several requests. Each reads all of the body at
// its own pace, as it comes.
type fanout struct {
	resp *http.Response
	end  context.CancelFunc // ends a read of the body that waits

	mu      sync.Mutex
	kept    []byte // what some reader has not read yet
	from    int64  // where in the body it starts
	err     error  // how the body ended
	readers map[*copyReader]bool
	changed chan struct{} // closed and replaced when any of these change
}

func newFanout(resp *http.Response, end context.CancelFunc) *fanout {
	return &fanout{resp: resp, end: end, readers: make(map[*copyReader]bool), changed: make(chan struct{})}
}

// copy is the answer for one more request. All copies are made before pump runs.
func (f *fanout) copy() *http.Response {
	c := *f.resp
	c.Header, c.Trailer = f.resp.Header.Clone(), f.resp.Trailer.Clone()
	r := &copyReader{fanout: f, resp: &c, closed: make(chan struct{})}
	c.Body = r
	f.readers[r] = true
	return &c
}

// pump reads the body to its end, or until no copy is read any more.
func (f *fanout) pump() {
	defer func() { _ = f.resp.Body.Close() }()
	chunk := make([]byte, 32<<10)
	for f.room() {
		n, err := f.resp.Body.Read(chunk)
		f.mu.Lock()
		f.kept = append(f.kept, chunk[:n]...)
		f.err = err
		f.wakeLocked()
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// room waits until the readers have caught up; false means that there are none.
func (f *fanout) room() bool {
	for {
		f.mu.Lock()
		readers, full, changed := len(f.readers), len(f.kept) >= maxAhead, f.changed
		f.mu.Unlock()
		if readers == 0 || !full {
			return readers > 0
		}
		<-changed
	}
}

func (f *fanout) wakeLocked() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// trimLocked forgets what every reader has read.
func (f *fanout) trimLocked() {
	least := f.from + int64(len(f.kept))
	for r := range f.readers {
		least = min(least, r.at)
	}
	f.kept, f.from = f.kept[least-f.from:], least
	if len(f.kept) == 0 {
		f.kept = nil // and with it the array behind it
	}
}

// A copyReader is the body of one copy.
type copyReader struct {
	fanout *fanout
	resp   *http.Response
	at     int64 // guarded by the fanout's mu
	once   sync.Once
	closed chan struct{}
}

// Read implements io.Reader.
func (r *copyReader) Read(p []byte) (int, error) {
	for {
		n, wait, err := r.read(p)
		if wait == nil {
			return n, err
		}
		select {
		case <-wait:
		case <-r.closed:
			return 0, errReaderClosed
		}
	}
}

// read is one look; wait is closed when there may be more to see.
func (r *copyReader) read(p []byte) (n int, wait <-chan struct{}, err error) {
	f := r.fanout
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-r.closed:
		return 0, nil, errReaderClosed
	default:
	}
	if rest := f.kept[r.at-f.from:]; len(rest) > 0 || len(p) == 0 {
		n = copy(p, rest)
		r.at += int64(n)
		f.trimLocked()
		f.wakeLocked()
		return n, nil, nil
	}
	if f.err == nil {
		return 0, f.changed, nil
	}
	if f.err == io.EOF && f.resp.Trailer != nil {
		// net/http fills it in at the end of the body.
		if r.resp.Trailer == nil {
			r.resp.Trailer = make(http.Header)
		}
		maps.Copy(r.resp.Trailer, f.resp.Trailer.Clone())
	}
	return 0, nil, f.err
}

// Close lets go of the copy; the last one to do so ends the answer.
func (r *copyReader) Close() error {
	r.once.Do(func() {
		f := r.fanout
		f.mu.Lock()
		defer f.mu.Unlock()
		close(r.closed)
		delete(f.readers, r)
		f.trimLocked()
		f.wakeLocked()
		if len(f.readers) == 0 {
			f.end()
		}
	})
	return nil
}
