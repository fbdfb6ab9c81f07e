package vault

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// A closable body fails when it is read after its end.
type closable struct {
	io.Reader
	closes int
}

func (c *closable) Read(p []byte) (int, error) {
	if c.closes > 0 {
		return 0, http.ErrBodyReadAfterClose
	}
	return c.Reader.Read(p)
}

func (c *closable) Close() error { c.closes++; return nil }

// What net/http closes before it has read of it can still be read, until it is done; what
// it has read is closed at once. Each body is closed in the end.
func TestLateBody(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		steps  string // r reads, c closes, e ends
		fails  bool   // the last read
		closes int
	}{
		"sent":                     {"rc", false, 1},
		"sent and done":            {"rce", false, 1},
		"closed, then sent":        {"crc", false, 1},
		"closed twice, then sent":  {"ccrce", false, 2}, // which a body must bear
		"closed, then read once":   {"cre", false, 1},
		"closed, never sent":       {"ce", false, 1},
		"read after its close":     {"rcr", true, 1},
		"closed when it was done":  {"ec", false, 1},
		"read when it was over":    {"cer", true, 1},
		"under way when it is out": {"rec", false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inner := &closable{Reader: strings.NewReader("body")}
			b := &lateBody{inner: inner}
			var err error
			for _, step := range tt.steps {
				switch step {
				case 'r':
					_, err = b.Read(make([]byte, 1))
				case 'c':
					must(t, b.Close())
				case 'e':
					b.end()
				}
			}
			if (err != nil) != tt.fails || inner.closes != tt.closes {
				t.Errorf("read %v, closed %d times", err, inner.closes)
			}
		})
	}
}
