package audit_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"testing"
	"time"
)

// insideNamespace runs the test again where its /run and its journals are its own.
func insideNamespace(t *testing.T) {
	t.Helper()
	for _, program := range []string{"/lib/systemd/systemd-journald", "journalctl", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs " + program)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a namespace")
	}
	const script = `mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/log && exec "$@"`
	inside := []string{"--mount", "sh", "-c", script, "sh", os.Args[0], "-test.run=^TestJournald$", "-test.v", "-test.timeout=2m"}
	if err := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /run").Run(); err != nil {
		t.Logf("no namespace can be made here, so only journald's protocol is checked: %v", err)
		return
	}
	cmd := exec.CommandContext(t.Context(), "unshare", inside...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestJournald")) {
		t.Errorf("inside: %v", err)
	}
}

func runInBackground(t *testing.T, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, args...)
	must(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
	})
}

func output(t *testing.T, program string, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).Output()
	if err != nil {
		t.Logf("%s: %v", program, err)
	}
	return out
}

// comes calls done until it is true. It waits much longer than a busy machine needs.
func comes(done func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	guard := time.After(time.Minute)
	for !done() {
		select {
		case <-tick.C:
		case <-guard:
			return false
		}
	}
	return true
}
