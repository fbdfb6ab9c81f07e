package relay

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// newTestBody is the body of a request; length is what the request announces.
func newTestBody(src io.Reader, length, limit int64, b *Budget) *replayableBody {
	return newReplayableBody(&http.Request{Body: io.NopCloser(src), ContentLength: length}, limit, b)
}

// Whatever a body's size, limit and budget: each sending has all of it, fill says
// truly whether there can be a second one, and no more is taken than is kept.
func TestReplayableBodyIsFullyBufferedOrSentOnce(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		data := make([]byte, r.IntN(300<<10)+1)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		length := int64(len(data))
		if r.IntN(2) == 0 {
			length = -1
		}
		limit, budget := int64(r.IntN(400<<10)), NewBudget(int64(r.IntN(400<<10)))
		body := newTestBody(iotest.HalfReader(bytes.NewReader(data)), length, limit, budget)
		filled := r.IntN(2) == 0
		whole := false
		if filled {
			var err error
			if whole, err = body.buffer(); err != nil {
				t.Fatal(err)
			}
			if whole && !bytes.Equal(body.bytes(), data) {
				t.Fatal("what is kept is not what was read")
			}
		}
		for n := range 3 {
			reader, ok := body.reader()
			if !ok {
				if n == 0 || whole {
					t.Fatalf("sending %d of %d bytes is not possible", n, len(data))
				}
				break
			}
			got, err := io.ReadAll(iotest.HalfReader(reader))
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("sending %d has %d bytes of %d, %v", n, len(got), len(data), err)
			}
			_ = reader.Close()
			if used := budget.Used(); used > budget.limit.Load() || used > int64(len(data))*2+minChunk {
				t.Fatalf("%d bytes for a body of %d, budget %d", used, len(data), budget.limit.Load())
			}
			if n == 0 && !filled {
				whole = body.fullyBuffered()
			}
		}
		if int64(len(data)) > limit && whole {
			t.Fatalf("%d bytes are kept where the limit is %d", len(data), limit)
		}
		body.done()
		if used := budget.Used(); used != 0 {
			t.Fatalf("%d bytes are still kept", used)
		}
	}
}

// A request that announces a large body takes memory for what it sends.
func TestAnnouncedLengthTakesNothing(t *testing.T) {
	t.Parallel()
	budget := NewBudget(1 << 20)
	in, out := io.Pipe()
	body := newTestBody(in, 1<<20, 1<<20, budget)
	done := make(chan bool)
	go func() {
		whole, _ := body.buffer()
		done <- whole
	}()
	if _, err := out.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if used := budget.Used(); used > maxChunk {
		t.Errorf("%d bytes are taken for one", used)
	}
	_ = out.CloseWithError(io.ErrUnexpectedEOF)
	if <-done {
		t.Error("half a body is whole")
	}
	body.done()
	if used := budget.Used(); used != 0 {
		t.Errorf("%d bytes are still kept", used)
	}
}

// A body that is known to be too large takes nothing at all.
func TestTooLargeBodyTakesNothing(t *testing.T) {
	t.Parallel()
	budget := NewBudget(1 << 20)
	body := newTestBody(strings.NewReader(strings.Repeat("x", 1000)), 1000, 999, budget)
	if whole, err := body.buffer(); whole || err != nil {
		t.Fatal(whole, err)
	}
	reader, _ := body.reader()
	if _, err := reader.Read(make([]byte, 100)); err != nil || budget.Used() != 0 {
		t.Errorf("%d bytes, %v", budget.Used(), err)
	}
	_ = reader.Close()
	body.done()
}

// net/http may read on after the request has ended; nothing is kept of that, and
// the memory of what was there is given back with the reader.
func TestReaderOutlivesTheRequest(t *testing.T) {
	t.Parallel()
	budget := NewBudget(1 << 20)
	body := newTestBody(strings.NewReader(strings.Repeat("x", 10000)), -1, 1<<20, budget)
	reader, _ := body.reader()
	if _, err := io.ReadFull(reader, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	body.done()
	if budget.Used() == 0 {
		t.Error("nothing is kept for the reader")
	}
	if n, err := io.Copy(io.Discard, reader); n != 9900 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	_ = reader.Close()
	_ = reader.Close()
	if _, ok := body.reader(); ok || budget.Used() != 0 {
		t.Errorf("%d bytes are kept after the end", budget.Used())
	}
}

// A shared body can be sent when its request has left, and is not counted then.
func TestSharedBodyOutlivesTheRequest(t *testing.T) {
	t.Parallel()
	budget := NewBudget(1 << 20)
	body := newTestBody(strings.NewReader("body"), 4, 1<<20, budget)
	if whole, err := body.buffer(); !whole || err != nil {
		t.Fatal(whole, err)
	}
	body.shared = true
	body.done()
	if used := budget.Used(); used != 0 {
		t.Errorf("%d bytes are counted", used)
	}
	reader, ok := body.reader()
	if !ok {
		t.Fatal("the body is gone")
	}
	if got, err := io.ReadAll(reader); string(got) != "body" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
