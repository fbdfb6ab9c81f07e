package listener

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/peer"
)

// A scripted listener fails as often as it is told, and then accepts.
type scripted struct {
	net.Listener
	mu    sync.Mutex
	fails []error
}

func (l *scripted) Accept() (net.Conn, error) {
	l.mu.Lock()
	if len(l.fails) > 0 {
		err := l.fails[0]
		l.fails = l.fails[1:]
		l.mu.Unlock()
		return nil, err
	}
	l.mu.Unlock()
	return l.Listener.Accept()
}

// An accept that fails is a warning, and no end: not even an error that net/http
// would take for one.
func TestIdentifierOutlivesErrors(t *testing.T) {
	t.Parallel()
	ln, err := Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fails := &scripted{Listener: ln}
	for range 4 * acceptors {
		fails.fails = append(fails.fails, os.NewSyscallError("accept4", syscall.EMFILE), errors.New("odd"))
	}
	var log bytes.Buffer
	s := newIdentifier(fails, NewOtherUsers(), slog.New(slog.NewTextHandler(&log, nil)))
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok := c.(*ownTCP); !ok {
		t.Errorf("our own connection is a %T", c)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s.drain()
	if _, err := s.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after the end: %v", err)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=WARN") || !strings.Contains(got, "trying again") {
		t.Errorf("log = %q, want one warning", got)
	}
}

// What was accepted when a listener is closed gets to the server all the same, and
// what no server takes is closed.
func TestIdentifierEnds(t *testing.T) {
	t.Parallel()
	ln, err := Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newIdentifier(ln, NewOtherUsers(), slog.New(slog.DiscardHandler))
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	first, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	_ = ln.Close() // as the agent does it, past the identifier
	s.drain()
	if _, err := s.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after the end: %v", err)
	}
}

// unknownPeer is a connection whose peer is unknown.
func unknownPeer(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	ours, theirs = net.Pipe()
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	return ours, theirs
}

func TestOtherUsersConnectionsShareFewPlaces(t *testing.T) {
	t.Parallel()
	f := NewOtherUsers()
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	var open []net.Conn
	for range maxOthers {
		c, _ := unknownPeer(t)
		admitted := f.admit(c, peer.Identify(c), logger)
		if admitted == nil {
			t.Fatalf("%d connections, want %d", len(open), maxOthers)
		}
		open = append(open, admitted)
	}
	for range 100 {
		c, client := unknownPeer(t)
		if f.admit(c, peer.Identify(c), logger) != nil {
			t.Fatal("one more was admitted")
		}
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Fatalf("reading from one that was not admitted: %v", err)
		}
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=WARN") {
		t.Errorf("log = %q, want one warning", got)
	}
	_ = open[0].Close()
	_ = open[0].Close() // gives back one place only
	for i := range 2 {
		c, _ := unknownPeer(t)
		if admitted := f.admit(c, peer.Identify(c), logger) != nil; admitted != (i == 0) {
			t.Errorf("connection %d after one was closed: admitted %v", i, admitted)
		}
	}
}

// A server that sets later deadlines, or none, does not prolong the connection.
func TestOtherUsersConnectionHasOneDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, set := range []func(net.Conn) error{
			func(net.Conn) error { return nil },
			func(c net.Conn) error { return c.SetDeadline(time.Now().Add(time.Hour)) },
			func(c net.Conn) error { return c.SetReadDeadline(time.Time{}) },
		} {
			ours, theirs := net.Pipe()
			start := time.Now()
			c := NewOtherUsers().admit(ours, peer.Identify(ours), slog.New(slog.DiscardHandler))
			if err := set(c); err != nil {
				t.Fatal(err)
			}
			_, err := c.Read(make([]byte, 1))
			if open := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || open != OtherUsersTime {
				t.Errorf("ended after %v with %v", open, err)
			}
			_ = c.Close()
			_ = theirs.Close()
		}
		ours, theirs := net.Pipe()
		c := NewOtherUsers().admit(ours, peer.Identify(ours), slog.New(slog.DiscardHandler))
		_ = c.SetReadDeadline(time.Now()) // an earlier one holds: net/http ends reads with it
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		_ = c.Close()
		_ = theirs.Close()
	})
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	var p rateLimit
	now := time.Now()
	var said []string
	for i := range 25 {
		if n, due := p.due(now.Add(time.Duration(i) * time.Second)); due {
			said = append(said, fmt.Sprintf("%d:%d", i, n))
		}
	}
	if got := strings.Join(said, " "); got != "0:1 10:10 20:10" {
		t.Errorf("said at %q", got)
	}
}
