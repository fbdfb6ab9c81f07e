package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A desktop is a session bus of its own with a real gnome-keyring on it.
type desktop struct {
	dir string
	env []string
}

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>`

// newDesktop has an open keyring. Nothing of the machine's own desktop is touched.
func newDesktop(t *testing.T) *desktop {
	t.Helper()
	needVault(t)
	for _, name := range []string{"dbus-daemon", "dbus-send", "gnome-keyring-daemon"} {
		installed(t, name)
	}
	dir := tempDir(t)
	d := &desktop{dir: dir, env: []string{
		"DBUS_SESSION_BUS_ADDRESS=unix:path=" + dir + "/bus", "XDG_RUNTIME_DIR=" + dir, "XDG_DATA_HOME=" + dir + "/data",
		"XDG_CONFIG_HOME=" + dir + "/config", "XDG_CACHE_HOME=" + dir + "/cache",
	}}
	config := filepath.Join(dir, "bus.conf")
	write(t, config, fmt.Sprintf(busConfig, dir))
	if line := d.start(t, "", "dbus-daemon", "--nofork", "--print-address=1", "--config-file="+config); line == "" {
		t.Fatal("the bus does not start")
	}
	d.start(t, "password", "gnome-keyring-daemon", "--unlock", "--foreground", "--components=secrets", "--control-directory="+dir)
	eventually(t, "the keyring is on the bus", func() bool {
		return strings.Contains(d.send(t, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.ListNames"), "org.freedesktop.secrets")
	})
	return d
}

// start runs a program until the end of the test, and returns the first line
// that it prints.
func (d *desktop) start(t *testing.T, input string, command ...string) string {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = cleanEnv(d.dir, d.env...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.StdoutPipe()
	check(t, err)
	tie(cmd)
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if !strings.HasPrefix(command[0], "dbus") {
		return ""
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	check(t, err)
	return line
}

// send calls a method on the bus.
func (d *desktop) send(t *testing.T, service string, call ...string) string {
	t.Helper()
	args := append([]string{"--session", "--print-reply", "--dest=" + service}, call...)
	return program{path: "dbus-send", env: cleanEnv(d.dir, d.env...)}.ok(t, args...).stdout
}

// lock locks the keyring, as an idle screen does with some.
func (d *desktop) lock(t *testing.T) {
	t.Helper()
	d.send(t, "org.freedesktop.secrets", "/org/freedesktop/secrets", "org.freedesktop.Secret.Service.Lock",
		"array:objpath:/org/freedesktop/secrets/collection/login")
}

// A token in the keyring serves without a prompt after the agent was killed or
// stopped; after a lock it serves no request, also after another start.
func TestKeyringOutlivesAgent(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *fixture) {
		d := newDesktop(t)
		p := w.patient(t, 1)
		s := w.setup(p)
		s.store, s.env = "keyring", d.env
		seen := watchProcesses(t)
		a := w.start(t, s)
		w.get().send(t, a.addr).wantStep(t, 200, "approved")
		if r := a.wantTokens(t, 1); r.Cache.Store != "keyring" || r.Cache.State != "available" {
			t.Errorf("status: %+v", r)
		}
		a.restart(t)
		for _, g := range w.get().together(t, a.addr, 10) {
			g.wantStep(t, 200, "cached")
		}
		a.stop(t)
		a.run(t)
		w.get().send(t, a.addr).wantStep(t, 200, "cached")
		w.wantAsked(t, p, 1)
		token := w.stepUpToken(t)

		// The next process knows the token from the keyring alone.
		a.restart(t)
		a.lock(t, "1 token revoked")
		a.restart(t)
		w.wantRevoked(t, a, token)
		uses := w.uses(token)
		w.get().send(t, a.addr).wantStep(t, 403, "denied")
		equal(t, "requests with the locked token", w.uses(token), uses)
		seen(token, w.password, w.codes.secret)
	})
}

// uses counts the requests with the token.
func (w *fixture) uses(token string) (n int) {
	for _, s := range w.gate.Seen("") {
		if s.Token == token {
			n++
		}
	}
	return n
}

// watchProcesses collects the arguments and environments of whatever runs, and
// looks for secrets in them at the end. Programs that end between two looks are
// missed, so one look follows the other closely.
func watchProcesses(t *testing.T) (wantNone func(secrets ...string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	shown := map[string]bool{}
	var watching sync.WaitGroup
	watching.Go(func() {
		for ctx.Err() == nil {
			for _, part := range []string{"cmdline", "environ"} {
				files, _ := filepath.Glob("/proc/[0-9]*/" + part) // the pattern is fine
				for _, file := range files {
					if text, err := os.ReadFile(file); err == nil {
						shown[string(text)] = true
					}
				}
			}
			time.Sleep(2 * time.Millisecond)
		}
	})
	return func(secrets ...string) {
		cancel()
		watching.Wait()
		helpers := 0
		for text := range shown {
			if strings.Contains(text, "STEPUP_CONFIG=") {
				helpers++
			}
			for _, secret := range secrets {
				if strings.Contains(text, secret) {
					t.Errorf("a secret in the arguments or environment of a program: %.80q…", text)
				}
			}
		}
		if _, err := os.Stat("/proc/self/environ"); err == nil && helpers == 0 {
			t.Error("not even the agent was seen")
		}
	}
}

// Where the keyring cannot be used, tokens are kept in memory: that is said, once,
// and costs a prompt after the next start.
func TestKeyringUnusable(t *testing.T) {
	tests := []struct {
		name  string
		env   func(t *testing.T) []string
		state string
	}{
		{"none", func(*testing.T) []string { return nil }, "missing"},
		{"a remote session", func(*testing.T) []string { return []string{"SSH_TTY=/dev/pts/99"} }, "disabled"},
		{"locked", func(t *testing.T) []string { d := newDesktop(t); d.lock(t); return d.env }, "locked"},
	}
	t.Parallel()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t, "login")
			p := w.patient(t, 1)
			s := w.setup(p)
			s.store, s.env = "keyring", test.env(t)
			a := w.start(t, s)
			for _, outcome := range []string{"approved", "cached", "cached"} {
				w.get().send(t, a.addr).wantStep(t, 200, outcome)
			}
			r := a.wantTokens(t, 1)
			if r.Cache.State != test.state || r.Cache.Reason == "" {
				t.Errorf("status: %+v", r)
			}
			human := a.stepup("").ok(t, "status").stdout
			contains(t, "stepup status", human, r.Cache.Reason, "memory")
			equal(t, "\"memory only\" in the log", strings.Count(a.log.String(), "memory only"), 1)
			a.restart(t)
			w.get().send(t, a.addr).wantStep(t, 403, "denied")
		})
	}
}

// A keyring that is locked later costs nothing while the agent runs; stepup lock
// says what it cannot take out of it.
func TestKeyringLockedLater(t *testing.T) {
	t.Parallel()
	d := newDesktop(t)
	w := newFixture(t, "login")
	p := w.typist(t)
	s := w.setup(p)
	s.store, s.env = "keyring", d.env
	a := w.start(t, s)
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	d.lock(t)
	w.get().send(t, a.addr).wantStep(t, 200, "cached")
	token := w.stepUpToken(t)
	a.lock(t, "note: ", "keyring")
	w.wantRevoked(t, a, token)
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	w.wantAsked(t, p, 2)
}
