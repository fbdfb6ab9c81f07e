package keyring_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A watch counts the dialogs that secret services were told to show.
type watch struct {
	t    *testing.T
	conn *dbus.Conn // a monitor
	seen chan *dbus.Message
	mark *dbus.Conn
}

func (f *fixture) watch(t *testing.T) *watch {
	t.Helper()
	w := &watch{t: t, conn: f.Connect(t), mark: f.Connect(t), seen: make(chan *dbus.Message, 10_000)}
	rules := []string{"type='method_call',interface='org.freedesktop.Secret.Prompt'", "type='method_call',interface='org.example.Mark'"}
	must(t, w.conn.BusObject().Call("org.freedesktop.DBus.Monitoring.BecomeMonitor", 0, rules, uint32(0)).Err)
	w.conn.Eavesdrop(w.seen)
	return w
}

// prompts is how often Prompt was called since the last time.
func (w *watch) prompts() int {
	w.t.Helper()
	// What was called before the mark is seen before it.
	_ = w.mark.BusObject().Call("org.example.Mark.Mark", 0).Err
	n := 0
	for m := range w.seen {
		switch member, _ := m.Headers[dbus.FieldMember].Value().(string); member {
		case "Mark":
			return n
		case "Prompt":
			n++
		}
	}
	return n
}

// call calls a method of the secret service.
func (f *fixture) call(t *testing.T, method string, args ...any) *dbus.Call {
	t.Helper()
	return f.conn.Object(secretsName, "/org/freedesktop/secrets").Call("org.freedesktop.Secret.Service."+method, 0, args...)
}

// contents are the values of all our items of the default collection as they are stored,
// by their names.
func (f *fixture) contents(t *testing.T) map[string]string {
	t.Helper()
	var none dbus.Variant
	var session, collection dbus.ObjectPath
	must(t, f.call(t, "OpenSession", "plain", dbus.MakeVariant("")).Store(&none, &session))
	must(t, f.call(t, "ReadAlias", "default").Store(&collection))
	items, err := f.conn.Object(secretsName, collection).GetProperty("org.freedesktop.Secret.Collection.Items")
	must(t, err)
	all := make(map[string]string)
	for _, path := range items.Value().([]dbus.ObjectPath) {
		item := f.conn.Object(secretsName, path)
		attributes, err := item.GetProperty("org.freedesktop.Secret.Item.Attributes")
		must(t, err)
		var value struct {
			Session           dbus.ObjectPath
			Parameters, Value []byte
			ContentType       string
		}
		if err := item.Call("org.freedesktop.Secret.Item.GetSecret", 0, session).Store(&value); err != nil {
			value.Value = []byte(err.Error())
		}
		all[attributes.Value().(map[string]string)["username"]] = string(value.Value)
	}
	return all
}

// keeps runs what every keyring that can be used must do.
func (f *fixture) keeps(t *testing.T) {
	t.Helper()
	t.Run("suite", func(t *testing.T) {
		cachetest.Run(t, func(t *testing.T) cache.Store { return f.store(t.Name()) })
	})
	t.Run("values come back as they were", func(t *testing.T) {
		for _, value := range []secret.Secret{`{"v":1}`, "my{TITLE}pw", `{"a":"{REF:P@I:0123}"}`, "{USERNAME}{S:username}", "\x01ü\n"} {
			must(t, f.child().Set(t.Context(), "placeholder", value)) // the first is new, the others replace it
			if got, err := f.child().Get(t.Context(), "placeholder"); err != nil || got != value {
				t.Errorf("%q came back as %q, error %v", value.Reveal(), got.Reveal(), err)
			}
		}
		must(t, f.child().Delete(t.Context(), "placeholder"))
		if _, err := f.child().Get(t.Context(), "placeholder"); !errors.Is(err, keyring.ErrNotFound) {
			t.Errorf("after delete: %v", err)
		}
	})
}

func (f *fixture) isLocked(t *testing.T, want string) {
	t.Helper()
	c := f.child()
	_, get := c.Get(t.Context(), "item")
	for operation, err := range map[string]error{
		"get": get, "set": c.Set(t.Context(), "item", "hvs.SECRET"), "delete": c.Delete(t.Context(), "item"),
	} {
		if got := (*keyring.Error)(nil); !errors.As(err, &got) || *got != (keyring.Error{Condition: keyring.Locked, Why: want}) {
			t.Errorf("%s: %v", operation, err)
		}
	}
}

func TestKWallet(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	openWallet := f.StartWallet(t)
	w := f.watch(t)
	f.isLocked(t, "the default collection of the keyring is locked")
	openWallet()
	must(t, writeConfig(f, "kwalletrc", "[Wallet]\nPrompt on Open=true\n"))
	f.isLocked(t, "KWallet asks before a program may use the open wallet")
	if n := w.prompts(); n != 0 {
		t.Errorf("%d dialogs were asked for", n)
	}
	must(t, writeConfig(f, "kwalletrc", "[Wallet]\nPrompt on Open=false\n"))
	// A dialog would be on no screen, and nothing would ever come back.
	if _, err := f.child().Get(t.Context(), "item"); !errors.Is(err, keyring.ErrNotFound) {
		t.Fatalf("the wallet is open: %v", err)
	}
	if n := w.prompts(); n != 1 {
		t.Errorf("%d calls of Prompt opened it", n)
	}
	f.keeps(t)
	if n := w.prompts(); n != 0 {
		t.Errorf("%d dialogs were asked for", n)
	}
	must(t, f.conn.Object("org.kde.kwalletd5", "/modules/kwalletd5").Call("org.kde.KWallet.closeAllWallets", 0).Err)
	f.isLocked(t, "the default collection of the keyring is locked")
	if n := w.prompts(); n != 0 {
		t.Errorf("%d dialogs were asked for", n)
	}
}

func TestKeePassXC(t *testing.T) {
	t.Parallel()
	t.Run("without confirmation", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.StartKeePassXC(t, false)
		f.keeps(t)
	})
	t.Run("with confirmation", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.StartKeePassXC(t, true)
		state := &keyring.Error{Condition: keyring.Locked, Why: "the item in the keyring is locked"}
		for range 2 {
			if err := f.child().Set(t.Context(), "item", "hvs.SECRET"); err == nil || err.Error() != state.Error() {
				t.Errorf("set: %v", err)
			}
			if left := f.contents(t); len(left) > 0 {
				t.Errorf("%d items stay, and nothing of ours can reach them", len(left))
			}
		}
	})
}

// What earlier releases have stored is read, and written in the new form with the next
// change.
func TestItemOfEarlierRelease(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.StartKeyring(t)
	const name = "login-55ca5a0badcab06aeeb97167d79c9ac5" // of "corp"
	const old = `{"v":1,"kind":"login","words":["corp"],"value":"hvs.OLD"}`
	f.storePlain(t, name, old)
	logins := keyring.NewLogins(f.child())
	if got, err := logins.Get(t.Context(), "corp"); err != nil || got != "hvs.OLD" {
		t.Fatalf("it reads %q, error %v", got.Reveal(), err)
	}
	if stored := f.contents(t)[name]; stored != old {
		t.Errorf("reading has made %q of it", stored)
	}
	must(t, logins.Put(t.Context(), "hvs.NEW", "corp"))
	const want = "stepup1:eyJ2IjoxLCJraW5kIjoibG9naW4iLCJ3b3JkcyI6WyJjb3JwIl0sInZhbHVlIjoiaHZzLk5FVyJ9"
	if all := f.contents(t); len(all) != 1 || all[name] != want {
		t.Errorf("the keyring holds %q", all)
	}
	if got, err := logins.Get(t.Context(), "corp"); err != nil || got != "hvs.NEW" {
		t.Errorf("it reads %q, error %v", got.Reveal(), err)
	}
}

// storePlain stores an item as go-keyring does.
func (f *fixture) storePlain(t *testing.T, name, value string) {
	t.Helper()
	var none dbus.Variant
	var session, item, prompt dbus.ObjectPath
	must(t, f.call(t, "OpenSession", "plain", dbus.MakeVariant("")).Store(&none, &session))
	properties := map[string]dbus.Variant{
		"org.freedesktop.Secret.Item.Label":      dbus.MakeVariant("an item"),
		"org.freedesktop.Secret.Item.Attributes": dbus.MakeVariant(map[string]string{"service": "stepup", "username": name}),
	}
	type stored struct {
		Session           dbus.ObjectPath
		Parameters, Value []byte
		ContentType       string
	}
	login := f.conn.Object(secretsName, "/org/freedesktop/secrets/collection/login")
	must(t, login.Call("org.freedesktop.Secret.Collection.CreateItem", 0, properties, stored{session, nil, []byte(value), "text/plain; charset=utf8"}, true).Store(&item, &prompt))
}

func writeConfig(f *fixture, name, text string) error {
	folder := filepath.Join(f.Dir, "config")
	return errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
}
