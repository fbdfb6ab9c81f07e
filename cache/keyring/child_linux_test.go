package keyring_test

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/messagebus"
	"github.com/vault-stepup/stepup/messagebus/messagebustest"
)

const secretsName = "org.freedesktop.secrets"

// A fixture is a desktop of its own: a session bus with its home folder.
type fixture struct {
	*messagebustest.Daemon
	conn *dbus.Conn
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	d := messagebustest.NewDaemon(t, "GORACE="+noExitSleep)
	return &fixture{d, d.Connect(t)}
}

// listen gives the changes of owners of names.
func (f *fixture) listen(t *testing.T) <-chan *dbus.Signal {
	t.Helper()
	must(t, f.conn.AddMatchSignal(dbus.WithMatchInterface(messagebus.Daemon), dbus.WithMatchMember("NameOwnerChanged")))
	signals := make(chan *dbus.Signal, 100)
	f.conn.Signal(signals)
	return signals
}

func (f *fixture) child() *keyring.Child {
	return &keyring.Child{Command: asChild("child-serves"), Limit: patience, Env: f.Env}
}

func (f *fixture) store(scope string) *cache.Persistent {
	return cache.NewPersistent(cache.PersistentConfig{Keyring: f.child(), Scope: scope, Limit: patience})
}

func aKey() cache.Key {
	return cache.Key{Vault: "corp", Namespace: "ns", Identity: "00ff", Rule: "prod-kv"}
}

func aToken() cache.Token {
	return cache.Token{Secret: "hvs.SECRET", Created: time.Now(), Expires: time.Now().Add(time.Hour)}
}

func TestRealKeyring(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.StartKeyring(t)
	t.Run("suite", func(t *testing.T) {
		cachetest.Run(t, func(t *testing.T) cache.Store { return f.store(t.Name()) })
	})
	t.Run("the next process finds the token", func(t *testing.T) {
		must(t, f.store("restart").Put(t.Context(), aKey(), aToken()))
		got, err := cache.NewLayered(&cache.Memory{}, f.store("restart")).Get(t.Context(), aKey())
		if err != nil || got.Secret != aToken().Secret {
			t.Errorf("got %v, error %v", got, err)
		}
	})
	t.Run("the next process knows its callers", func(t *testing.T) {
		first, state := cache.LoadIdentifier(t.Context(), f.child())
		next, _ := cache.LoadIdentifier(t.Context(), f.child())
		if state.Condition != keyring.Available || first.Identify("t") != next.Identify("t") {
			t.Errorf("state is %v", state)
		}
	})
	t.Run("seeds, passwords and logins", func(t *testing.T) {
		for name, s := range kinds(f.child()) {
			must(t, s.put(t.Context(), seedURL, "corp", "path"))
			if got, err := s.get(t.Context(), "corp", "path"); err != nil || got != seedURL {
				t.Errorf("%s: error %v", name, err)
			}
			must(t, s.remove(t.Context(), "corp", "path"))
			if _, err := s.get(t.Context(), "corp", "path"); !errors.Is(err, keyring.ErrNotFound) {
				t.Errorf("%s after remove: error %v", name, err)
			}
		}
	})
	t.Run("names in the keyring tell nothing", func(t *testing.T) {
		var open, locked []dbus.ObjectPath
		service := f.conn.Object(secretsName, "/org/freedesktop/secrets")
		must(t, service.Call("org.freedesktop.Secret.Service.SearchItems", 0, map[string]string{"service": "stepup"}).Store(&open, &locked))
		if len(open) == 0 {
			t.Fatal("no items")
		}
		for _, path := range open {
			label, err := f.conn.Object(secretsName, path).GetProperty("org.freedesktop.Secret.Item.Label")
			must(t, err)
			if text := label.String(); strings.Contains(text, "corp") || strings.Contains(text, "prod-kv") {
				t.Errorf("label %s", text)
			}
		}
	})
	t.Run("locked", func(t *testing.T) { lockedKeyring(t, f) })
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

func lockedKeyring(t *testing.T, f *fixture) {
	p := &prompter{asked: make(chan struct{}, 1)}
	must(t, f.conn.Export(p, "/org/gnome/keyring/Prompter", "org.gnome.keyring.internal.Prompter"))
	_, err := f.conn.RequestName("org.gnome.keyring.SystemPrompter", dbus.NameFlagDoNotQueue)
	must(t, err)
	login := dbus.ObjectPath("/org/freedesktop/secrets/collection/login")
	service := f.conn.Object(secretsName, "/org/freedesktop/secrets")
	var done []dbus.ObjectPath
	var prompt dbus.ObjectPath
	must(t, service.Call("org.freedesktop.Secret.Service.Lock", 0, []dbus.ObjectPath{login}).Store(&done, &prompt))

	for operation, run := range map[string]func(*cache.Persistent) error{
		"get":    func(s *cache.Persistent) error { _, err := s.Get(t.Context(), aKey()); return err },
		"put":    func(s *cache.Persistent) error { return s.Put(t.Context(), aKey(), aToken()) },
		"delete": func(s *cache.Persistent) error { return s.Delete(t.Context(), aKey()) },
		"list":   func(s *cache.Persistent) error { _, err := s.List(t.Context()); return err },
	} {
		s := f.store("restart")
		if err := run(s); !errors.Is(err, keyring.ErrUnavailable) {
			t.Errorf("%s: %v", operation, err)
		}
		if state := s.State(); state.Condition != keyring.Locked || state.Why == "" {
			t.Errorf("%s: state is %v", operation, state)
		}
	}
	if n := p.count(); n != 0 {
		t.Errorf("%d dialogs were asked for", n)
	}
	// The counter counts: an unlock as go-keyring does it asks for a dialog.
	must(t, service.Call("org.freedesktop.Secret.Service.Unlock", 0, []dbus.ObjectPath{login}).Store(&done, &prompt))
	must(t, f.conn.Object(secretsName, prompt).Call("org.freedesktop.Secret.Prompt.Prompt", 0, "").Err)
	<-p.asked
}

func TestNoKeyring(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env  func(t *testing.T) []string
		want keyring.Error
	}{
		"no bus": {
			func(*testing.T) []string { return []string{"DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent/bus"} },
			keyring.Error{Condition: keyring.Missing, Why: "there is no D-Bus session bus"},
		},
		"ssh": {
			func(*testing.T) []string { return []string{"SSH_TTY=/dev/pts/1"} },
			keyring.Error{Condition: keyring.Disabled, Why: "in an SSH session a keyring would ask on a screen that nobody sees"},
		},
		"a bus without secret service": {
			func(t *testing.T) []string { return newFixture(t).Env },
			keyring.Error{Condition: keyring.Missing, Why: "no secret service runs on the session bus"},
		},
		// A bus that says what no bus says does not end the child before it has seen that
		// the keyring is locked.
		"a bus with malformed messages": {
			func(t *testing.T) []string { return []string{"DBUS_SESSION_BUS_ADDRESS=" + malformedBus(t)} },
			keyring.Error{Condition: keyring.Locked, Why: "the default collection of the keyring is locked"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := (&keyring.Child{Command: asChild("child-serves"), Limit: patience, Env: test.env(t)}).Get(t.Context(), "name")
			if got := (*keyring.Error)(nil); !errors.As(err, &got) || *got != test.want {
				t.Errorf("error %v, want %v", err, &test.want)
			}
		})
	}
}

// malformedBus is the address of a bus with a locked keyring.
func malformedBus(t *testing.T) string {
	t.Helper()
	login := dbus.ObjectPath("/org/freedesktop/secrets/collection/login")
	return messagebustest.Serve(t, messagebustest.Answers{
		"Get": func(args []any) messagebustest.Answer {
			if args[1] == "Locked" {
				return messagebustest.Answer{Body: []any{dbus.MakeVariant(true)}}
			}
			return messagebustest.Answer{Body: []any{dbus.MakeVariant([]dbus.ObjectPath{login})}}
		},
	})
}

// A hanging secret service takes every question and answers none.
type hanging struct {
	asked chan dbus.Sender
	end   context.Context
}

func (s *hanging) Get(sender dbus.Sender, _, _ string) (dbus.Variant, *dbus.Error) {
	s.asked <- sender
	<-s.end.Done()
	return dbus.Variant{}, dbus.MakeFailedError(s.end.Err())
}

func newHangingFixture(t *testing.T) (*fixture, *hanging) {
	t.Helper()
	f := newFixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s := &hanging{asked: make(chan dbus.Sender, 10), end: ctx}
	must(t, f.conn.Export(s, "/org/freedesktop/secrets", "org.freedesktop.DBus.Properties"))
	_, err := f.conn.RequestName(secretsName, dbus.NameFlagDoNotQueue)
	must(t, err)
	return f, s
}

// gone waits until the process behind a bus connection has left the bus, which
// is what takes a dialog off the screen.
func gone(signals <-chan *dbus.Signal, sender dbus.Sender) {
	for s := range signals {
		if s.Name == messagebus.OwnerChanged && s.Body[0] == string(sender) && s.Body[2] == "" {
			return
		}
	}
}

func TestKeyringServiceThatNeverAnswers(t *testing.T) {
	t.Parallel()
	f, service := newHangingFixture(t)
	signals := f.listen(t)
	s := f.store("")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() { _, err := s.Get(ctx, aKey()); result <- err }()
	sender := <-service.asked
	cancel()
	gone(signals, sender)
	if err := <-result; !errors.Is(err, keyring.ErrUnavailable) {
		t.Errorf("get: %v", err)
	}

	child := f.child()
	child.Limit = 0 // the limit that people get
	s = cache.NewPersistent(cache.PersistentConfig{Keyring: child})
	asked := 0
	for use := range 2 {
		if _, err := s.Get(t.Context(), aKey()); !errors.Is(err, keyring.ErrUnavailable) {
			t.Errorf("get: %v", err)
		}
		if want := (keyring.State{Condition: keyring.Slow, Why: "the keyring did not answer within 3s"}); s.State() != want {
			t.Errorf("state is %v, want %v", s.State(), want)
		}
		if use == 1 && len(service.asked) != asked {
			t.Error("the keyring was asked again at once")
		}
		asked = len(service.asked)
	}
}

// The helper must not outlive an agent that was killed, or its dialog would stay.
func TestServeEndsWithItsParent(t *testing.T) {
	t.Parallel()
	f, service := newHangingFixture(t)
	signals := f.listen(t)
	cmd := exec.Command(asChild("child-serves")[0], "child-serves")
	cmd.Env = f.Env
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
