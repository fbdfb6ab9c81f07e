package cache_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/messagebus/messagebustest"
)

const secretsName = "org.freedesktop.secrets"

// A desktop is a session bus of its own, with its own home folder.
type desktop struct {
	dir  string
	env  []string
	conn *dbus.Conn
}

// busConfig has no service folders: nothing is started that the test did not start.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>`

func startDesktop(t *testing.T) *desktop {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("needs dbus-daemon")
	}
	dir, err := os.MkdirTemp("", "desktop") // a socket's path has 108 bytes at most
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := &desktop{dir: dir, env: []string{
		"GORACE=" + noExitSleep, "PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_DATA_HOME=" + dir + "/data", "XDG_RUNTIME_DIR=" + dir,
		"XDG_CONFIG_HOME=" + dir + "/config", "XDG_CACHE_HOME=" + dir + "/cache",
		"DBUS_SESSION_BUS_ADDRESS=unix:path=" + dir + "/bus",
	}}
	config := filepath.Join(dir, "bus.conf")
	must(t, os.WriteFile(config, fmt.Appendf(nil, busConfig, dir), 0o600))
	bus := d.start(t, "", "dbus-daemon", "--nofork", "--print-address=1", "--config-file="+config)
	_, err = bus.ReadString('\n') // printed when it listens
	must(t, err)
	d.conn, err = dbus.Connect("unix:path=" + dir + "/bus")
	must(t, err)
	t.Cleanup(func() { _ = d.conn.Close() })
	return d
}

// start runs a program until the end of the test and returns its output.
func (d *desktop) start(t *testing.T, input string, command ...string) *bufio.Reader {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = d.env
	cmd.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", command[0], stderr.String())
		}
	})
	return bufio.NewReader(out)
}

// startKeyring starts gnome-keyring; its login collection is open.
func (d *desktop) startKeyring(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("gnome-keyring-daemon"); err != nil {
		t.Skip("needs gnome-keyring-daemon")
	}
	signals := d.listen(t, "NameOwnerChanged", dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchArg(0, secretsName))
	d.start(t, "password", "gnome-keyring-daemon", "--unlock", "--foreground", "--components=secrets", "--control-directory="+d.dir)
	<-signals
}

func (d *desktop) listen(t *testing.T, member string, options ...dbus.MatchOption) <-chan *dbus.Signal {
	t.Helper()
	must(t, d.conn.AddMatchSignal(append(options, dbus.WithMatchMember(member))...))
	all, matching := make(chan *dbus.Signal, 100), make(chan *dbus.Signal, 100)
	d.conn.Signal(all)
	go func() { // ends when the connection is closed
		for s := range all {
			if strings.HasSuffix(s.Name, "."+member) {
				matching <- s
			}
		}
	}()
	return matching
}

func (d *desktop) ring() *cache.ChildRing {
	return &cache.ChildRing{Command: asChild("child-ring"), Limit: patience, Env: d.env}
}

func (d *desktop) keyring(scope string) *cache.Keyring {
	return cache.NewKeyring(cache.KeyringConfig{Ring: d.ring(), Scope: scope, Limit: patience})
}

func TestRealKeyring(t *testing.T) {
	t.Parallel()
	d := startDesktop(t)
	d.startKeyring(t)
	t.Run("suite", func(t *testing.T) {
		cachetest.Run(t, func(t *testing.T) cache.Store { return d.keyring(t.Name()) })
	})
	t.Run("the next process finds the token", func(t *testing.T) {
		want := aToken()
		must(t, d.keyring("restart").Put(t.Context(), aKey("r"), want))
		next := cache.NewLayered(&cache.Memory{}, d.keyring("restart"))
		got, err := next.Get(t.Context(), aKey("r"))
		if err != nil || got.Secret != want.Secret {
			t.Errorf("got %v, error %v", got, err)
		}
	})
	t.Run("the next process knows its callers", func(t *testing.T) {
		first, state := cache.LoadIdentifier(t.Context(), d.ring(), "restart")
		next, _ := cache.LoadIdentifier(t.Context(), d.ring(), "restart")
		if state.Condition != cache.Available || first.Identify("t") != next.Identify("t") {
			t.Errorf("state is %v", state)
		}
	})
	t.Run("seeds, passwords and logins", func(t *testing.T) {
		for name, s := range shelves(d.ring(), "") {
			must(t, s.put(t.Context(), "corp", "path", seedURL))
			if got, err := s.get(t.Context(), "corp", "path"); err != nil || got != seedURL {
				t.Errorf("%s: error %v", name, err)
			}
			must(t, s.remove(t.Context(), "corp", "path"))
			if _, err := s.get(t.Context(), "corp", "path"); !errors.Is(err, cache.ErrNotFound) {
				t.Errorf("%s after remove: error %v", name, err)
			}
		}
	})
	t.Run("names in the keyring tell nothing", func(t *testing.T) {
		var open, locked []dbus.ObjectPath
		service := d.conn.Object(secretsName, "/org/freedesktop/secrets")
		must(t, service.Call("org.freedesktop.Secret.Service.SearchItems", 0, map[string]string{"service": "stepup"}).Store(&open, &locked))
		if len(open) == 0 {
			t.Fatal("no items")
		}
		for _, path := range open {
			label, err := d.conn.Object(secretsName, path).GetProperty("org.freedesktop.Secret.Item.Label")
			must(t, err)
			if text := label.String(); strings.Contains(text, "corp") || strings.Contains(text, "prod-kv") {
				t.Errorf("label %s", text)
			}
		}
	})
	t.Run("locked", func(t *testing.T) { lockedKeyring(t, d) })
}

// prompter counts the dialogs that gnome-keyring wants to show.
type prompter struct {
	mu      sync.Mutex
	dialogs int
	asked   chan struct{}
}

func (p *prompter) BeginPrompting(dbus.ObjectPath) *dbus.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialogs++
	select {
	case p.asked <- struct{}{}:
	default:
	}
	return dbus.MakeFailedError(errors.New("no dialogs here"))
}

func (p *prompter) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dialogs
}

func lockedKeyring(t *testing.T, d *desktop) {
	p := &prompter{asked: make(chan struct{}, 1)}
	must(t, d.conn.Export(p, "/org/gnome/keyring/Prompter", "org.gnome.keyring.internal.Prompter"))
	_, err := d.conn.RequestName("org.gnome.keyring.SystemPrompter", dbus.NameFlagDoNotQueue)
	must(t, err)
	login := dbus.ObjectPath("/org/freedesktop/secrets/collection/login")
	service := d.conn.Object(secretsName, "/org/freedesktop/secrets")
	var done []dbus.ObjectPath
	var prompt dbus.ObjectPath
	must(t, service.Call("org.freedesktop.Secret.Service.Lock", 0, []dbus.ObjectPath{login}).Store(&done, &prompt))

	for operation, run := range map[string]func(*cache.Keyring) error{
		"get":    func(k *cache.Keyring) error { _, err := k.Get(t.Context(), aKey("r")); return err },
		"put":    func(k *cache.Keyring) error { return k.Put(t.Context(), aKey("r"), aToken()) },
		"delete": func(k *cache.Keyring) error { return k.Delete(t.Context(), aKey("r")) },
		"list":   func(k *cache.Keyring) error { _, err := k.List(t.Context()); return err },
	} {
		k := d.keyring("restart")
		if err := run(k); !errors.Is(err, cache.ErrUnavailable) {
			t.Errorf("%s: %v", operation, err)
		}
		if s := k.State(); s.Condition != cache.Locked || s.Why == "" {
			t.Errorf("%s: state is %v", operation, s)
		}
	}
	if n := p.count(); n != 0 {
		t.Errorf("%d dialogs were asked for", n)
	}
	// The counter counts: an unlock as go-keyring does it asks for a dialog.
	must(t, service.Call("org.freedesktop.Secret.Service.Unlock", 0, []dbus.ObjectPath{login}).Store(&done, &prompt))
	must(t, d.conn.Object(secretsName, prompt).Call("org.freedesktop.Secret.Prompt.Prompt", 0, "").Err)
	<-p.asked
}

func TestNoKeyring(t *testing.T) {
	t.Parallel()
	t.Run("no bus", func(t *testing.T) {
		t.Parallel()
		k := cache.NewKeyring(cache.KeyringConfig{Limit: patience, Ring: &cache.ChildRing{
			Command: asChild("child-ring"), Limit: patience, Env: []string{"DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent/bus"},
		}})
		expectState(t, k, cache.State{Condition: cache.Missing, Why: "there is no D-Bus session bus"})
	})
	t.Run("ssh", func(t *testing.T) {
		t.Parallel()
		k := cache.NewKeyring(cache.KeyringConfig{Limit: patience, Ring: &cache.ChildRing{
			Command: asChild("child-ring"), Limit: patience, Env: []string{"SSH_TTY=/dev/pts/1"},
		}})
		expectState(t, k, cache.State{
			Condition: cache.Disabled, Why: "in an SSH session a keyring would ask on a screen that nobody sees",
		})
	})
	t.Run("a bus without secret service", func(t *testing.T) {
		t.Parallel()
		d := startDesktop(t)
		expectState(t, d.keyring(""), cache.State{Condition: cache.Missing, Why: "no secret service runs on the session bus"})
	})
}

// A bus that says what no bus says does not end the child before it has seen that the
// keyring is locked.
func TestKeyringOnMalformedMessages(t *testing.T) {
	t.Parallel()
	login := dbus.ObjectPath("/org/freedesktop/secrets/collection/login")
	address := messagebustest.Serve(t, messagebustest.Answers{
		"Get": func(args []any) messagebustest.Answer {
			if args[1] == "Locked" {
				return messagebustest.Answer{Body: []any{dbus.MakeVariant(true)}}
			}
			return messagebustest.Answer{Body: []any{dbus.MakeVariant([]dbus.ObjectPath{login})}}
		},
	})
	k := cache.NewKeyring(cache.KeyringConfig{Limit: patience, Ring: &cache.ChildRing{
		Command: asChild("child-ring"), Limit: patience, Env: []string{"DBUS_SESSION_BUS_ADDRESS=" + address},
	}})
	expectState(t, k, cache.State{Condition: cache.Locked, Why: "the default collection of the keyring is locked"})
}

func expectState(t *testing.T, k *cache.Keyring, want cache.State) {
	t.Helper()
	if _, err := k.Get(t.Context(), aKey("r")); !errors.Is(err, cache.ErrUnavailable) {
		t.Errorf("get: %v", err)
	}
	if got := k.State(); got != want {
		t.Errorf("state is %v, want %v", got, want)
	}
}

// A silent secret service takes every question and answers none.
type silent struct {
	asked chan dbus.Sender
	end   context.Context
}

func (s *silent) Get(sender dbus.Sender, _, _ string) (dbus.Variant, *dbus.Error) {
	s.asked <- sender
	<-s.end.Done()
	return dbus.Variant{}, dbus.MakeFailedError(s.end.Err())
}

func silentDesktop(t *testing.T) (*desktop, *silent) {
	t.Helper()
	d := startDesktop(t)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s := &silent{asked: make(chan dbus.Sender, 10), end: ctx}
	must(t, d.conn.Export(s, "/org/freedesktop/secrets", "org.freedesktop.DBus.Properties"))
	_, err := d.conn.RequestName(secretsName, dbus.NameFlagDoNotQueue)
	must(t, err)
	return d, s
}

// gone waits until the process behind a bus connection has left the bus, which
// is what takes a dialog off the screen.
func gone(signals <-chan *dbus.Signal, sender dbus.Sender) {
	for s := range signals {
		if s.Body[0] == string(sender) && s.Body[2] == "" {
			return
		}
	}
}

func TestKeyringServiceThatNeverAnswers(t *testing.T) {
	t.Parallel()
	d, service := silentDesktop(t)
	signals := d.listen(t, "NameOwnerChanged", dbus.WithMatchInterface("org.freedesktop.DBus"))
	k := cache.NewKeyring(cache.KeyringConfig{Ring: d.ring(), Limit: patience})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() { _, err := k.Get(ctx, aKey("r")); result <- err }()
	sender := <-service.asked
	cancel()
	gone(signals, sender)
	if err := <-result; !errors.Is(err, cache.ErrUnavailable) {
		t.Errorf("get: %v", err)
	}

	ring := d.ring()
	ring.Limit = 0 // the limit that people get
	k = cache.NewKeyring(cache.KeyringConfig{Ring: ring})
	expectState(t, k, cache.State{Condition: cache.Slow, Why: "the keyring did not answer within 3s"})
	asked := len(service.asked)
	expectState(t, k, cache.State{Condition: cache.Slow, Why: "the keyring did not answer within 3s"})
	if len(service.asked) != asked {
		t.Error("the keyring was asked again at once")
	}
}

// The helper must not outlive an agent that was killed, or its dialog would stay.
func TestServeRingEndsWithItsParent(t *testing.T) {
	t.Parallel()
	d, service := silentDesktop(t)
	signals := d.listen(t, "NameOwnerChanged", dbus.WithMatchInterface("org.freedesktop.DBus"))
	cmd := exec.Command(asChild("child-ring")[0], "child-ring")
	cmd.Env = d.env
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	must(t, json.NewEncoder(in).Encode(map[string]any{"v": 1, "op": "get", "service": "stepup", "user": "u"}))
	sender := <-service.asked
	must(t, in.Close())
	gone(signals, sender)
	if err := cmd.Wait(); err == nil {
		t.Error("the helper says that all went well")
	}
}
