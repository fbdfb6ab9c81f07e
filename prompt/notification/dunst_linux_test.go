package notification_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// dunstConfig makes the context menu press the button whose label is in the file
// "choice".
const dunstConfig = `[global]
    font = DejaVu Sans 11
    width = 480
    height = 400
    offset = 20x20
    padding = 10
    horizontal_padding = 12
    frame_width = 2
    frame_color = "#8a2be2"
    markup = full
    format = "<b>%%s</b>\n%%b"
    icon_position = off
    show_indicators = no
    dmenu = %[1]s/menu
[urgency_normal]
    background = "#24283b"
    foreground = "#ffffff"
    timeout = 0
[urgency_critical]
    background = "#24283b"
    foreground = "#ffffff"
`

const menuScript = `#!/bin/sh
exec grep -m1 "^#$(cat %[1]s/choice)"
`

// A dunst is a screen, with a real notification server that the bus starts.
type dunst struct {
	*sessionBus
	display string
	conn    *dbus.Conn
}

func startDunst(t *testing.T) *dunst {
	t.Helper()
	prompttest.Needs(t, "dunst", "import")
	s := &dunst{display: prompttest.StartX(t, "540x440x24")}
	s.sessionBus = startBus(t, "DISPLAY="+s.display)
	config := filepath.Join(s.Dir, "dunstrc")
	must(t, os.WriteFile(config, fmt.Appendf(nil, dunstConfig, s.Dir), 0o600))
	prompttest.WriteProgram(t, filepath.Join(s.Dir, "menu"), fmt.Sprintf(menuScript, s.Dir))
	program, err := exec.LookPath("dunst")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(s.Dir, "services", notifications+".service"),
		fmt.Appendf(nil, "[D-BUS Service]\nName=%s\nExec=%s -conf %s\n", notifications, program, config), 0o600))
	s.conn = s.Connect(t)
	return s
}

// shot is the screen as it is now.
func (s *dunst) shot(t *testing.T) (image.Image, []byte) {
	t.Helper()
	cmd := exec.Command("import", "-silent", "-window", "root", "-display", s.display, "png:-")
	raw, err := cmd.Output()
	must(t, err)
	picture, err := png.Decode(bytes.NewReader(raw))
	must(t, err)
	return picture, raw
}

// lit counts the pixels that are not black.
func lit(picture image.Image) int {
	n := 0
	for y := range picture.Bounds().Dy() {
		for x := range picture.Bounds().Dx() {
			if r, g, b, _ := picture.At(x, y).RGBA(); r+g+b > 0 {
				n++
			}
		}
	}
	return n
}

// until looks at the screen until it is empty or not.
func (s *dunst) until(t *testing.T, empty bool) []byte {
	t.Helper()
	last := -1
	for end := time.Now().Add(patience); time.Now().Before(end); {
		picture, raw := s.shot(t)
		n := lit(picture)
		if (n < 100) == empty && n == last { // twice the same: drawn to the end
			return raw
		}
		last = n
	}
	t.Fatalf("the screen is not what it should be: %d pixels are lit", last)
	return nil
}

// keep leaves a picture among the artefacts of the run, to be looked at.
func keep(t *testing.T, name string, raw []byte) {
	t.Helper()
	dir := os.Getenv("STEPUP_TEST_ARTIFACTS")
	if dir == "" {
		dir = t.TempDir()
	}
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, name+".png"), raw, 0o644))
}

// press opens dunst's menu of the first notification and takes the button with
// this label.
func (s *dunst) press(t *testing.T, label string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(s.Dir, "choice"), []byte(label), 0o600))
	must(t, s.conn.Object(notifications, notificationsPath).Call("org.dunstproject.cmd0.ContextMenuCall", 0).Err)
}

func TestDunst(t *testing.T) {
	t.Parallel()
	s := startDunst(t)
	n := s.notifier()
	for _, c := range []struct {
		name, press string
		kind        prompt.Kind
		change      func(*prompt.Request)
		answer      string
		err         error
	}{
		{"confirm-approve", "Allow", prompt.Confirm, func(r *prompt.Request) { r.Message = "a push will be sent to your phone" }, "yes", nil},
		{"confirm-deny", "Deny", prompt.Confirm, func(*prompt.Request) {}, "", prompt.ErrDenied},
		{"passcode-retry", "Deny", prompt.Passcode, func(r *prompt.Request) {
			r.Attempt, r.Queued, r.Message = 2, 2, "wrong code: wait for the next one"
		}, "", prompt.ErrDenied},
		{"passcode-answer", "Answer", prompt.Passcode, func(*prompt.Request) {}, "", prompt.ErrReopened},
		{"choose", "Not now", prompt.Choose, func(*prompt.Request) {}, "", prompt.ErrDismissed},
		{"push", "Deny", prompt.Push, func(r *prompt.Request) { r.Method, r.MethodType = "corp_duo", "duo" }, "", prompt.ErrDenied},
		{"hostile", "Deny", prompt.Push, func(r *prompt.Request) {
			id := r.ID
			*r = prompttest.HostileRequest(prompt.Push)
			r.ID = id
		}, "", prompt.ErrDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := prompttest.Request(c.kind)
			c.change(&r)
			a := askNotifier(t.Context(), n, r)
			keep(t, "notification-"+c.name, s.until(t, false))
			s.press(t, c.press)
			a.want(t, c.answer, c.err)
			s.until(t, true)
		})
	}
	t.Run("click on the text brings the question back", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a := askNotifier(ctx, n, prompttest.Request(prompt.Passcode))
		s.until(t, false)
		server := s.conn.Object(notifications, notificationsPath)
		must(t, server.Call("org.dunstproject.cmd0.NotificationAction", 0, uint32(0)).Err)
		a.want(t, "", prompt.ErrReopened)
	})
	t.Run("withdrawn", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		a := askNotifier(ctx, n, prompttest.Request(prompt.Passcode))
		s.until(t, false)
		cancel(prompt.ErrElsewhere)
		a.want(t, "", context.Canceled)
		s.until(t, true)
	})
}

// A use is shown without a question, and its button is the only thing that ends the step-up.
func TestDunstShowsUse(t *testing.T) {
	t.Parallel()
	s := startDunst(t)
	n := s.notifier()
	r := prompttest.Request(prompt.Confirm)
	r.Rule, r.Message = "prod", "another program than the one that asked for it"
	r.Requester.Exe, r.Requester.Claim, r.Requester.Origin = "/usr/bin/python3.11", "python3 deploy.py", ""
	r.Requester.Chain = []string{"python3.11", "bash", "gnome-terminal"}
	for _, c := range []struct {
		name, press string
		change      func(*prompt.Request)
		lock        bool
	}{
		{"lock", "Lock", func(*prompt.Request) {}, true},
		{"ok", "OK", func(*prompt.Request) {}, false},
		{"hostile", "OK", func(r *prompt.Request) { *r = prompttest.HostileRequest(prompt.Confirm) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			shown := r
			c.change(&shown)
			type result struct {
				lock bool
				err  error
			}
			results := make(chan result, 1)
			go func() {
				lock, err := n.ShowUse(t.Context(), shown)
				results <- result{lock, err}
			}()
			keep(t, "notification-use-"+c.name, s.until(t, false))
			s.press(t, c.press)
			select {
			case got := <-results:
				if got.lock != c.lock || got.err != nil {
					t.Errorf("%+v", got)
				}
			case <-time.After(patience):
				t.Fatal("it does not return")
			}
			s.until(t, true)
		})
	}
}
