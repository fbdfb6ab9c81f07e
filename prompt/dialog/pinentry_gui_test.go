//go:build linux

package dialog

import (
	"testing"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

func TestPinentry(t *testing.T) {
	password, passcode, confirm := fullRequest(prompt.Password), fullRequest(prompt.Passcode), fullRequest(prompt.Confirm)
	hostile, enter, none := prompttest.HostileRequest(prompt.Password), keys("Return"), []string(nil)
	// The keys that lead from the button which has the keyboard to the wanted one.
	for program, to := range map[string]struct{ approve, deny []string }{
		"pinentry-gtk-2": {approve: keys("shift+Tab", "Return"), deny: keys("Tab", "Return")},
		"pinentry-qt":    {approve: keys("Tab", "Return"), deny: keys("shift+Tab", "Return")},
	} {
		t.Run(program, func(t *testing.T) {
			d := newScreen(t, program)
			d.perform(t, program, []gesture{
				{"is answered", password, keys("two  words! 100%25 <b>"), enter, "two  words! 100%25 <b>", nil},
				{"closed", password, keys("123"), keys("alt+F4"), "", dismissed()},
				{"not now", password, keys("123"), keys("Escape"), "", dismissed()},
				{"is answered", passcode, keys("123 456"), enter, "123456", nil},
				{"closed", confirm, none, keys("alt+F4"), "", dismissed()},
				{"approved", confirm, none, to.approve, "yes", nil},
				{"denied", confirm, none, to.deny, "", denied()},
				{"hostile", hostile, keys("1"), enter, "1", nil},
			})
			t.Run("withdrawn", func(t *testing.T) { d.withdraw(t, prompttest.Request(prompt.Password)) })
		})
	}
}

// The person's own goes before the windows that would come for these questions.
func TestOwnPinentryWindow(t *testing.T) {
	const own = "pinentry-qt"
	d := newScreen(t, own, "zenity")
	d.own = own
	choose := fullRequest(prompt.Choose)
	d.perform(t, "own-"+own, []gesture{
		{"is answered", fullRequest(prompt.Passcode), keys("123 456"), keys("Return"), "123456", nil},
		{"by number", choose, keys("2"), keys("Return"), choose.Choices[1], nil},
		{"not now", choose, keys("2"), keys("Escape"), "", dismissed()},
	})
}
