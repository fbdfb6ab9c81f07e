package vault

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// post sends a write, or a read where body is "", and returns status and body of the answer.
func post(tr http.RoundTripper, method, address, body string, header ...string) (string, error) {
	r, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// A framer is an HTTP/2 server that a test plays frame by frame.
type framer struct {
	*http2.Framer
	conn net.Conn
	t    *testing.T
}

// frames starts a server that plays each connection, the first of which is 0. seen has a line
// for each request that was carried out.
func frames(t *testing.T, play func(n int, f *framer)) (tr *Transport, address string) {
	t.Helper()
	ca := newAuthority(t, "ca")
	conf := ca.issue(t, "vault.test", time.Hour).tls(t)
	conf.NextProtos = []string{"h2"}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	must(t, err)
	wait := playAll(ln, func(n int, c net.Conn) {
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(c, preface); err != nil {
			return
		}
		f := &framer{http2.NewFramer(c, c), c, t}
		_ = f.WriteSettings()
		play(n, f)
	})
	tr = newTransport(t, TLS{CACert: write(t, t.TempDir(), "ca.pem", ca.pem)})
	t.Cleanup(func() {
		_ = ln.Close()
		tr.CloseIdleConnections()
		wait()
	})
	return tr, "https://" + ln.Addr().String()
}

// playAll plays each connection to ln, the first of which is 0. wait returns when ln is closed and
// all of them have ended.
func playAll(ln net.Listener, play func(n int, c net.Conn)) (wait func()) {
	var serving sync.WaitGroup
	serving.Go(func() {
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				play(n, c)
			})
		}
	})
	return serving.Wait
}

// request waits for the end of the next request, and returns its stream and body.
func (f *framer) request() (stream uint32, body string, ok bool) {
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return 0, "", false
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				_ = f.WritePing(true, frame.Data)
			}
		case *http2.DataFrame:
			body += string(frame.Data())
			if frame.StreamEnded() {
				return frame.StreamID, body, true
			}
		case *http2.HeadersFrame:
			if frame.StreamEnded() {
				return frame.StreamID, "", true
			}
		}
	}
}

func (f *framer) answer(stream uint32, body string) {
	var block strings.Builder
	_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte(block.String()), EndHeaders: true})
	_ = f.WriteData(stream, true, []byte(body))
}

// What the server has not begun is sent again, whatever it is; what it may have begun is
// not, unless it is a read.
func TestNotBegunOverHTTP2(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		end               func(f *framer, stream uint32)
		write, read, code bool // whether it is sent again
	}{
		"refused stream": {func(f *framer, s uint32) { _ = f.WriteRSTStream(s, http2.ErrCodeRefusedStream) }, true, true, true},
		"goaway":         {func(f *framer, s uint32) { _ = f.WriteGoAway(s-2, http2.ErrCodeNo, nil) }, true, true, true},
		"goaway that names an error": {func(f *framer, s uint32) {
			_ = f.WriteGoAway(s-2, http2.ErrCodeEnhanceYourCalm, []byte("slow down"))
		}, true, true, true},
		"goaway, but it was begun": {func(f *framer, s uint32) { _ = f.WriteGoAway(s, http2.ErrCodeNo, nil); _ = f.conn.Close() }, false, true, false},
		"protocol error":           {func(f *framer, s uint32) { _ = f.WriteRSTStream(s, http2.ErrCodeProtocol) }, false, true, false},
		"internal error":           {func(f *framer, s uint32) { _ = f.WriteRSTStream(s, http2.ErrCodeInternal) }, false, false, false},
		"closed":                   {func(f *framer, _ uint32) { _ = f.conn.Close() }, false, true, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for kind, again := range map[string]bool{"write": tt.write, "read": tt.read, "code": tt.code} {
				checkNotBegun(t, kind, again, tt.end)
			}
		})
	}
}

func checkNotBegun(t *testing.T, kind string, again bool, end func(*framer, uint32)) {
	t.Helper()
	var sent, ended atomic.Int32
	tr, address := frames(t, func(_ int, f *framer) {
		for {
			s, body, ok := f.request()
			if !ok {
				return
			}
			if body != "warm" {
				sent.Add(1)
			}
			if body != "warm" && ended.CompareAndSwap(0, 1) {
				end(f, s)
				continue
			}
			f.answer(s, "done "+body)
		}
	})
	if _, err := post(tr, "POST", address, "warm"); err != nil {
		t.Fatal(err)
	}
	var got string
	var err error
	switch kind {
	case "write":
		got, err = post(tr, "POST", address, "b")
	case "read":
		got, err = post(tr, "GET", address, "")
	case "code":
		got, err = post(tr, "PUT", address, "b", "X-Vault-MFA", "m:123456")
	}
	want, count := "done b", int32(1)
	if kind == "read" {
		want = "done "
	}
	if again {
		count = 2
	}
	if (err == nil) != again || err == nil && got != want || sent.Load() != count {
		t.Errorf("%s: %q, %v, sent %d times; want again=%v", kind, got, err, sent.Load(), again)
	}
}

// A lineServer answers requests of HTTP/1.1 by the connections they come on, and keeps their bodies.
type lineServer struct {
	address string
	mu      sync.Mutex
	bodies  []string
}

// lines starts a server that plays each connection, the first of which is 0.
func lines(t *testing.T, play func(n int, c net.Conn, next func() bool)) *lineServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &lineServer{address: "http://" + ln.Addr().String()}
	wait := playAll(ln, func(n int, c net.Conn) {
		in := bufio.NewReader(c)
		play(n, c, func() bool {
			r, err := http.ReadRequest(in)
			if err != nil {
				return false
			}
			body, _ := io.ReadAll(r.Body)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.bodies = append(s.bodies, r.Method+string(body))
			return true
		})
	})
	t.Cleanup(func() { _ = ln.Close(); wait() })
	return s
}

func (s *lineServer) seen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.bodies, " ")
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// A write over a kept connection that the server closes after it has read it may have been
// carried out: it is not sent again. A read is.
func TestBrokenOverHTTP1(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]struct {
		seen string
		ok   bool
	}{"POST": {"POSTwarm POSTb", false}, "GET": {"POSTwarm GET GET", true}} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := lines(t, func(n int, c net.Conn, next func() bool) {
				for i := 0; next() && (n > 0 || i == 0); i++ {
					_, _ = io.WriteString(c, okAnswer)
				}
			})
			tr := newTransport(t, TLS{})
			defer tr.CloseIdleConnections()
			_, err := post(tr, "POST", s.address, "warm")
			must(t, err)
			body := map[string]string{"POST": "b"}[kind]
			_, err = post(tr, kind, s.address, body)
			if (err == nil) != want.ok || s.seen() != want.seen {
				t.Errorf("%v, vault saw %q, want %q", err, s.seen(), want.seen)
			}
		})
	}
}

// What is to be sent once goes over a new connection when Vault was not heard for a while.
func TestQuietConnection(t *testing.T) {
	t.Parallel()
	var accepted atomic.Int32
	s := lines(t, func(_ int, c net.Conn, next func() bool) {
		accepted.Add(1)
		for next() {
			_, _ = io.WriteString(c, okAnswer)
		}
	})
	tr := newTransport(t, TLS{})
	defer tr.CloseIdleConnections()
	quiet := func() {
		tr.open.mu.Lock()
		defer tr.open.mu.Unlock()
		for c := range tr.open.all {
			c.last.Add(-int64(Fresh))
		}
	}
	for _, step := range []struct {
		method, body string
		quiet        bool
		want         int32
	}{{"POST", "a", false, 1}, {"POST", "b", false, 1}, {"GET", "", true, 1}, {"POST", "c", false, 1}, {"POST", "d", true, 2}, {"PUT", "e", true, 3}, {"LIST", "", true, 4}} {
		if step.quiet {
			quiet()
		}
		_, err := post(tr, step.method, s.address, step.body)
		must(t, err)
		if got := accepted.Load(); got != step.want {
			t.Errorf("%s %q: connection %d, want %d", step.method, step.body, got, step.want)
		}
	}
}

// After the computer slept, or its network changed, nothing goes over the connections from
// before, even if requests are still under way there.
func TestOldConnections(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Transport){
		"slept": func(tr *Transport) { tr.wall = tr.wall.Add(-time.Hour) },
		"moved": func(tr *Transport) {
			tr.wall = tr.wall.Add(-checkEvery)
			remote := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 8200}
			tr.open.routes["vault"] = routed{remote, netip.MustParseAddr("192.0.2.1")}
		},
		"authorities changed": func(tr *Transport) { tr.wall, tr.stamp = tr.wall.Add(-checkEvery), nil },
		"renewed":             (*Transport).Renew,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun, held := make(chan struct{}), make(chan struct{})
			tr, address := frames(t, func(n int, f *framer) {
				for {
					s, body, ok := f.request()
					if !ok {
						return
					}
					if body == "hold" {
						close(begun)
						<-held
						f.answer(s, "held")
						return
					}
					f.answer(s, strconv.Itoa(n))
				}
			})
			_, err := post(tr, "POST", address, "a")
			must(t, err)
			under := make(chan string)
			go func() {
				got, err := post(tr, "POST", address, "hold")
				under <- fmt.Sprint(got, err)
			}()
			<-begun
			change(tr)
			if got, err := post(tr, "GET", address, ""); got != "1" || err != nil {
				t.Errorf("over connection %s (%v), want a new one", got, err)
			}
			close(held)
			if got := <-under; got != "held<nil>" {
				t.Errorf("the request that was under way: %s", got)
			}
		})
	}
}

// A server that has gone silent is noticed by pings: a read is sent again over a new
// connection, a write, which it may have got, is an error.
func TestSilentConnection(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			tr, address := frames(t, func(n int, f *framer) {
				for i := 0; ; i++ {
					s, _, ok := f.request()
					if !ok {
						return
					}
					if n == 0 && i == 1 {
						<-release
						return
					}
					f.answer(s, strconv.Itoa(n))
				}
			})
			defer close(release)
			_, err := post(tr, "POST", address, "warm")
			must(t, err)
			got, err := post(tr, method, address, strings.TrimPrefix(method, "GET"))
			if method == "GET" && (got != "1" || err != nil) || method == "POST" && (err == nil || err.Error() != "http2: client connection lost") {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// What ends the connections of a Transport begins a new era of its Dialer, too, even where
// all connections are the Dialer's.
func TestEra(t *testing.T) {
	t.Parallel()
	remote := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 8200}
	for name, tt := range map[string]struct {
		change func(*Transport)
		ends   bool
	}{
		"nothing": {func(tr *Transport) { tr.wall, tr.checked = tr.wall.Add(-checkEvery), tr.checked.Add(-checkEvery) }, false},
		"slept":   {func(tr *Transport) { tr.wall = tr.wall.Add(-time.Hour) }, true},
		"moved": {func(tr *Transport) {
			tr.wall, tr.checked = tr.wall.Add(-checkEvery), tr.checked.Add(-checkEvery)
			tr.open.routes["vault"] = routed{remote, netip.MustParseAddr("192.0.2.1")}
		}, true},
		"renewed": {(*Transport).Renew, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTransport(t, TLS{})
			d := NewDialer(tr, &url.URL{Scheme: "http", Host: "192.0.2.7:8200"})
			before := d.Era()
			tt.change(tr)
			if got := d.Era() != before; got != tt.ends {
				t.Errorf("a new era: %v, want %v", got, tt.ends)
			}
			tr.wall, tr.checked = tr.wall.Add(-checkEvery), tr.checked.Add(-checkEvery)
			if tt.ends && d.Era() != before+1 {
				t.Error("and another one at the next look")
			}
		})
	}
}
