//go:build linux

package dialog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/dialog"
	"github.com/vault-stepup/stepup/prompt/prompttest"
	"github.com/vault-stepup/stepup/prompt/session"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// A desk is a screen of its own with a window manager, and the person at it.
type desk struct {
	t       testing.TB
	display string
	folder  string // runtime and home folder of the session
	allowed []string
}

func needs(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("needs %s", p)
		}
	}
}

// newDesk starts an X server and a window manager for the test; only the
// allowed dialog programs are found there.
func newDesk(t testing.TB, allowed ...string) *desk {
	t.Helper()
	needs(t, append([]string{"Xvfb", "openbox", "xdotool"}, allowed...)...)
	d := &desk{t: t, folder: t.TempDir(), allowed: allowed}
	number, tell, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer number.Close()
	server := exec.Command("Xvfb", "-displayfd", "3", "-screen", "0", "1024x768x24", "-nolisten", "tcp", "-noreset")
	server.ExtraFiles = []*os.File{tell}
	d.start(server)
	_ = tell.Close()
	_ = number.SetReadDeadline(time.Now().Add(patience))
	line, err := io.ReadAll(io.LimitReader(number, 8))
	if err != nil && len(line) == 0 {
		t.Fatalf("the X server does not start: %v", err)
	}
	d.display = ":" + strings.TrimSpace(string(line))
	manager := exec.Command("openbox")
	manager.Env = d.environ()
	d.start(manager)
	d.await("the window manager", func() bool { _, err := d.do("get_desktop"); return err == nil })
	return d
}

func (d *desk) start(cmd *exec.Cmd) {
	d.t.Helper()
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// environ is that of the session: no bus, which a dialog could be asked about over.
func (d *desk) environ() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + d.folder, "XDG_CONFIG_HOME=" + d.folder, "LC_ALL=C.UTF-8",
		"DISPLAY=" + d.display, "XDG_RUNTIME_DIR=" + d.folder, "DBUS_SESSION_BUS_ADDRESS=disabled:",
	}
}

func (d *desk) sessions() session.Finder {
	return session.Finder{
		Proc:            d.folder, // the requester of the tests may be anybody's process
		UserEnvironment: func(context.Context) (string, error) { return "", errors.New("none here") },
		Environ:         d.environ,
	}
}

// desktop is the prompter of the session.
func (d *desk) desktop() *dialog.Prompter {
	return dialog.New(dialog.Config{
		Session: d.sessions().Find,
		Environ: d.environ,
		LookPath: func(name string) (string, error) {
			if !slices.Contains(d.allowed, name) {
				return "", exec.ErrNotFound
			}
			return exec.LookPath(name)
		},
	})
}

// do runs xdotool, which is the person's hands and eyes.
func (d *desk) do(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "xdotool", args...)
	cmd.Env = d.environ()
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// await polls until it is so.
func (d *desk) await(what string, so func() bool) {
	d.t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			d.shoot("stuck-" + strings.ReplaceAll(d.t.Name(), "/", "-"))
			d.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// windows are the dialogs that are on the screen.
func (d *desk) windows() []string {
	out, _ := d.do("search", "--onlyvisible", "--name", "^stepup: ")
	return strings.Fields(out)
}

// owner is the process that shows the dialog; "" while there is none. Numbers of
// windows are used again.
func (d *desk) owner() string {
	open := d.windows()
	if len(open) == 0 {
		return ""
	}
	pid, _ := d.do("getwindowpid", open[0])
	return pid
}

// shown waits until a dialog has the keyboard.
func (d *desk) shown() {
	d.t.Helper()
	d.await("a dialog", func() bool { return len(d.windows()) > 0 })
	d.await("the dialog to get the keyboard", func() bool {
		open := d.windows()
		if len(open) == 0 {
			return false
		}
		_, _ = d.do("windowactivate", open[0])
		active, err := d.do("getactivewindow")
		return err == nil && slices.Contains(open, active)
	})
}

func (d *desk) gone() {
	d.t.Helper()
	d.await("the dialog to disappear", func() bool { return len(d.windows()) == 0 })
}

func (d *desk) press(keys ...string) {
	d.t.Helper()
	if _, err := d.do(append([]string{"key", "--delay", "40"}, keys...)...); err != nil {
		d.t.Errorf("pressing %v: %v", keys, err)
	}
}

func (d *desk) write(text string) {
	d.t.Helper()
	if _, err := d.do("type", "--delay", "20", text); err != nil {
		d.t.Errorf("typing: %v", err)
	}
}

// shoot keeps a picture of the screen for people to look at, once the dialog
// has painted itself: an empty window has few colours.
func (d *desk) shoot(name string) {
	folder := os.Getenv("STEPUP_TEST_ARTIFACTS")
	if folder == "" {
		return
	}
	file := filepath.Join(folder, name+".png")
	for range 20 {
		cmd := exec.Command("import", "-window", "root", file)
		cmd.Env = d.environ()
		if out, err := cmd.CombinedOutput(); err != nil {
			d.t.Logf("no screenshot: %v %s", err, out)
			return
		}
		colours, err := exec.Command("identify", "-format", "%k", file).Output()
		if n, _ := strconv.Atoi(string(colours)); err != nil || n > paintedColours {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// paintedColours is more than a frame around nothing has.
const paintedColours = 900

// ask prompts in the background; result waits for its end and for the window's.
func (d *desk) ask(ctx context.Context, r prompt.Request) (result func() (string, error)) {
	type end struct {
		answer string
		err    error
	}
	done := make(chan end, 1)
	go func() {
		answer, err := d.desktop().Prompt(ctx, r)
		done <- end{answer, err}
	}()
	return func() (string, error) {
		d.t.Helper()
		select {
		case e := <-done:
			d.gone()
			return e.answer, e.err
		case <-time.After(patience):
			d.shoot("hangs-" + strings.ReplaceAll(d.t.Name(), "/", "-"))
			d.t.Fatal("the prompter does not return")
			return "", nil
		}
	}
}

// A gesture is what a person does with a dialog, and what comes of it.
type gesture struct {
	name   string
	kind   prompt.Kind
	typed  string
	keys   []string
	answer string
	err    error
}

func (d *desk) perform(t *testing.T, program string, gestures []gesture) {
	for _, g := range gestures {
		t.Run(string(g.kind)+" "+g.name, func(t *testing.T) {
			d.t = t
			result := d.ask(t.Context(), fullRequest(g.kind))
			d.shown()
			if g.typed != "" {
				d.write(g.typed)
			}
			d.shoot(fmt.Sprintf("%s-%s-%s", program, g.kind, strings.ReplaceAll(g.name, " ", "-")))
			if len(g.keys) > 0 {
				d.press(g.keys...)
			}
			answer, err := result()
			if answer != g.answer || !errors.Is(err, g.err) {
				t.Errorf("Prompt = %q, %v; want %q, %v", answer, err, g.answer, g.err)
			}
		})
	}
}

// fullRequest has something in every field that is shown.
func fullRequest(kind prompt.Kind) prompt.Request {
	r := prompttest.Request(kind)
	r.Namespace, r.Queued, r.Attempt = "team-a", 2, 2
	r.Message = "wrong code: wait for the next one"
	r.Requester.Chain = []string{"terraform", "make", "zsh", "gnome-terminal-server"}
	if kind == prompt.Push {
		r.Method, r.MethodType, r.Message, r.Number = "okta", "okta", "tap 42 in Okta Verify", "42"
	}
	return r
}

// questions is a desktop without the pushes that it does not show. Each prompt
// ends when its window has disappeared.
type questions struct {
	desk  *desk
	asked chan prompt.Kind // one element for each question
}

func (q questions) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	if ctx.Err() == nil {
		q.asked <- r.Kind
	}
	if r.Kind == prompt.Push {
		<-ctx.Done()
		return "", ctx.Err()
	}
	answer, err := q.desk.desktop().Prompt(ctx, r)
	for end := time.Now().Add(patience); len(q.desk.windows()) > 0 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	return answer, err
}
