//go:build linux

package dialog

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// scan is what a phone in front of the screen reads.
func (d *screen) scan() string {
	d.t.Helper()
	cmd := exec.Command("import", "-window", "root", "png:-")
	cmd.Env = d.environ()
	picture, err := cmd.Output()
	if err != nil {
		d.t.Fatal(err)
	}
	return readPNG(d.t, picture)
}

// enrol asks for the first code of a new secret, and waits until a phone can
// scan it. owner is the process that shows it.
func (d *screen) enrol(name string) (end func(answer string, errs ...error), owner string) {
	d.t.Helper()
	end = d.ask(d.t.Context(), prompttest.EnrolmentRequest())
	d.shown()
	d.await("a code that can be scanned", func() bool { return d.scan() == prompttest.OTPAuth })
	d.shoot(name)
	d.await("the process of the dialog", func() bool { owner = d.owner(); return owner != "" })
	for _, file := range []string{"cmdline", "environ"} {
		content, err := os.ReadFile("/proc/" + owner + "/" + file)
		if err != nil || len(content) == 0 {
			d.t.Errorf("%s of the dialog: %q, %v", file, content, err)
		}
		if strings.Contains(string(content), prompttest.Seed[:4]) {
			d.t.Errorf("every user can read the secret in the %s of the dialog: %q", file, content)
		}
	}
	return end, owner
}

// next waits for the window behind the one of the process first.
func (d *screen) next(first string) {
	d.t.Helper()
	d.await("the next window", func() bool { now := d.owner(); return now != "" && now != first })
	d.shown()
}

// testEnrolment: next are the keys that go on from the picture, and leave those
// that close it.
func testEnrolment(t *testing.T, program string, next, leave []string) {
	d := newScreen(t, program)
	prompttest.Needs(t, "import")
	t.Run("set up", func(t *testing.T) {
		d.t = t
		end, first := d.enrol(program + "-enrolment")
		d.press(next...)
		d.next(first)
		d.shoot(program + "-enrolment-code")
		d.write("123456")
		d.press("Return")
		end("123456")
	})
	t.Run("closed", func(t *testing.T) {
		d.t = t
		end, _ := d.enrol(program + "-enrolment-closed")
		d.press(leave...)
		end("", prompt.ErrDismissed)
	})
	t.Run("only the code again", func(t *testing.T) {
		d.t = t
		end, first := d.enrol(program + "-enrolment-again")
		d.press(next...)
		d.next(first)
		second := d.owner()
		d.press("Return") // nothing was typed
		d.next(second)
		if d.scan() != "" {
			t.Error("the secret is shown again")
		}
		d.write("123456")
		d.press("Return")
		end("123456")
	})
}

func TestZenityEnrolment(t *testing.T) {
	testEnrolment(t, "zenity", []string{"Home", "Return"}, []string{"Escape"})
	d := newScreen(t, "zenity")
	end, _ := d.enrol("zenity-enrolment-denied")
	d.press("shift+Tab", "Return")
	end("", prompt.ErrDenied)
}

func TestKdialogEnrolment(t *testing.T) {
	testEnrolment(t, "kdialog", []string{"Return"}, []string{"alt+F4"})
}
