package express

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A kept connection that Vault has closed is noticed before a request is lost on it.
func TestKeptConnectionIsGone(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c net.Conn, r *bufio.Reader) {
		if q, err := http.ReadRequest(r); err == nil {
			_, _ = io.Copy(io.Discard, q.Body)
			_, _ = io.WriteString(c, ok("x"))
		}
	})
	c := f.dial()
	for range 20 {
		c.send(request("POST", "/v1/x", "{}"))
		check(t, "answer", "200 x", c.receive())
		f.waitUntilClosed()
	}
	check(t, "behind", []string(nil), f.fromBehind())
}

// waitUntilClosed waits until the kept connections have seen their end.
func (f *fixture) waitUntilClosed() {
	p := &f.lane.Load().pool
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		p.mu.Lock()
		open := 0
		for _, u := range p.idle {
			if u.quiet() {
				open++
			}
		}
		p.mu.Unlock()
		if open == 0 {
			return
		}
	}
	f.t.Fatal("a connection is still open")
}

// Connections from before a change of the network serve nothing, and old ones carry no write:
// whatever is in between may have forgotten them.
func TestOldConnections(t *testing.T) {
	t.Parallel()
	d := &dialer{}
	f := newFixture(t, always(ok("x")), func(c *Config, _ *Lane) {
		d.addr = c.Dialer.(*dialer).addr
		c.Dialer, c.Fresh = d, time.Hour // so that a slow machine does not make it old
	})
	c := f.dial()
	next := func(method string, connections int32) {
		t.Helper()
		c.send(request(method, "/v1/x", ""))
		check(t, "answer", "200 x", c.receive())
		check(t, "connections", connections, f.vault.accepted.Load())
	}
	next("GET", 1)
	next("POST", 1)
	d.era.Add(1)
	next("GET", 2)
	next("POST", 2)
	p := &f.lane.Load().pool
	p.mu.Lock()
	p.idle[0].since = p.idle[0].since.Add(-f.lane.Load().config.Fresh)
	p.mu.Unlock()
	next("POST", 3)
	check(t, "behind", []string(nil), f.fromBehind())
}

// A connection that Vault closes under a request: a read goes out again, by the server
// behind; a write may have been done, and is an error.
func TestClosedUnderARequest(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ method, app, behind string }{
		"a read":  {"GET", "200 from behind", "GET /v1/second"},
		"a list":  {"LIST", "200 from behind", "LIST /v1/second"},
		"a write": {"POST", "502 ", "error"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, answering(func(r *http.Request) string {
				if r.URL.Path == "/v1/second" {
					return ""
				}
				return ok("x")
			}))
			c := f.dial()
			check(t, "first", "200 x", c.get("/v1/first"))
			c.send(request(tt.method, "/v1/second", ""))
			if got := c.receive(); !strings.HasPrefix(got, tt.app) {
				t.Errorf("app got %q, want %q", got, tt.app)
			}
			check(t, "behind", []string{tt.behind}, f.fromBehind())
		})
	}
}

// An app that leaves as its answer ends leaves the connections of others alone.
func TestLeavesAtTheEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t, answering(func(r *http.Request) string {
		if r.URL.Path == "/v1/slow" {
			time.Sleep(patience + 20*time.Millisecond)
		}
		return ok("x")
	}))
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		c := f.dial()
		for {
			select {
			case <-stop:
				return
			default:
			}
			c.send(request("POST", "/v1/x", "{}"))
			if got := c.receive(); got != "200 x" {
				t.Errorf("another app got %q", got)
				return
			}
		}
	})
	var apps sync.WaitGroup
	for range 16 {
		apps.Go(func() {
			for range 5 {
				c := f.dial()
				c.send(request("GET", "/v1/slow", ""))
				_, _ = c.r.Peek(1)
				_ = c.Close()
			}
		})
	}
	apps.Wait()
	close(stop)
	others.Wait()
}

// Connections that are kept end after their time, and there is no timer without one.
func TestKeptConnectionsEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t, always(ok("x")), func(c *Config, _ *Lane) { c.IdleTimeout = 50 * time.Millisecond })
	check(t, "answer", "200 x", f.dial().get("/v1/x"))
	p := &f.lane.Load().pool
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		over := len(p.idle) == 0 && p.open == 0 && p.sweep == nil
		p.mu.Unlock()
		if over {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a connection is kept for ever")
		}
	}
}

// Many apps at once get their own answers.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, answering(func(r *http.Request) string {
		if strings.HasSuffix(r.URL.Path, "3") {
			return "HTTP/1.1 403 Forbidden\r\nContent-Length: " + fmt.Sprint(len(r.URL.Path)) + "\r\n\r\n" + r.URL.Path
		}
		return ok(r.URL.Path)
	}))
	var apps sync.WaitGroup
	for app := range 32 {
		apps.Go(func() {
			c := f.dial()
			for i := range 50 {
				target := fmt.Sprintf("/v1/%d/%d", app, i)
				want := "200 " + target
				if i%10 == 3 {
					want = "403 " + target
				}
				if got := c.get(target); got != want {
					t.Errorf("app got %q, want %q", got, want)
				}
				if i%10 == 3 {
					c = f.dial()
				}
			}
		})
	}
	apps.Wait()
}
