//go:build linux

package dialog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
	"github.com/vault-stepup/stepup/prompt/session"
	"github.com/vault-stepup/stepup/prompt/x11"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// A screen is one of its own with a window manager, and the person at it.
type screen struct {
	t       testing.TB
	display string
	sway    *prompttest.Sway // in the place of X; nil where X is
	folder  string           // runtime and home folder of the session
	allowed []string
	own     string      // the pinentry of the configuration; "" for none
	manager *os.Process // of its windows
	watch   *x11.Watch  // for the windows of the newest question; nil before the first
}

// newScreen starts an X server and a window manager for the test; only the
// allowed dialog programs are found there.
func newScreen(t testing.TB, allowed ...string) *screen {
	t.Helper()
	prompttest.Needs(t, "openbox")
	d := newBareScreen(t, allowed...)
	manager := exec.Command("openbox")
	manager.Env = d.environ()
	if err := manager.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = manager.Process.Kill()
		_ = manager.Wait()
	})
	d.manager = manager.Process
	d.await("the window manager", func() bool { _, err := d.do("get_desktop"); return err == nil })
	return d
}

// newBareScreen is newScreen without a window manager.
func newBareScreen(t testing.TB, allowed ...string) *screen {
	t.Helper()
	prompttest.Needs(t, append([]string{"xdotool"}, allowed...)...)
	return &screen{t: t, folder: t.TempDir(), allowed: allowed, display: prompttest.StartX(t, "1024x768x24")}
}

// environ is that of the session: no bus, which a dialog could be asked about over.
func (d *screen) environ() []string {
	if d.sway != nil {
		return append([]string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + d.folder, "XDG_CONFIG_HOME=" + d.folder, "LC_ALL=C.UTF-8", "DBUS_SESSION_BUS_ADDRESS=disabled:",
		}, d.sway.Environ...)
	}
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + d.folder, "XDG_CONFIG_HOME=" + d.folder, "LC_ALL=C.UTF-8",
		"DISPLAY=" + d.display, "XDG_RUNTIME_DIR=" + d.folder, "DBUS_SESSION_BUS_ADDRESS=disabled:",
	}
}

// desktop is the prompter of the session.
func (d *screen) desktop() *Prompter {
	return New(d.config())
}

func (d *screen) config() Config {
	return Config{
		Session: session.Finder{
			Proc:            d.folder, // the requester of the tests may be any process
			UserEnvironment: func(context.Context) (string, error) { return "", errors.New("none here") },
			Environ:         d.environ,
		}.Find,
		Environ:  d.environ,
		Pinentry: d.own,
		LookPath: func(name string) (string, error) {
			if !slices.Contains(d.allowed, name) {
				return "", exec.ErrNotFound
			}
			return exec.LookPath(name)
		},
	}
}

// do runs xdotool, which is the person's hands and eyes.
func (d *screen) do(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "xdotool", args...)
	cmd.Env = d.environ()
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// await polls until it is so.
func (d *screen) await(what string, so func() bool) {
	d.t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			d.shoot("stuck-" + strings.ReplaceAll(d.t.Name(), "/", "-"))
			d.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// windows are the dialogs that are on the screen.
func (d *screen) windows() []string {
	if d.sway != nil {
		return d.swayWindows(false)
	}
	out, _ := d.do("search", "--onlyvisible", "--name", "^stepup: ")
	return strings.Fields(out)
}

// owner is the process that shows the dialog; "" while there is none. Numbers of
// windows are used again.
func (d *screen) owner() string {
	open := d.windows()
	if len(open) == 0 {
		return ""
	}
	pid, _ := d.do("getwindowpid", open[0])
	return pid
}

// shown waits until a dialog has the keyboard. A window that a person sees must never count
// as one that is not there.
func (d *screen) shown() {
	d.t.Helper()
	d.await("a dialog", func() bool { return len(d.windows()) > 0 })
	if d.sway != nil {
		d.await("the dialog to get the keyboard", func() bool { return len(d.swayWindows(true)) > 0 })
		return
	}
	d.await("the dialog to get the keyboard", func() bool {
		open := d.windows()
		if len(open) == 0 {
			return false
		}
		_, _ = d.do("windowactivate", open[0])
		active, err := d.do("getactivewindow")
		return err == nil && slices.Contains(open, active)
	})
	d.seen(true)
}

// seen compares what the newest watch says with what a person sees.
func (d *screen) seen(want bool) {
	d.t.Helper()
	if d.watch == nil {
		return
	}
	if got, err := d.watch.Seen(d.t.Context()); got != want || err != nil {
		d.t.Errorf("Seen = %t, %v; want %t", got, err, want)
	}
}

func (d *screen) gone() {
	d.t.Helper()
	d.await("the dialog to disappear", func() bool { return len(d.windows()) == 0 })
}

func (d *screen) press(keys ...string) {
	d.t.Helper()
	if len(keys) == 0 {
		return
	}
	if d.sway != nil {
		d.pressInSway(keys)
		return
	}
	if _, err := d.do(append([]string{"key", "--delay", "40"}, keys...)...); err != nil {
		d.t.Errorf("pressing %v: %v", keys, err)
	}
}

func (d *screen) write(text string) {
	d.t.Helper()
	if d.sway != nil {
		d.sway.Write(text)
		return
	}
	if _, err := d.do("type", "--delay", "20", text); err != nil {
		d.t.Errorf("typing: %v", err)
	}
}

// shoot keeps a picture of the screen for people to look at, once the dialog
// has painted itself: an empty window has few colours.
func (d *screen) shoot(name string) {
	folder := os.Getenv("STEPUP_TEST_ARTIFACTS")
	if folder == "" {
		return
	}
	file, before := filepath.Join(folder, name+".png"), 0
	if d.sway != nil {
		if err := os.WriteFile(file, d.sway.StillShot(), 0o644); err != nil {
			d.t.Error(err)
		}
		return
	}
	for range 20 {
		cmd := exec.Command("import", "-window", "root", file)
		cmd.Env = d.environ()
		if out, err := cmd.CombinedOutput(); err != nil {
			d.t.Logf("no screenshot: %v %s", err, out)
			return
		}
		colours, err := exec.Command("identify", "-format", "%k", file).Output()
		n, _ := strconv.Atoi(string(colours))
		// A window that GTK 4 has painted, frame and all, has few, and has them again.
		if err != nil || n > paintedColours || n == before && n > paintedColours/4 {
			return
		}
		before = n
		time.Sleep(20 * time.Millisecond)
	}
}

// paintedColours is more than a frame around nothing has.
const paintedColours = 900

// ask prompts in the background. The function that it returns waits for the end, and for
// that of the window, and compares.
func (d *screen) ask(ctx context.Context, r prompt.Request) (end func(answer string, errs ...error)) {
	d.t.Helper()
	if d.sway == nil {
		watch, err := x11.Observe(d.t.Context(), d.display, "")
		if err != nil {
			d.t.Fatal(err)
		}
		d.t.Cleanup(watch.Close)
		d.watch = watch
	}
	var answer string
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		answer, err = d.desktop().Prompt(ctx, r)
	}()
	return func(want string, errs ...error) {
		d.t.Helper()
		select {
		case <-done:
			d.gone()
		case <-time.After(patience):
			d.shoot("hangs-" + strings.ReplaceAll(d.t.Name(), "/", "-"))
			d.t.Fatal("the prompter does not return")
		}
		if answer != want || (err == nil) != (len(errs) == 0) {
			d.t.Errorf("Prompt = %.80q, %v; want %.80q, %v", answer, err, want, errs)
		}
		for _, e := range errs {
			if !errors.Is(err, e) {
				d.t.Errorf("Prompt = %v, want %v", err, e)
			}
		}
	}
}

// A gesture is what a person does with a dialog, and what comes of it.
type gesture struct {
	name    string
	request prompt.Request
	typed   []string // into the field
	keys    []string // pressed then
	answer  string
	errs    []error
}

// perform makes each gesture with a window of its own. The pictures have the program in
// their names.
func (d *screen) perform(t *testing.T, program string, gestures []gesture) {
	for _, g := range gestures {
		kind := string(g.request.Kind)
		t.Run(kind+" "+g.name, func(t *testing.T) {
			d.t = t
			g.request.Deadline = time.Now().Add(2 * patience) // the table is older than that on a slow machine
			end := d.ask(t.Context(), g.request)
			d.shown()
			for _, text := range g.typed {
				d.write(text)
			}
			d.shoot(fmt.Sprintf("%s-%s-%s", program, kind, strings.ReplaceAll(g.name, " ", "-")))
			d.press(g.keys...)
			end(g.answer, g.errs...)
		})
	}
}

// usual is a request as most are. The pictures of docs/images have it.
func usual(kind prompt.Kind) prompt.Request {
	r := prompttest.Request(kind)
	switch kind {
	case prompt.Push:
		r.Method, r.MethodType, r.Number, r.Message = "okta", "okta", "42", "tap 42 in Okta Verify"
	case prompt.Confirm:
		r.Message = "a yes sends a push to your phone (corp_okta)"
	case prompt.Password:
		r.Method = "auth/stepup/login/alice"
		fallthrough
	case prompt.Passcode, prompt.Choose:
		r.Allows = "this, and all of kv/data/prod/*, for up to 10 min, from terminal pts/3 of zsh (pid 4711)"
	}
	return r
}

// longest is the request with the most text that a stranger can cause.
func longest(kind prompt.Kind) prompt.Request {
	r, h := prompttest.HostileRequest(kind), prompttest.Hostile()
	r.Requester.Claim, r.Attempt, r.Queued, r.Number = h, 2, 2, "42"
	for len(r.Requester.Chain) < 12 {
		r.Requester.Chain = append(r.Requester.Chain, h)
	}
	if kind == prompt.Confirm {
		r = prompttest.Keeping(r)
	}
	for range 9 {
		r.Requester.MayBe = append(r.Requester.MayBe, prompt.Candidate{PID: 4711, Name: h})
		if kind == prompt.Choose {
			r.Choices = append(r.Choices, h)
		}
	}
	return r
}

// TestLongestFits: the buttons of every window are on a screen of 1280 by 720, whatever a
// stranger calls things.
func TestLongestFits(t *testing.T) {
	const room = 700 // rows of pixels
	enrolment := longest(prompt.Passcode)
	enrolment.Enrolment = prompttest.EnrolmentRequest().Enrolment
	requests := map[string]prompt.Request{"enrolment": enrolment}
	for _, kind := range prompttest.Kinds() {
		requests[string(kind)] = longest(kind)
	}
	for _, program := range []string{"zenity", "kdialog", "pinentry-gtk-2", "pinentry-qt"} {
		d := newScreen(t, program)
		for name, r := range requests {
			own := strings.HasPrefix(program, "pinentry")
			if own && (r.Kind == prompt.Push || r.Kind == prompt.Choose) {
				continue // not for a pinentry that is not the person's own
			}
			t.Run(program+" "+name, func(t *testing.T) {
				d.t = t
				ctx, cancel := context.WithCancelCause(t.Context())
				r.Deadline = time.Now().Add(2 * patience)
				end := d.ask(ctx, r)
				d.shown()
				d.shoot("longest-" + program + "-" + name)
				if width, height := d.size(); height == 0 || height > room || width > 1024 {
					t.Errorf("a window of %d by %d pixels", width, height)
				}

				cancel(prompt.ErrElsewhere)
				end("", context.Canceled)
			})
		}
	}
}

// window is the number of the dialog that is on the screen.
func (d *screen) window() (number string) {
	d.t.Helper()
	d.await("the number of the dialog", func() bool {
		open := d.windows()
		if len(open) > 0 {
			number = open[0]
		}
		return number != ""
	})
	return number
}

// size is that of the dialog with its frame, in pixels. GTK 4 draws the frame itself.
func (d *screen) size() (width, height int) {
	d.t.Helper()
	window := d.window()
	geometry, err := d.do("getwindowgeometry", "--shell", window)
	if err != nil {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(geometry) {
		_, _ = fmt.Sscanf(line, "WIDTH=%d", &width)
		_, _ = fmt.Sscanf(line, "HEIGHT=%d", &height)
	}
	cmd := exec.Command("xprop", "-id", window, "-notype", "_NET_FRAME_EXTENTS")
	cmd.Env = d.environ()
	frame, err := cmd.Output()
	var left, right, top, bottom int
	if _, scanErr := fmt.Sscanf(string(frame), "_NET_FRAME_EXTENTS = %d, %d, %d, %d", &left, &right, &top, &bottom); err != nil || scanErr != nil {
		d.t.Fatalf("xprop: %q, %v", frame, err)
	}
	return width + left + right, height + top + bottom
}

// keys are those of one gesture.
func keys(names ...string) []string { return names }

// withdraw takes r back when its window is open.
func (d *screen) withdraw(t *testing.T, r prompt.Request) {
	d.t = t
	ctx, cancel := context.WithCancelCause(t.Context())
	end := d.ask(ctx, r)
	d.shown()
	cancel(prompt.ErrElsewhere)
	end("", context.Canceled)
}

// Ends of a gesture.
func dismissed() []error { return []error{prompt.ErrDismissed} }
func denied() []error    { return []error{prompt.ErrDenied} }

// BenchmarkDialog measures how long it takes from the question to a window that
// is on the screen. The look itself (a process of xdotool) is in the figure.
func BenchmarkDialog(b *testing.B) {
	d := newScreen(b, "zenity")
	var took []time.Duration
	for b.Loop() {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		started := time.Now()
		go func() {
			defer close(ended)
			_, _ = d.desktop().Prompt(ctx, prompttest.Request(prompt.Passcode))
		}()
		for len(d.windows()) == 0 {
			if time.Since(started) > patience {
				b.Fatal("no window")
			}
			time.Sleep(5 * time.Millisecond)
		}
		took = append(took, time.Since(started))
		cancel()
		<-ended
		for len(d.windows()) > 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "ms-median")
	b.ReportMetric(0, "ns/op")
}
