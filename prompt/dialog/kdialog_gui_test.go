//go:build linux

package dialog_test

import (
	"testing"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

func TestKdialog(t *testing.T) {
	d := newDesk(t, "kdialog")
	d.perform(t, "kdialog", []gesture{
		{"is answered", prompt.Passcode, "123 456", []string{"Return"}, "123456", nil},
		{"closed", prompt.Passcode, "123", []string{"alt+F4"}, "", prompt.ErrDismissed},
		{"not now", prompt.Passcode, "123", []string{"Escape"}, "", prompt.ErrDismissed},
		{"is answered", prompt.Password, "two  words! <b>", []string{"Return"}, "two  words! <b>", nil},
		{"closed", prompt.Password, "", []string{"alt+F4"}, "", prompt.ErrDismissed},
		{"second", prompt.Choose, "", []string{"Down", "Return"}, "corp_duo", nil},
		{"denied", prompt.Choose, "", []string{"End", "Return"}, "", prompt.ErrDenied},
		{"closed", prompt.Choose, "", []string{"alt+F4"}, "", prompt.ErrDismissed},
		{"approved", prompt.Confirm, "", []string{"Return"}, "yes", nil},
		{"denied", prompt.Confirm, "", []string{"Tab", "Return"}, "", prompt.ErrDenied},
		{"closed", prompt.Confirm, "", []string{"alt+F4"}, "", prompt.ErrDismissed},
		{"seen", prompt.Push, "", []string{"Return"}, "", nil},
		{"closed", prompt.Push, "", []string{"alt+F4"}, "", nil},
		{"denied", prompt.Push, "", []string{"Tab", "Return"}, "", prompt.ErrDenied},
	})
	for _, kind := range []prompt.Kind{prompt.Passcode, prompt.Password} {
		t.Run("hostile text "+string(kind), func(t *testing.T) {
			d.t = t
			result := d.ask(t.Context(), prompttest.HostileRequest(kind))
			d.shown()
			d.shoot("kdialog-hostile-" + string(kind))
			d.write("1")
			d.press("Return")
			if answer, err := result(); answer != "1" || err != nil {
				t.Errorf("Prompt = %q, %v", answer, err)
			}
		})
	}
}
