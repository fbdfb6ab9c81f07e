//go:build linux

package dialog

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// TestUnseen: real programs under a window manager that hangs run, and no window of theirs
// appears. A window that was there before, of the same program, is not taken for theirs.
func TestUnseen(t *testing.T) {
	for program, kind := range map[string]prompt.Kind{
		"zenity": prompt.Passcode, "kdialog": prompt.Confirm, "pinentry-gtk-2": prompt.Password, "pinentry-qt": prompt.Password,
	} {
		t.Run(program, func(t *testing.T) {
			d := newScreen(t, program)
			before, cancel := context.WithCancel(t.Context())
			end := d.ask(before, prompttest.Request(kind))
			d.shown()
			d.hang(syscall.SIGSTOP)
			var log bytes.Buffer
			c := d.config()
			c.Patience, c.Log = 2*time.Second, slog.New(slog.NewTextHandler(&log, nil))
			answer, err := New(c).Prompt(t.Context(), prompttest.Request(kind))
			if !errors.Is(err, prompt.ErrUnavailable) || errors.Is(err, prompt.ErrTimeout) {
				t.Errorf("Prompt = %q, %v, want %v", answer, err, prompt.ErrUnavailable)
			}
			if want := "a dialog program runs and shows nothing"; !strings.Contains(log.String(), want) || !strings.Contains(log.String(), program) {
				t.Errorf("the log says %q, want %q", log.String(), want)
			}
			d.hang(syscall.SIGCONT)
			cancel()
			end("", context.Canceled)
		})
	}
}

// TestUnseenGoesOn: the next program has the question, and the person its window.
func TestUnseenGoesOn(t *testing.T) {
	prompttest.Needs(t, "pinentry-qt")
	d := newScreen(t, "zenity")
	d.hang(syscall.SIGSTOP)
	c := d.config()
	c.Patience = 2 * time.Second
	look := c.LookPath
	c.LookPath = func(name string) (string, error) {
		if name == "pinentry" { // it is its turn, and it may be any, so that nothing is expected of its window
			d.hang(syscall.SIGCONT)
			return exec.LookPath("pinentry-qt")
		}
		return look(name)
	}
	done := make(chan error, 1)
	go func() {
		answer, err := New(c).Prompt(t.Context(), prompttest.Request(prompt.Confirm))
		if answer != "yes" && err == nil {
			err = errors.New("answer " + answer)
		}
		done <- err
	}()
	d.shown()
	d.press("Tab", "Return")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// hang stops the window manager, or lets it go on.
func (d *screen) hang(s syscall.Signal) {
	d.t.Helper()
	if err := d.manager.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

// TestSeen: a window counts when the person has put it aside, and where no window manager is.
// Each other test of a window looks, too.
func TestSeen(t *testing.T) {
	for _, program := range []string{"zenity", "kdialog", "pinentry-gtk-2", "pinentry-qt"} {
		t.Run(program, func(t *testing.T) {
			d := newScreen(t, program)
			ctx, cancel := context.WithCancel(t.Context())
			end := d.ask(ctx, prompttest.Request(prompt.Password))
			d.shown()
			window := d.window()
			d.await("the window to be put aside", func() bool {
				_, _ = d.do("windowminimize", window)
				return len(d.windows()) == 0
			})
			d.seen(true)
			cancel()
			end("", context.Canceled)
		})
		t.Run(program+" without a window manager", func(t *testing.T) {
			d := newBareScreen(t, program)
			ctx, cancel := context.WithCancel(t.Context())
			end := d.ask(ctx, prompttest.Request(prompt.Password))
			d.await("a dialog", func() bool { return len(d.windows()) > 0 })
			d.seen(true)
			cancel()
			end("", context.Canceled)
		})
	}
}
