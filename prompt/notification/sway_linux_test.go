package notification_test

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// A wayland is a Wayland session with a real notification server.
type wayland struct {
	*sessionBus
	sway  *prompttest.Sway
	conn  *dbus.Conn
	empty []byte // picture of the screen without a notification
}

// startWayland starts a session in which the server runs.
func startWayland(t *testing.T, server string, args ...string) *wayland {
	t.Helper()
	prompttest.Needs(t, server)
	s := &wayland{sway: prompttest.StartSway(t, 540, 440)}
	s.sessionBus = startBus(t, s.sway.Environ...)
	s.conn = s.Connect(t)
	s.empty = s.sway.StillShot()
	var said bytes.Buffer
	cmd := exec.Command(server, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = s.Env, &said, &said
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", server, said.Bytes())
		}
	})
	s.sway.Await(server, func() bool {
		var there bool
		must(t, s.conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, notifications).Store(&there))
		return there
	})
	return s
}

// startMako starts mako as it is by default, with an icon as the package of stepup has it.
func startMako(t *testing.T) *wayland {
	t.Helper()
	prompttest.Needs(t, "makoctl", "busctl")
	icons := filepath.Join(t.TempDir(), "hicolor")
	folder := filepath.Join(icons, "64x64", "apps")
	must(t, os.MkdirAll(folder, 0o755))
	square := image.NewRGBA(image.Rect(0, 0, 64, 64))
	for i := range 64 * 64 {
		square.Set(i%64, i/64, color.RGBA{0x33, 0x33, 0x99, 0xff})
	}
	var raw bytes.Buffer
	must(t, png.Encode(&raw, square))
	for _, name := range []string{"stepup", "dialog-password"} {
		must(t, os.WriteFile(filepath.Join(folder, name+".png"), raw.Bytes(), 0o644))
	}
	return startWayland(t, "mako", "--font", "DejaVu Sans Mono 10", "--icon-path", icons)
}

// makoctl does what a person has bound to a key.
func (s *wayland) makoctl(t *testing.T, args ...string) {
	t.Helper()
	cmd := s.sway.Command("makoctl", args...)
	cmd.Env = append(cmd.Env, "DBUS_SESSION_BUS_ADDRESS="+s.Address)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("makoctl %q: %v %s", args, err, out)
	}
}

// key is the key of an action of the notification that mako shows.
func (s *wayland) key(t *testing.T, label string) string {
	t.Helper()
	var list []map[string]dbus.Variant
	must(t, s.conn.Object(notifications, "/fr/emersion/Mako").Call("fr.emersion.Mako.ListNotifications", 0).Store(&list))
	if len(list) != 1 {
		t.Fatalf("%d notifications", len(list))
	}
	actions, _ := list[0]["actions"].Value().(map[string]string)
	for key, of := range actions {
		if of == label && key != "default" {
			return key
		}
	}
	t.Fatalf("no %q among %q", label, actions)
	return ""
}

// rows is the picture of a notification of just this text.
func (s *wayland) rows(t *testing.T, title, body string) []byte {
	t.Helper()
	server := s.conn.Object(notifications, notificationsPath)
	var id uint32
	must(t, server.Call(notifications+".Notify", 0, "stepup", uint32(0), "stepup", title, body, []string{},
		map[string]dbus.Variant{"urgency": dbus.MakeVariant(byte(2))}, int32(0)).Store(&id))
	picture := s.shown()
	must(t, server.Call(notifications+".CloseNotification", 0, id).Err)
	s.gone()
	return picture
}

// shown waits for a notification that does not move any more.
func (s *wayland) shown() (picture []byte) {
	s.sway.Await("a notification", func() bool {
		picture = s.sway.StillShot()
		return !bytes.Equal(picture, s.empty)
	})
	return picture
}

func (s *wayland) gone() {
	s.sway.Await("an empty screen", func() bool { return bytes.Equal(s.sway.Shot(), s.empty) })
}

// mako's notification has five rows of 26 characters, title and all. What is asked and how to
// answer are among them, as is when to deny a push. mako shows no button: makoctl takes actions,
// and a click is the one called default.
func TestMako(t *testing.T) {
	t.Parallel()
	s := startMako(t)
	n := s.notifier()
	invoke := func(label string) func(*testing.T) {
		return func(t *testing.T) { s.makoctl(t, "invoke", s.key(t, label)) }
	}
	const asked, push = "stepup: allow reading kv/\ndata/prod/db?", "stepup: approve it on your\nphone"
	const who = "terraform (pid 4711) wants to read kv/data/prod/db" // cut off
	for _, c := range []struct {
		name        string
		r           prompt.Request
		title, body string // the rows that can be seen
		act         func(*testing.T)
		answer      string
		err         error
	}{
		{"passcode", prompttest.Request(prompt.Passcode), asked, "To answer: stepup answer\nabc234\n" + who,
			func(t *testing.T) { s.makoctl(t, "invoke") }, "", prompt.ErrReopened},
		{"passcode-click", prompttest.Request(prompt.Passcode), asked, "To answer: stepup answer\nabc234\n" + who,
			func(*testing.T) { s.sway.Click(400, 60) }, "", prompt.ErrReopened},
		{"confirm", prompttest.Request(prompt.Confirm), asked, "To allow: stepup answer\nabc234 yes\n" + who, invoke("Allow"), "yes", nil},
		{"choose", prompttest.Request(prompt.Choose), asked, "To answer: stepup answer\nabc234\n" + who, invoke("Deny"), "", prompt.ErrDenied},
		{"password", prompttest.Request(prompt.Password), asked, "To answer: stepup answer\nabc234\n" + who,
			func(t *testing.T) { s.makoctl(t, "dismiss") }, "", prompt.ErrDismissed},
		{"push", prompttest.Request(prompt.Push), push, "Deny it if you did not ask\nfor this\n" + who, invoke("Deny"), "", prompt.ErrDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := s.rows(t, c.title, c.body)
			a := askNotifier(t.Context(), n, c.r)
			got := s.shown()
			keep(t, "mako-"+c.name, got)
			if !bytes.Equal(got, want) {
				keep(t, "mako-"+c.name+"-wanted", want)
				t.Errorf("it does not show these rows:\n%s\n%s", c.title, c.body)
			}
			c.act(t)
			a.want(t, c.answer, c.err)
			s.gone()
		})
	}
	t.Run("use", func(t *testing.T) {
		r := prompttest.Request(prompt.Confirm)
		r.Rule, r.Requester.Exe, r.Requester.Claim = "prod", "/usr/bin/python3.11", "python3 deploy.py"
		want := s.rows(t, "python3 deploy.py used the\nstep-up prod", "To end it: stepup lock\nprod\npython3.11 (pid 4711): read kv/data/prod/db")
		locked := make(chan bool, 1)
		go func() {
			lock, err := n.ShowUse(t.Context(), r)
			locked <- lock && err == nil
		}()
		got := s.shown()
		keep(t, "mako-use", got)
		if !bytes.Equal(got, want) {
			keep(t, "mako-use-wanted", want)
			t.Error("it does not show what was used and how to end it")
		}
		s.makoctl(t, "invoke", s.key(t, "Lock"))
		if !<-locked {
			t.Error("the button does not lock")
		}
		s.gone()
	})
	s.withdraw(t, "mako", prompttest.Kinds()...)
}

// withdraw shows a question of each kind, and answers it elsewhere.
func (s *wayland) withdraw(t *testing.T, server string, kinds ...prompt.Kind) {
	for _, kind := range kinds {
		t.Run("withdrawn "+string(kind), func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			r := prompttest.Request(kind)
			r.Attempt, r.Queued, r.Message = 2, 2, "wrong code: wait for the next one"
			a := askNotifier(ctx, s.notifier(), r)
			keep(t, server+"-withdrawn-"+string(kind), s.shown())
			cancel(prompt.ErrElsewhere)
			a.want(t, "", context.Canceled)
			s.gone()
		})
	}
}

// TestSwaync: the other server of sway takes a notification away when the question ends.
func TestSwaync(t *testing.T) {
	t.Parallel()
	startWayland(t, "swaync").withdraw(t, "swaync", prompttest.Kinds()...)
}
