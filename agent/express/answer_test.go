package express

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseAnswer(t *testing.T) {
	t.Parallel()
	ok := func(lines string) string { return "HTTP/1.1 200 OK\r\n" + lines + "\r\n" }
	tests := map[string]struct {
		bytes string
		want  finding
	}{
		"with a length":   {ok("Content-Length: 2\r\nContent-Type: application/json\r\n"), plain},
		"in chunks":       {ok("Transfer-Encoding: chunked\r\n"), plain},
		"kept alive":      {ok("Content-Length: 2\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n"), plain},
		"closing":         {ok("Content-Length: 2\r\nConnection: close\r\n"), plain},
		"no content":      {"HTTP/1.1 204 No Content\r\n\r\n", plain},
		"not found":       {"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n", plain},
		"no reason":       {"HTTP/1.1 500 \r\nContent-Length: 2\r\n\r\n", plain},
		"packed, no JSON": {ok("Content-Length: 2\r\nContent-Type: text/css\r\nContent-Encoding: gzip\r\n"), plain},
		"half":            {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", incomplete},

		"a denial":                 {"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n", other},
		"a redirect":               {"HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\n\r\n", other},
		"another redirect":         {"HTTP/1.1 308 Permanent Redirect\r\nContent-Length: 0\r\n\r\n", other},
		"interim":                  {"HTTP/1.1 103 Early Hints\r\n\r\n", other},
		"switched":                 {"HTTP/1.1 101 Switching Protocols\r\n\r\n", other},
		"no status":                {"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\n", other},
		"a status too high":        {"HTTP/1.1 999 OK\r\nContent-Length: 2\r\n\r\n", other},
		"HTTP/1.0":                 {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", other},
		"a bare LF first":          {"\nHTTP/1.1 200 OK\r\n\r\n", other},
		"no HTTP":                  {"SSH-2.0-x\r\n\r\n", other},
		"ends with the connection": {ok("Content-Type: text/plain\r\n"), other},
		"both framings":            {ok("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"), other},
		"two lengths":              {ok("Content-Length: 2\r\nContent-Length: 2\r\n"), other},
		"other codings":            {ok("Transfer-Encoding: gzip, chunked\r\n"), other},
		"a body of no content":     {"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", other},
		"trailers announced":       {ok("Transfer-Encoding: chunked\r\nTrailer: X-A\r\n"), other},
		"an upgrade":               {ok("Content-Length: 2\r\nUpgrade: h2c\r\n"), other},
		"packed JSON":              {ok("Content-Length: 2\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"), other},
		"our own mark":             {ok("Content-Length: 2\r\nStepup-Outcome: approved\r\n"), other},
		"a folded line":            {ok("Content-Length: 2\r\nX-A: b\r\n c\r\n"), other},
		"a bare LF":                {ok("Content-Length: 2\r\nX-A: b\nX-C: d\r\n"), other},
		"a long head":              {ok("X-A: " + strings.Repeat("b", maxHead) + "\r\n"), other},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var h answerHead
			if got := h.parse([]byte(tt.bytes)); got != tt.want {
				t.Errorf("finding %d, want %d", got, tt.want)
			}
		})
	}
}

func TestCompact(t *testing.T) {
	t.Parallel()
	b := []byte("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nX-A: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 4\r\n\r\nbody")
	var h answerHead
	if h.parse(b) != plain {
		t.Fatal("not plain")
	}
	if d := cmp.Diff("HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 4\r\n\r\nbody", string(h.compact(b))); d != "" {
		t.Error(d)
	}
}

// FuzzAnswer: what is plain is read by net/http in the same way, before and after the lines
// of the connection are taken out, and it ends at the same byte.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n2\r\n{}\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA;x=y\r\n0123456789\r\n0\r\nX-A: b\r\n\r\nmore"))
	f.Fuzz(checkAnswer)
}

func checkAnswer(t *testing.T, b []byte) {
	var h answerHead
	if h.parse(b) != plain {
		return
	}
	var content []byte
	framing := h.framing
	n, ended, ok := framing.advance(b[h.length:], func(p []byte) { content = append(content, p...) })
	if !ended || !ok {
		return
	}
	total := h.length + n
	for from, raw := range map[string][]byte{"vault": bytes.Clone(b), "us": h.compact(bytes.Clone(b[:total]))} {
		rest := bufio.NewReader(bytes.NewReader(raw))
		resp, err := http.ReadResponse(rest, &http.Request{Method: "GET"})
		if err != nil {
			t.Fatalf("net/http refuses what is plain, from %s: %v\n%q", from, err, raw)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("net/http refuses the body of what is plain, from %s: %v\n%q", from, err, raw)
		}
		if resp.StatusCode != h.status || !bytes.Equal(body, content) {
			t.Errorf("from %s: %d %q, want %d %q", from, resp.StatusCode, body, h.status, content)
		}
		if from == "us" && len(resp.Header["Keep-Alive"])+len(resp.Header["Connection"]) > 0 {
			t.Errorf("a line of the other connection went on: %q", raw)
		}
		if left, _ := io.ReadAll(rest); from == "us" && len(left) > 0 {
			t.Errorf("something follows the answer: %q", left)
		}
	}
}

// FuzzChunks: a chunked body that is passed on has the content and the end that net/http
// finds, however it is cut into reads.
func FuzzChunks(f *testing.F) {
	for _, s := range []string{
		"0\r\n\r\n", "2\r\n{}\r\n0\r\n\r\nnext", "1;a=b\r\nx\r\n00\r\nX: y\r\n\r\n", "1\nx\r\n0\r\n\r\n", "ffffffffffffffff\r\n",
		"1 \r\nx\r\n0\r\n\r\n", "2\r\nx\r\n0\r\n\r\n", "0x1\r\nx\r\n0\r\n\r\n", "\r\n0\r\n\r\n", "0\r\n: x\r\n\r\n", "0\r\nX\r\n\r\n",
	} {
		f.Add([]byte(s), uint8(1))
	}
	f.Fuzz(checkChunks)
}

func checkChunks(t *testing.T, b []byte, size uint8) {
	var content []byte
	var c chunks
	total := 0
	ended := false
	for total < len(b) && !ended {
		part := b[total:min(len(b), total+int(size)+1)]
		n, end, ok := c.advance(part, func(p []byte) { content = append(content, p...) })
		if !ok {
			return
		}
		total, ended = total+n, end
	}
	rest := bufio.NewReader(bytes.NewReader(b))
	want, err := io.ReadAll(httputil.NewChunkedReader(rest))
	if !ended {
		// It leaves the trailers.
		if left, _ := io.ReadAll(rest); err == nil && bytes.HasPrefix(left, []byte("\r\n")) {
			t.Errorf("net/http finds an end in %q", b)
		}
		return
	}
	if err != nil || !bytes.Equal(content, want) {
		t.Errorf("content %q, want %q, %v", content, want, err)
	}
}

// What net/http has a limit for is no seed: the fuzzer would spend its time on making it shorter.
func TestLimitsOfNetHTTP(t *testing.T) {
	t.Parallel()
	for _, long := range []int{maxExtra, maxExtra + 1, maxExtra + 94} {
		checkChunks(t, []byte("000000000001;"+strings.Repeat("x", long)+"\r\nx\r\n0\r\n\r\n"), 255)
	}
	for chunks := range 6 {
		checkChunks(t, []byte(strings.Repeat("1;"+strings.Repeat("x", 3500)+"\r\nx\r\n", chunks)+"0\r\n\r\n"), 255)
	}
	for _, trailers := range []string{"A:" + strings.Repeat("b", maxExtra-1), "A:" + strings.Repeat("b", maxExtra+94), strings.Repeat("A:\r\n", 1100) + "A:"} {
		checkAnswer(t, []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"+trailers+"\r\n\r\n"))
	}
}
