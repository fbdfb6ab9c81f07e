package autolock

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/vault-stepup/stepup/messagebus/messagebustest"
)

// listenAt makes a socket that is no bus.
func listenAt(t *testing.T) (address string, ln net.Listener) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	ln, err := net.Listen("unix", path)
	must(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return "unix:path=" + path, ln
}

// A bus that takes connections and says nothing keeps neither the end of the
// agent nor the next try from coming.
func TestBusThatSaysNothing(t *testing.T) {
	t.Parallel()
	address, ln := listenAt(t)
	accepted := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	r := newFixture(&messagebustest.Daemon{Address: address}, "sleep")
	r.start(t)
	first := receive(t, accepted, "a connection")
	r.line(t, r.withEffect(noSystemBus))
	second := receive(t, accepted, "the next try")
	r.stop()
	for _, c := range []net.Conn{first, second} {
		for err := error(nil); err == nil; {
			_, err = c.Read(make([]byte, 100)) // until the watcher's end is closed
		}
	}
}
