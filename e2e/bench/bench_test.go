package main

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadAnswer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       int
		err        string
	}{
		{"length", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", 3, ""},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", 13, ""},
		{"no body", "HTTP/1.1 200 OK\r\n\r\n", 0, ""},
		{"refused", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 0, "answer is HTTP/1.1 403 Forbidden"},
		{"cut", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", 2, "EOF"},
		{"no number", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", 0, "invalid syntax"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := bufio.NewReader(strings.NewReader(c.text))
			got, err := readAnswer(r)
			if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%d, %v, want %d, %q", got, err, c.want, c.err)
			}
			if err == nil && r.Buffered() > 0 {
				t.Errorf("%d bytes are left for the next answer", r.Buffered())
			}
		})
	}
}

// What the load sends, the upstream answers, and a guarded path only to the step-up token.
func TestDrive(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go newUpstream().serve(ln)
	s := side{name: "direct", addr: ln.Addr().String(), path: secretPath}
	f, err := s.drive(t.Context(), 4, time.Millisecond)
	if err != nil || f.rate <= 0 || f.p50 > f.p99 {
		t.Errorf("%+v, %v", f, err)
	}
	if err := s.with("guarded", guardedPath).once(); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("guarded: %v, want 403", err)
	}
}

// The medians of a report are found again by the next one, which says what has changed.
func TestReport(t *testing.T) {
	t.Parallel()
	r := &report{machine: "a machine", plan: quick()}
	r.add("relay, CPU / bare", "", "0.60", 1.2, 1.0, 1.1)
	r.add("1 GiB up, peak memory", "MiB", "22", 20.24)
	var text bytes.Buffer
	r.write(&text, map[string]string{"relay, CPU / bare": "1.00"})
	for _, want := range []string{
		"| relay, CPU / bare | 1.10 | 1.00 to 1.20 | 0.60 | 1.00 (+10 %) |\n",
		"| 1 GiB up, peak memory | 20.2 MiB |  | 22 |  |\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("want %q in\n%s", want, &text)
		}
	}
	file := filepath.Join(t.TempDir(), "benchmarks.md")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"relay, CPU / bare": "1.10", "1 GiB up, peak memory": "20.2 MiB", "what": "median"}
	if d := cmp.Diff(want, committed(file)); d != "" {
		t.Error(d)
	}
}

func TestRatios(t *testing.T) {
	t.Parallel()
	if d := cmp.Diff([]float64{2, 0.5}, ratios([]float64{2, 2}, []float64{1, 4})); d != "" {
		t.Error(d)
	}
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3, 1, 2}, 2}, {[]float64{4, 1}, 2.5}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
	}
}

// The chart is drawn in the order of the figures, to their scale, and is XML.
func TestChart(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := chart(&b, []bar{{"bare", 60}, {"stepup, no rule", 20}, {"Vault Proxy", 120}}); err != nil {
		t.Fatal(err)
	}
	var words []string
	d := xml.NewDecoder(strings.NewReader(b.String()))
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "rect" {
			for _, a := range start.Attr {
				if a.Name.Local == "width" {
					words = append(words, a.Value)
				}
			}
		}
		if text, ok := token.(xml.CharData); ok && strings.TrimSpace(string(text)) != "" {
			words = append(words, strings.TrimSpace(string(text)))
		}
	}
	want := []string{"stepup", "72", "20.0", "Go's ReverseProxy", "215", "60.0", "Vault Proxy", "430", "120"}
	if got := words[3:]; !slices.Equal(got, want) { // after the title, the style and the note
		t.Errorf("chart has %q, want %q", got, want)
	}
}
