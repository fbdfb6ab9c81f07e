//go:build unix

package daemon

import (
	"context"
	"os"
	"testing"
)

// What systemd left in the environment is not inherited by child processes.
func TestServiceManagerEnvironment(t *testing.T) {
	names := []string{"NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID"}
	for _, name := range names {
		t.Setenv(name, "1")
	}
	m := newServiceManager()
	if m.socket != "1" || m.watchdog != 0 || len(m.sockets) != 0 {
		t.Errorf("%+v: neither the sockets nor the watchdog are for this process", m)
	}
	for _, name := range names {
		if value, set := os.LookupEnv(name); set {
			t.Errorf("%s=%s is left", name, value)
		}
	}
}

// Without a manager nothing is sent, and alive is not called.
func TestNoServiceManager(t *testing.T) {
	t.Parallel()
	var m serviceManager
	m.ready("x")
	m.reloading()
	m.stopping()
	m.guard(t.Context(), func(context.Context) error { t.Error("asked"); return nil }, nil)
}
