package relay_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/vault"
)

// A recorder plays Vault for a fuzz target: it records what it gets and answers with bytes.
type recorder struct {
	net.Listener
	mu     sync.Mutex
	answer []byte
	seen   []string
	open   []net.Conn
}

func newRecorder(t testing.TB) *recorder {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &recorder{Listener: ln}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			v.mu.Lock()
			v.open = append(v.open, c)
			v.mu.Unlock()
			serving.Go(func() { v.serve(c) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); v.reset(nil); serving.Wait() })
	return v
}

func (v *recorder) url() string { return "http://" + v.Addr().String() }

// alone is a relay that reaches nothing else: a redirect may lead anywhere, also to where no
// answer comes from.
func (v *recorder) alone(t testing.TB) func(*relay.Config) {
	return func(c *relay.Config) {
		base, err := vault.NewTransport(vault.TLS{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != v.Addr().String() {
				return nil, errors.New("nothing is there")
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}})
		if err != nil {
			t.Fatal(err)
		}
		base.HTTP().DisableKeepAlives = true // whether one is closed before it is used again is chance
		c.Base = base
	}
}

// serve answers one request, and closes the connection: the answer may end with it.
func (v *recorder) serve(c net.Conn) {
	defer c.Close()
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	body, err := io.ReadAll(r.Body)
	v.mu.Lock()
	v.seen = append(v.seen, fmt.Sprintf("%s %s %s %q %v %v", r.Method, r.RequestURI, headers(r.Header), body, err, r.Trailer))
	answer := v.answer
	v.mu.Unlock()
	_, _ = c.Write(answer)
}

// reset closes what is open, and returns what was seen.
func (v *recorder) reset(answer []byte) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.open {
		_ = c.Close()
	}
	seen := v.seen
	v.open, v.seen, v.answer = nil, nil, answer
	return seen
}

// headers are all lines but those of one connection, in the order of their names.
func headers(h http.Header) string {
	var lines []string
	for name, values := range h {
		switch name {
		case "Connection", "Keep-Alive", "Content-Length", "Trailer":
		default:
			lines = append(lines, fmt.Sprintf("%s: %q", name, values))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

// exchange sends a request and returns the answer in words.
func exchange(t testing.TB, address string, request []byte) string {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write(request); err != nil {
		return "not sent"
	}
	r, _ := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
	resp, err := http.ReadResponse(bufio.NewReader(c), r)
	for err == nil && resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Sprintf("interim %d", resp.StatusCode)
	}
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatalf("no answer to %q", request)
		}
		return "cut off"
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "cut off" // how much of it came is chance
	}
	// The end of the connection comes after the relay has put its own to Vault back: what is idle
	// then is closed before the next request could take it.
	_ = c.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, c)
	return fmt.Sprintf("%d %s %q %v", resp.StatusCode, headers(resp.Header), body, resp.Trailer)
}

// FuzzLanes: with an express lane or without, Vault sees the same requests, and the app the
// same answer.
func FuzzLanes(f *testing.F) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	for _, request := range []string{
		"GET /v1/kv/data/x HTTP/1.1\r\nHost: a\r\nX-Vault-Token: t\r\n\r\n",
		"POST /v1/kv/data/x?a=%2f HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
		"LIST /v1/a//b/../c HTTP/1.1\r\nhost: a\r\nConnection: keep-alive\r\nx-forwarded-for: 1\r\n\r\n",
		"PUT /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"GET /v1/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"GET /v1/x HTTP/1.1\r\nHost: a b\r\n\r\n",
		"GET /v1/x HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
		"GET /v1/x HTTP/1.1\r\nHost: a\r\nConnection: X-Vault-Token\r\nX-Vault-Token: t\r\n\r\n",
		"GET /v1/kv/data/prod/db HTTP/1.1\r\nHost: a\r\nX-Vault-Token: t\r\n\r\n",
	} {
		f.Add([]byte(request), []byte(ok))
	}
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n2\r\n{}\r\n0\r\nX-A: b\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nrest", "HTTP/1.0 200 OK\r\n\r\nrest",
		"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 103 Early\r\n\r\n" + ok,
		"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "junk", "",
		"HTTP/1.1 307 X\r\nContent-Length: 0\r\nLocation: http://127.0.0.1:1/v1/x\r\n\r\n",
		"HTTP/1.1 307 X\r\nContent-Length: 0\r\nLocation: http://192.0.2.1/v1/x\r\n\r\n", // where nobody answers
		"HTTP/1.1 307 X\r\nContent-Length: 0\r\nLocation: x\r\n\r\nmore",                 // round and round
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\n{}\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-A: \x80\r\nX- B: c\nX-D:\r\n\r\n",
	} {
		f.Add([]byte("GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n"), []byte(answer))
	}
	vaults := [2]*recorder{newRecorder(f), newRecorder(f)}
	lanes := [2]*fixture{newFixture(f, vaults[0].url(), vaults[0].alone(f)), newFixture(f, vaults[1].url(), vaults[1].alone(f), func(c *relay.Config) {
		c.DenialObserver = withoutLane{c.DenialObserver}
	})}
	f.Fuzz(func(t *testing.T, request, answer []byte) {
		if !whole(request) || len(answer) > 4<<10 {
			return // what the lane does not read at once, and finds out of grammar, breaks off
		}
		var got, seen [2]string
		for i, lane := range lanes {
			vaults[i].reset(answer)
			got[i] = exchange(t, lane.url, request)
			got[i] = strings.ReplaceAll(got[i], vaults[i].Addr().String(), "VAULT")
			lane.closeIdle()
			seen[i] = strings.Join(vaults[i].reset(nil), "\n")
		}
		if d := cmp.Diff(seen[1], seen[0]); d != "" {
			t.Errorf("vault sees another request (-without the lane +with it):\n%s", d)
		}
		if d := cmp.Diff(got[1], got[0]); d != "" {
			t.Errorf("the app gets another answer (-without the lane +with it):\n%s", d)
		}
	})
}

// whole reports whether b is one whole request, so that an answer to it must come.
func whole(b []byte) bool {
	left := bufio.NewReader(bytes.NewReader(b))
	r, err := http.ReadRequest(left)
	if err != nil || r.Header.Get("Expect") != "" || r.Method == http.MethodConnect || r.Header.Get("Pragma") != "" {
		return false // net/http answers to Pragma by a header of its own
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil && left.Buffered() == 0
}
