package vault

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// silence has the kernel drop all that arrives for c, without a word to the other end: as a
// firewall does that has forgotten a connection.
func silence(t *testing.T, c net.Conn) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	must(t, err)
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	var failed error
	must(t, raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]})
	}))
	must(t, failed)
}

// A connection that is dead without a word ends with the system's time for it, long before
// an answer would be given up. A read then goes out again on a new connection; a write may
// have arrived.
func TestSilentlyDead(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]error{"GET": nil, "POST": syscall.ETIMEDOUT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var accepted []net.Conn
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			srv.Config.ConnState = func(c net.Conn, s http.ConnState) {
				if s == http.StateNew {
					mu.Lock()
					defer mu.Unlock()
					accepted = append(accepted, c)
				}
			}
			srv.Start()
			t.Cleanup(srv.Close)
			tr := newTransport(t, TLS{Plain: true})
			send := func() error {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				r, err := http.NewRequestWithContext(ctx, name, srv.URL, nil)
				must(t, err)
				resp, err := tr.RoundTrip(r)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
				return err
			}
			must(t, send())
			err := error(nil)
			for range 5 { // on a busy machine a write finds the connection old, and opens another one
				mu.Lock()
				silence(t, accepted[len(accepted)-1])
				mu.Unlock()
				if err = send(); err != nil || want == nil {
					break
				}
			}
			if !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}

// The same holds for connections of a Dialer.
func TestDialedIsSilentlyDead(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	d := NewDialer(newTransport(t, TLS{Plain: true}), &url.URL{Scheme: "http", Host: ln.Addr().String()})
	c, err := d.Dial(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	server, err := ln.Accept()
	must(t, err)
	t.Cleanup(func() { _ = server.Close() })
	silence(t, server)
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, err = c.Write([]byte("x"))
	must(t, err)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("got %v, want a timeout of the system", err)
	}
}
