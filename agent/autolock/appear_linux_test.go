package autolock

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/messagebus/messagebustest"
)

// A bus that was not there is used as soon as it is, however long the next try would be away.
func TestBusAppears(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "run", "dbus", "bus")
	r := newFixture(&messagebustest.Daemon{Address: "unix:path=" + socket}, "sleep")
	r.retryMin = time.Hour
	r.start(t)
	r.line(t, r.withEffect(noSystemBus))
	must(t, os.MkdirAll(filepath.Dir(socket), 0o700))
	ln, err := net.Listen("unix", socket)
	must(t, err)
	defer func() { _ = ln.Close() }()
	must(t, ln.(*net.UnixListener).SetDeadline(time.Now().Add(30*time.Second)))
	conn, err := ln.Accept()
	must(t, err)
	_ = conn.Close()
}

// A socket that is there, or that no kernel can tell of, is no reason to wait.
func TestAwaitSocket(t *testing.T) {
	t.Parallel()
	address, _ := listenAt(t)
	if awaitSocket(address)(t.Context()) {
		t.Error("waited for a socket that is there")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, address := range []string{"unix:path=" + filepath.Join(t.TempDir(), "a", "b"), "unix:abstract=a", "disabled:", ""} {
		if awaitSocket(address)(ctx) {
			t.Errorf("%q: came, though nothing was made", address)
		}
	}
}

// The kernel takes the timer, and it ends with the agent.
func TestClockStepsEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	steps := clockSteps(ctx)
	if steps == nil {
		t.Skip("this kernel does not tell of steps of the clock")
	}
	cancel()
	for range steps { // until it is closed
		continue
	}
}
