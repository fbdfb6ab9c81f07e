package e2e

import (
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
)

// mustPort holds a port for as long as the test runs.
func mustPort(t *testing.T) string {
	t.Helper()
	addr, release, err := holdPort()
	check(t, err)
	t.Cleanup(release)
	return addr
}

// serve runs a server whose port stays reserved after it was closed.
func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", mustPort(t))
	check(t, err)
	s := httptest.NewUnstartedServer(h)
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// A held port can be listened on, again and again, and no other program gets it.
func TestHoldPort(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux, where a port can be held")
	}
	addr := mustPort(t)
	for range 3 {
		var l net.Listener
		// A program that another test starts just now has the old listener for a moment.
		eventually(t, "the port can be listened on", func() (ok bool) {
			var err error
			l, err = net.Listen("tcp", addr)
			return err == nil
		})
		conn, err := net.Dial("tcp", addr)
		check(t, err)
		// Ended by the server, as by a kill: the port remembers the connection.
		_ = l.Close()
		_ = conn.Close()
	}
	for range 50 {
		other := mustPort(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		defer l.Close()
		if other == addr || l.Addr().String() == addr {
			t.Fatalf("%s was given to another", addr)
		}
	}
}
