package express

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A fixture is a server with a lane, between a test and a Vault that the test plays.
type fixture struct {
	t      *testing.T
	addr   string
	server *Server
	front  *Front
	lane   atomic.Pointer[Lane]
	behind chan string // requests that the server behind got
	counts chan int    // status codes
	vault  *vault
}

// A dialer opens connections to a vault.
type dialer struct {
	addr string
	era  atomic.Int32
}

func (d *dialer) Dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", d.addr)
}

func (d *dialer) Era() int { return int(d.era.Load()) }

// A vault plays Vault with raw bytes.
type vault struct {
	net.Listener
	accepted atomic.Int32
	serve    func(c net.Conn, r *bufio.Reader)
}

// newFixture starts all of it. serve gets each connection to Vault, and closes it by
// returning.
func newFixture(t *testing.T, serve func(c net.Conn, r *bufio.Reader), changes ...func(*Config, *Lane)) *fixture {
	t.Helper()
	f := &fixture{t: t, behind: make(chan string, 10_000), counts: make(chan int, 10_000)}
	f.vault = newVault(t, serve)
	config := Config{
		Host: "vault:8200", Timeout: time.Minute, IdleTimeout: time.Minute, Fresh: 3 * time.Second,
		Dialer: &dialer{addr: f.vault.Addr().String()},
		Decide: func(_ context.Context, q Request) (Pass, bool) { return Pass{}, !strings.Contains(q.Target, "/rule") },
	}
	lane := &Lane{Count: func(status int, _ time.Duration) {
		select {
		case f.counts <- status:
		default: // no test looks at so many
		}
	}}
	for _, change := range changes {
		change(&config, lane)
	}
	lane.Route = NewRoute(config)
	lane.Handler = http.HandlerFunc(f.goOn)
	f.lane.Store(lane)
	f.server = &Server{
		Admit: func(net.Conn) bool { return true }, Lane: f.lane.Load, Log: slog.New(slog.DiscardHandler),
		Context: func(net.Conn) context.Context { return t.Context() },
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = ln.Addr().String()
	f.front = NewFront(ln, f.server)
	server := &http.Server{Handler: http.HandlerFunc(f.serveBehind), ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		ctx, _ = ConnContext(ctx, c)
		return ctx
	}}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(f.front) }()
	t.Cleanup(func() {
		_ = f.front.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if f.server.Drain(ctx) != nil {
			f.server.Close()
		}
		_ = server.Close()
		<-served
		f.front.Wait()
		lane.CloseIdle()
	})
	return f
}

func newVault(t *testing.T, serve func(c net.Conn, r *bufio.Reader)) *vault {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &vault{Listener: ln, serve: serve}
	var working sync.WaitGroup
	working.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			v.accepted.Add(1)
			stop := context.AfterFunc(t.Context(), func() { _ = c.Close() })
			working.Go(func() {
				defer stop()
				defer c.Close()
				v.serve(c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); working.Wait() })
	return v
}

// serveBehind is the server behind.
func (f *fixture) serveBehind(w http.ResponseWriter, r *http.Request) {
	Resume(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.behind <- r.Method + " " + r.RequestURI
		_, _ = io.WriteString(w, "from behind")
	}))
}

// goOn is the handler of the lane, for answers that the lane does not hand on.
func (f *fixture) goOn(w http.ResponseWriter, r *http.Request) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI = "http", "vault", ""
	resp, err := Transport{refusing{}}.RoundTrip(out)
	if err != nil {
		f.behind <- "error"
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	f.behind <- "goes on"
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

// refusing sends nothing: what was sent once is not sent again.
type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("sent again")
}

// A client is an app.
type client struct {
	net.Conn
	r *bufio.Reader
	t *testing.T
}

func (f *fixture) dial() *client {
	f.t.Helper()
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return &client{c, bufio.NewReader(c), f.t}
}

func request(method, target, body string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", method, target, len(body), body)
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatal(err)
	}
}

// receive reads an answer: its status, and its body or how that ended.
func (c *client) receive() string {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err.Error()
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Sprintf("%d %s %v", resp.StatusCode, body, err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

func (c *client) get(target string) string {
	c.t.Helper()
	c.send(request("GET", target, ""))
	return c.receive()
}

func (f *fixture) fromBehind() []string {
	var all []string
	for {
		select {
		case s := <-f.behind:
			all = append(all, s)
		default:
			return all
		}
	}
}

func check(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// answering serves each request with what answer makes of it, until that is "".
func answering(answer func(*http.Request) string) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, r *bufio.Reader) {
		for {
			q, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, err := io.ReadAll(q.Body)
			if err != nil {
				return
			}
			q.Body = io.NopCloser(strings.NewReader(string(body)))
			a := answer(q)
			if _, err := io.WriteString(c, a); err != nil || a == "" {
				return
			}
		}
	}
}

func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func always(s string) func(net.Conn, *bufio.Reader) {
	return answering(func(*http.Request) string { return s })
}
