//go:build linux

package dialog

import (
	"testing"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

func TestKdialog(t *testing.T) {
	passcode, password, choose := fullRequest(prompt.Passcode), fullRequest(prompt.Password), fullRequest(prompt.Choose)
	confirm, push := fullRequest(prompt.Confirm), fullRequest(prompt.Push)
	hostile, enter, none := prompttest.HostileRequest, keys("Return"), []string(nil)
	newScreen(t, "kdialog").perform(t, "kdialog", []gesture{
		{"is answered", passcode, keys("123 456"), enter, "123456", nil},
		{"kept once", prompttest.Keeping(passcode), keys("123 456 once"), enter, prompt.WithKeep("123456", prompt.KeepOnce), nil},
		{"closed", passcode, keys("123"), keys("alt+F4"), "", dismissed()},
		{"not now", usual(prompt.Passcode), keys("123456"), keys("Escape"), "", dismissed()},
		{"is answered", password, keys("two  words! <b>"), enter, "two  words! <b>", nil},
		{"closed", usual(prompt.Password), keys("hunter2"), keys("alt+F4"), "", dismissed()},
		{"second", choose, none, keys("Down", "Return"), "corp_duo", nil},
		{"denied", usual(prompt.Choose), none, keys("End", "Return"), "", denied()},
		{"closed", choose, none, keys("alt+F4"), "", dismissed()},
		{"approved", confirm, none, enter, "yes", nil},
		{"denied", usual(prompt.Confirm), none, keys("Tab", "Return"), "", denied()},
		{"closed", confirm, none, keys("alt+F4"), "", dismissed()},
		{"seen", push, none, enter, "", nil},
		{"closed", push, none, keys("alt+F4"), "", nil},
		{"denied", usual(prompt.Push), none, keys("Tab", "Return"), "", denied()},
		{"hostile", hostile(prompt.Passcode), keys("1"), enter, "1", nil},
		{"hostile", hostile(prompt.Password), keys("1"), enter, "1", nil},
	})
}
