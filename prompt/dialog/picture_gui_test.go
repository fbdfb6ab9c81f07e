//go:build linux

package dialog_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// scan is what a phone in front of the screen reads.
func (d *desk) scan() string {
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
func (d *desk) enrol(name string) (result func() (string, error), owner string) {
	d.t.Helper()
	result = d.ask(d.t.Context(), prompttest.EnrolmentRequest())
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
	return result, owner
}

// next waits for the window behind the one of the process first.
func (d *desk) next(first string) {
	d.t.Helper()
	d.await("the next window", func() bool { now := d.owner(); return now != "" && now != first })
	d.shown()
}

// testEnrolment: next are the keys that go on from the picture, and leave those
// that close it.
func testEnrolment(t *testing.T, program string, next, leave []string) {
	d := newDesk(t, program)
	needs(t, "import")
	t.Run("set up", func(t *testing.T) {
		d.t = t
		result, first := d.enrol(program + "-enrolment")
		d.press(next...)
		d.next(first)
		d.shoot(program + "-enrolment-code")
		d.write("123456")
		d.press("Return")
		if answer, err := result(); answer != "123456" || err != nil {
			t.Errorf("Prompt = %q, %v", answer, err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		d.t = t
		result, _ := d.enrol(program + "-enrolment-closed")
		d.press(leave...)
		if answer, err := result(); !errors.Is(err, prompt.ErrDismissed) {
			t.Errorf("Prompt = %q, %v, want ErrDismissed", answer, err)
		}
	})
	t.Run("only the code again", func(t *testing.T) {
		d.t = t
		result, first := d.enrol(program + "-enrolment-again")
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
		if answer, err := result(); answer != "123456" || err != nil {
			t.Errorf("Prompt = %q, %v", answer, err)
		}
	})
}

func TestZenityEnrolment(t *testing.T) {
	testEnrolment(t, "zenity", []string{"Home", "Return"}, []string{"Escape"})
	d := newDesk(t, "zenity")
	result, _ := d.enrol("zenity-enrolment-denied")
	d.press("shift+Tab", "Return")
	if answer, err := result(); !errors.Is(err, prompt.ErrDenied) {
		t.Errorf("Prompt = %q, %v, want ErrDenied", answer, err)
	}
}

func TestKdialogEnrolment(t *testing.T) {
	testEnrolment(t, "kdialog", []string{"Return"}, []string{"alt+F4"})
}
