package relay

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/vault-stepup/stepup/agent/mfa"
)

// packers are what a load balancer packs by, under their Content-Encoding.
func packers() map[string]func(io.Writer) io.WriteCloser {
	return map[string]func(io.Writer) io.WriteCloser{
		"gzip":    func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"x-gzip":  func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"deflate": func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) },
		"Deflate": func(w io.Writer) io.WriteCloser { z, _ := flate.NewWriter(w, 5); return z }, // the raw one
		"br":      func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) },
		"zstd":    func(w io.Writer) io.WriteCloser { z, _ := zstd.NewWriter(w); return z },
	}
}

func packed(by func(io.Writer) io.WriteCloser, text string) []byte {
	var b bytes.Buffer
	z := by(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return b.Bytes()
}

func TestDecode(t *testing.T) {
	t.Parallel()
	const text = `{"auth":{"mfa_requirement":{}}}`
	bomb := strings.Repeat("a", 4*mfa.MaxBody)
	for name, by := range packers() {
		names := codings(http.Header{"Content-Encoding": {name}})
		if got := decode(packed(by, text), names); string(got) != text {
			t.Errorf("%s: %q", name, got)
		}
		if got := decode(packed(by, bomb), names); got != nil {
			t.Errorf("%s: %d bytes of a text that is too large", name, len(got))
		}
		if got := decode([]byte(text), names); got != nil && name != "Deflate" {
			t.Errorf("%s of plain text: %q", name, got)
		}
		twice := codings(http.Header{"Content-Encoding": {name + ", identity", "GZIP"}})
		if got := decode(packed(packers()["gzip"], string(packed(by, text))), twice); string(got) != text {
			t.Errorf("%s, then gzip: %q", name, got)
		}
	}
	for _, names := range [][]string{{"compress"}, {"gzip", "gzip", "gzip"}} {
		if canDecode(names) || decode(nil, names) != nil {
			t.Errorf("%v is decoded", names)
		}
	}
}

// Whatever the bytes, what comes out is no larger than a challenge.
func FuzzDecode(f *testing.F) {
	for name, by := range packers() {
		f.Add(packed(by, strings.Repeat("{}", 99)), name)
	}
	f.Fuzz(func(t *testing.T, body []byte, name string) {
		names := codings(http.Header{"Content-Encoding": {name}})
		if got := decode(body, names); len(names) > 0 && len(got) > mfa.MaxBody {
			t.Errorf("%d bytes", len(got))
		}
	})
}
