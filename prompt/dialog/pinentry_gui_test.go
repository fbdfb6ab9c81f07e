//go:build linux

package dialog_test

import (
	"context"
	"errors"
	"testing"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

func TestPinentry(t *testing.T) {
	for _, program := range []string{"pinentry-gtk-2", "pinentry-qt"} {
		t.Run(program, func(t *testing.T) {
			d := newDesk(t, program)
			d.perform(t, program, []gesture{
				{"is answered", prompt.Password, "two  words! 100%25 <b>", []string{"Return"}, "two  words! 100%25 <b>", nil},
				{"closed", prompt.Password, "123", []string{"alt+F4"}, "", prompt.ErrDismissed},
				{"not now", prompt.Password, "123", []string{"Escape"}, "", prompt.ErrDismissed},
				{"is answered", prompt.Passcode, "123 456", []string{"Return"}, "123456", nil},
				{"closed", prompt.Confirm, "", []string{"alt+F4"}, "", prompt.ErrDismissed},
				{"approved", prompt.Confirm, "", approve(program), "yes", nil},
				{"denied", prompt.Confirm, "", deny(program), "", prompt.ErrDenied},
			})
			t.Run("hostile text", func(t *testing.T) {
				d.t = t
				result := d.ask(t.Context(), prompttest.HostileRequest(prompt.Password))
				d.shown()
				d.shoot(program + "-hostile")
				d.write("1")
				d.press("Return")
				if answer, err := result(); answer != "1" || err != nil {
					t.Errorf("Prompt = %q, %v", answer, err)
				}
			})
			t.Run("withdrawn", func(t *testing.T) {
				d.t = t
				ctx, cancel := context.WithCancelCause(t.Context())
				result := d.ask(ctx, prompttest.Request(prompt.Password))
				d.shown()
				cancel(prompt.ErrElsewhere)
				if _, err := result(); !errors.Is(err, context.Canceled) {
					t.Errorf("Prompt = %v, want context.Canceled", err)
				}
			})
		})
	}
}

// approve and deny are the keys that lead from the button which has the keyboard
// to the wanted one.
func approve(program string) []string {
	if program == "pinentry-qt" {
		return []string{"Tab", "Return"}
	}
	return []string{"shift+Tab", "Return"}
}

func deny(program string) []string {
	if program == "pinentry-qt" {
		return []string{"shift+Tab", "Return"}
	}
	return []string{"Tab", "Return"}
}
