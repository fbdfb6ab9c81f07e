package express

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
)

// Answers go on as they came, over one connection to Vault.
func TestHandsOn(t *testing.T) {
	t.Parallel()
	f := newFixture(t, answering(func(r *http.Request) string {
		body, _ := io.ReadAll(r.Body)
		return ok(r.Method + " " + r.RequestURI + " " + r.Host + " " + string(body))
	}))
	c := f.dial()
	check(t, "read", "200 GET /v1/a vault:8200 ", c.get("/v1/a"))
	c.send(request("POST", "/v1/b", "{}"))
	check(t, "write", "200 POST /v1/b vault:8200 {}", c.receive())
	c.send(request("GET", "/v1/c", "") + request("GET", "/v1/d", ""))
	check(t, "two at once", []string{"200 GET /v1/c vault:8200 ", "200 GET /v1/d vault:8200 "}, []string{c.receive(), c.receive()})
	check(t, "connections", int32(1), f.vault.accepted.Load())
	check(t, "taken", int64(4), f.lane.Load().Taken())
	check(t, "behind", []string(nil), f.fromBehind())
}

// The bytes of an answer are those of Vault, less the lines of its connection.
func TestAnswerAsItCame(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ vault, app string }{
		"odd spelling": {
			"HTTP/1.1 200 Fine\r\nx-ODD:  1\r\nContent-length: 2\r\nx-odd: 2\r\n\r\n{}",
			"HTTP/1.1 200 Fine\r\nx-ODD:  1\r\nContent-length: 2\r\nx-odd: 2\r\n\r\n{}",
		},
		"lines of the connection": {
			"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\nKeep-Alive: timeout=5\r\n\r\n{}",
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		},
		"chunks and trailers": {
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\n{\r\n01\r\n}\r\n0\r\nX-Sum: 1\r\n\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\n{\r\n01\r\n}\r\n0\r\nX-Sum: 1\r\n\r\n",
		},
		"no content": {"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n", "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, always(tt.vault))
			c := f.dial()
			c.send(request("GET", "/v1/x", ""))
			got := make([]byte, len(tt.app))
			if _, err := io.ReadFull(c.r, got); err != nil {
				t.Fatal(err)
			}
			check(t, "answer", tt.app, string(got))
			c.send(request("GET", "/v1/rule", ""))
			check(t, "next answer", "200 from behind", c.receive()) // so nothing came after the first one
		})
	}
}

// What the lane does not take goes behind, with all that was read, on the same connection.
func TestHandsOver(t *testing.T) {
	t.Parallel()
	f := newFixture(t, always(ok("from vault")))
	c := f.dial()
	check(t, "first", "200 from vault", c.get("/v1/x"))
	c.send(request("POST", "/v1/rule", "{}") + request("GET", "/v1/x", ""))
	check(t, "behind", []string{"200 from behind", "200 from behind"}, []string{c.receive(), c.receive()})
	check(t, "requests behind", []string{"POST /v1/rule", "GET /v1/x"}, f.fromBehind())
}

// The body of a request that does not come at once is waited for by the server behind, which
// has no limit for that; nor has the lane one for a large body.
func TestSlowAndLargeRequests(t *testing.T) {
	t.Parallel()
	f := newFixture(t, always(ok("from vault")))
	c := f.dial()
	c.send("POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{")
	time.Sleep(3 * maxWait)
	c.send("  }")
	check(t, "slow", "200", c.receive()[:3]) // on a busy machine both parts may come at once
	c = f.dial()
	c.send("GET /v1/x HT")
	time.Sleep(3 * maxWait)
	c.send("TP/1.1\r\nHost: x\r\n\r\n")
	check(t, "slow head", "200", c.receive()[:3])
	c = f.dial()
	c.send(request("POST", "/v1/x", strings.Repeat("x", maxRequest)))
	check(t, "large", "200 from behind", c.receive())
	c = f.dial()
	c.send(request("POST", "/v1/x", strings.Repeat("x", maxRequest/2)))
	check(t, "of several reads", "200 from vault", c.receive())
}

// An answer that may be more than one to hand on is there for the server behind, and Vault
// gets the request once.
func TestAnswersForTheServerBehind(t *testing.T) {
	t.Parallel()
	json := func(status int, body string) string {
		return fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
	}
	const held = `{"auth":{"mfa_requirement":{"mfa_request_id":"x"}}}`
	long := `{"data":"` + strings.Repeat("x", 10_000) + `","auth":{"mfa_requirement":{}}}`
	tests := map[string]struct{ vault, app string }{
		"a denial":               {json(403, `{"errors":["permission denied"]}`), `403 {"errors":["permission denied"]}`},
		"a challenge":            {json(200, held), "200 " + held},
		"a late challenge":       {json(200, long), "200 " + long},
		"in chunks":              {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n33\r\n" + held + "\r\n0\r\n\r\n", "200 " + held},
		"chunks out of grammar":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\n{}\r\n0\r\nX-A: \x80\r\n\r\n", "200 {}"},
		"an interim answer":      {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok("{}"), "200 {}"},
		"ends with a connection": {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nrest", "200 rest"},
		"no HTTP":                {"SSH-2.0\r\n\r\n", "502 "},
		"nothing":                {"", "502 "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			f := newFixture(t, func(c net.Conn, r *bufio.Reader) {
				q, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, q.Body)
				requests.Add(1)
				_, _ = io.WriteString(c, tt.vault)
			})
			c := f.dial()
			c.send(request("POST", "/v1/x", "{}"))
			if got := c.receive(); !strings.HasPrefix(got, tt.app) {
				t.Errorf("app got %q, want %q", got, tt.app)
			}
			check(t, "requests", int32(1), requests.Load())
		})
	}
}

// JSON that is no challenge goes on, whatever its size, and a pause in it is not waited for
// longer than by the server behind.
func TestOrdinaryJSON(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 3000, 5000, 20_000, 200_000} {
		body := `{"data":"` + strings.Repeat("x", size) + `","auth":null}`
		f := newFixture(t, always(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)))
		check(t, "answer", "200 "+body, f.dial().get("/v1/x"))
		check(t, "behind", []string(nil), f.fromBehind())
	}
}

// An answer that breaks off does so for the app, too.
func TestAnswerBreaksOff(t *testing.T) {
	t.Parallel()
	half := strings.Repeat("half", small) // no part of the first read
	for name, answer := range map[string]string{
		"length":    "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + half,
		"chunks":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4000\r\n" + half + "\r\n",
		"no chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4000\r\n" + half + "\r\nx\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, func(c net.Conn, r *bufio.Reader) {
				if _, err := http.ReadRequest(r); err == nil {
					_, _ = io.WriteString(c, answer)
				}
			})
			if got := f.dial().get("/v1/x"); !strings.HasPrefix(got, "200 "+half+" unexpected EOF") {
				t.Errorf("app got %q", got)
			}
			check(t, "behind", []string(nil), f.fromBehind())
		})
	}
}

// When an app leaves, so does its request, before the answer and in the middle of it.
func TestAppLeaves(t *testing.T) {
	t.Parallel()
	for name, beginning := range map[string]string{
		"before": "", "in the middle": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gone := make(chan error, 1)
			f := newFixture(t, func(c net.Conn, r *bufio.Reader) {
				if _, err := http.ReadRequest(r); err == nil {
					_, _ = io.WriteString(c, beginning)
					_, err = r.ReadByte()
					gone <- err
				}
			})
			c := f.dial()
			c.send(request("GET", "/v1/sys/monitor", ""))
			if beginning != "" {
				if _, err := c.r.Peek(1); err != nil {
					t.Fatal(err)
				}
			}
			_ = c.Close()
			check(t, "vault saw", io.EOF.Error(), (<-gone).Error())
			want := 0 // left before it
			if beginning != "" {
				want = 200
			}
			check(t, "counted", want, <-f.counts)
		})
	}
}

// A stream goes on as it comes, through pauses, and the connection serves after it. What the
// app has sent meanwhile is its next request.
func TestStream(t *testing.T) {
	t.Parallel()
	next := make(chan string)
	f := newFixture(t, func(c net.Conn, r *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for s := range next {
				_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", len(s), s)
				if s == "end" {
					break
				}
			}
			_, _ = io.WriteString(c, "0\r\n\r\n")
		}
	})
	say := func(s string) {
		t.Helper()
		select {
		case next <- s:
		case <-time.After(30 * time.Second):
			t.Fatal("the vault has not been asked")
		}
	}
	c := f.dial()
	for range 2 {
		c.send(request("GET", "/v1/sys/monitor", ""))
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range []string{"one", strings.Repeat("x", 10_000), "two"} {
			if i == 2 {
				time.Sleep(2 * patience)
				c.send("GET /v1/sys/monitor HTTP/1.1\r\n") // of the request after this one
			}
			say(s)
			got := make([]byte, len(s))
			if _, err := io.ReadFull(resp.Body, got); err != nil {
				t.Fatal(err)
			}
			check(t, "line", s, string(got))
		}
		c.send("Host: x\r\n\r\n") // later, it would be for the server behind
		say("end")
		rest, err := io.ReadAll(resp.Body)
		check(t, "rest", "end", string(rest))
		if err != nil {
			t.Fatal(err)
		}
		resp, err = http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		say("end")
		rest, _ = io.ReadAll(resp.Body)
		check(t, "next answer", "end", string(rest))
	}
	check(t, "behind", []string(nil), f.fromBehind())
}

// The limit for the beginning of an answer is none for the rest, not even where that came
// late, or had to be looked into.
func TestSlowAnswer(t *testing.T) {
	t.Parallel()
	const timeout = 40 * patience
	json := `{"data":"` + strings.Repeat("x", small)
	for name, kind := range map[string]string{"text": "text/plain", "JSON": "application/json"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, func(c net.Conn, r *bufio.Reader) {
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				time.Sleep(2 * patience)
				rest := strings.Repeat("y", mfa.MaxUndecided) + `"}`
				_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", kind, len(json+rest)+1, json+rest)
				time.Sleep(timeout)
				_, _ = io.WriteString(c, "\n")
			}, func(c *Config, _ *Lane) { c.Timeout = timeout })
			if got := f.dial().get("/v1/x"); !strings.HasSuffix(got, "yy\"}\n") {
				t.Errorf("app got %d bytes, ending in %q", len(got), got[max(0, len(got)-20):])
			}
		})
	}
}

// A long body is copied whole, and its connections serve after it.
func TestLongBody(t *testing.T) {
	t.Parallel()
	const length = 8 << 20
	f := newFixture(t, func(c net.Conn, r *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", length)
			_, _ = io.CopyN(c, endless{}, length)
		}
	})
	c := f.dial()
	for range 2 {
		c.send(request("GET", "/v1/x", ""))
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if n != length || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
	check(t, "connections", int32(1), f.vault.accepted.Load())
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A lane can be taken away and changed under open connections.
func TestLaneChanges(t *testing.T) {
	t.Parallel()
	f := newFixture(t, always(ok("from vault")))
	c, d := f.dial(), f.dial()
	check(t, "with a lane", "200 from vault", c.get("/v1/x"))
	check(t, "with a lane", "200 from vault", d.get("/v1/x"))
	lane := f.lane.Swap(nil)
	check(t, "without", "200 from behind", c.get("/v1/x"))
	strict := *lane
	strict.RequireHeader = true
	f.lane.Store(&strict)
	d.send("GET /v1/x HTTP/1.1\r\nHost: x\r\nX-Vault-Request: true\r\n\r\n")
	check(t, "with the header", "200 from vault", d.receive())
	check(t, "without it", "200 from behind", d.get("/v1/x"))
}

// Only a listener's own names are hosts, and only connections that are admitted are served.
func TestAdmits(t *testing.T) {
	t.Parallel()
	f := newFixture(t, always(ok("from vault")))
	f.server.Accepts = func(host string) bool { return strings.EqualFold(host, "localhost:8100") }
	for host, want := range map[string]string{
		"localhost:8100": "200 from vault", "LocalHost:8100": "200 from vault", "evil.example:8100": "200 from behind", "localhost": "200 from behind",
	} {
		c := f.dial()
		c.send("GET /v1/x HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
		check(t, host, want, c.receive())
	}
	f = newFixture(t, always(ok("from vault")))
	f.server.Admit = func(net.Conn) bool { return false }
	check(t, "not admitted", "200 from behind", f.dial().get("/v1/x"))
	f = newFixture(t, always(ok("from vault")), func(_ *Config, l *Lane) { l.Admit = func(net.Conn) bool { return false } })
	check(t, "not for this lane", "200 from behind", f.dial().get("/v1/x"))
}

// A request with a step-up token: its answer has the mark, and where the server behind goes
// on, it knows with what the request was sent.
func TestPass(t *testing.T) {
	t.Parallel()
	var served atomic.Int32
	pass := Pass{
		Token: []byte("X-Vault-Token: hvs.step-up\r\n"), Mark: "Stepup-Outcome: cached\r\n",
		Served: func() { served.Add(1) }, Ticket: "ticket",
	}
	f := newFixture(t, answering(func(r *http.Request) string {
		if r.URL.Path == "/v1/denied" {
			return "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
		}
		return ok(strings.Join(r.Header["X-Vault-Token"], ",") + strings.Join(r.Header["Authorization"], ","))
	}), func(c *Config, l *Lane) {
		c.Decide = func(context.Context, Request) (Pass, bool) { return pass, true }
	})
	tickets := make(chan any, 1)
	lane := *f.lane.Load()
	lane.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tickets <- Ticket(r.Context()) })
	f.lane.Store(&lane)
	c := f.dial()
	c.send("GET /v1/x HTTP/1.1\r\nHost: x\r\nX-Vault-Token: own\r\nAuthorization: Bearer own\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	check(t, "answer", "hvs.step-up cached", string(body)+" "+resp.Header.Get("Stepup-Outcome"))
	check(t, "served", int32(1), served.Load())
	c.send("GET /v1/denied HTTP/1.1\r\nHost: x\r\nX-Vault-Token: own\r\n\r\n")
	check(t, "ticket", any("ticket"), <-tickets)
	check(t, "served", int32(1), served.Load())
}

// Drain waits for the answers under way, and for nothing else.
func TestDrain(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	f := newFixture(t, answering(func(r *http.Request) string {
		if r.URL.Path == "/v1/slow" {
			close(begun)
			<-release
		}
		return ok("x")
	}))
	idle, busy := f.dial(), f.dial()
	check(t, "answer", "200 x", idle.get("/v1/x"))
	check(t, "answer", "200 x", busy.get("/v1/x"))
	busy.send(request("GET", "/v1/slow", ""))
	drained := make(chan error, 1)
	<-begun
	go func() { drained <- f.server.Drain(t.Context()) }()
	check(t, "idle connection", "EOF", strings.TrimPrefix(idle.receive(), "unexpected "))
	select {
	case <-drained:
		t.Error("drained while an answer was under way")
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	check(t, "answer under way", "200 x", busy.receive())
	if err := <-drained; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.server.Drain(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A server may be closed while something waits for its end.
func TestDrainTwice(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	f := newFixture(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			close(begun)
			_, _ = r.ReadByte()
		}
	})
	f.dial().send(request("GET", "/v1/sys/monitor", ""))
	<-begun
	retired := make(chan error, 1)
	go func() { retired <- f.server.Drain(context.Background()) }()
	for !f.server.closing.Load() {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.server.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Drain = %v", err)
	}
	f.server.Close()
	if err := <-retired; err != nil {
		t.Error(err)
	}
}
