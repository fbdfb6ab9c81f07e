package listener

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A fixture is a server behind a guard, as the agent makes it.
type fixture struct {
	addr   net.Addr
	served atomic.Int64 // requests that came through
	stop   func()       // lets requests under way end, and waits
}

// newFixture starts a server; set g's fields except Addr before. It ends with the test.
func newFixture(t *testing.T, network, address string, g *Guard) *fixture {
	t.Helper()
	s, start := newStoppedFixture(t, network, address, g)
	start()
	return s
}

// freeAddress is one that nothing listens at.
func freeAddress(t *testing.T, network string) string {
	t.Helper()
	if network == "unix" {
		return socketPath(t)
	}
	return "127.0.0.1:0"
}

// newStoppedFixture opens a listener whose connections are not accepted before start.
func newStoppedFixture(t *testing.T, network, address string, g *Guard) (s *fixture, start func()) {
	t.Helper()
	ln, err := Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	g.Addr = ln.Addr()
	s = &fixture{addr: ln.Addr()}
	srv := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.served.Add(1)
		_, _ = io.WriteString(w, "served "+r.RequestURI)
	}), g, slog.New(slog.DiscardHandler))
	var serving sync.WaitGroup
	s.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("stopping the server: %v", err)
		}
		_ = ln.Close()
		serving.Wait()
	})
	t.Cleanup(s.stop)
	return s, func() {
		serving.Go(func() {
			identified := newIdentifier(ln, NewOtherUsers(), slog.New(slog.DiscardHandler))
			_ = srv.Serve(identified)
			identified.drain()
		})
	}
}

// privateTempDir is a short folder that a second user can be let into: the test
// framework's own folders are closed and their names too long for a socket.
func privateTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "stepup")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func socketPath(t *testing.T) string { return filepath.Join(privateTempDir(t), "vault.sock") }

// send writes a raw request on a new connection and reads the answer.
func (s *fixture) send(t *testing.T, request string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial(s.addr.Network(), s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return exchange(t, c, request)
}

func exchange(t *testing.T, c net.Conn, request string) (*http.Response, string) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// wantRefused checks status and form of a refusal.
func wantRefused(t *testing.T, resp *http.Response, body string, status int) {
	t.Helper()
	if resp.StatusCode != status {
		t.Fatalf("status = %d (%q), want %d", resp.StatusCode, body, status)
	}
	var v struct{ Errors []string }
	if err := json.Unmarshal([]byte(body), &v); err != nil || !strings.HasSuffix(body, "}\n") {
		t.Fatalf("body = %q, %v, want one line of JSON", body, err)
	}
	if len(v.Errors) != 1 || !strings.HasPrefix(v.Errors[0], "stepup: ") {
		t.Errorf("errors = %q, want one that starts with stepup:", v.Errors)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type = %q", got)
	}
	if !resp.Close {
		t.Error("the connection of a refused request stays open")
	}
	for name := range resp.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("refusal carries %s, which would help a page", name)
		}
	}
}
