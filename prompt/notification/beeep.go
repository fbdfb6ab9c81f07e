//go:build darwin || windows

package notification

import "github.com/gen2brain/beeep"

// systemDesktop shows notifications without buttons. beeep runs osascript and,
// where COM fails, PowerShell, with the text inside their program text and not
// escaped by their rules: only because describe writes nothing outside the
// sanitiser's alphabet ($, backtick and double quote are not in it) is it never run.
func systemDesktop(c Config) desktop {
	name := func() {
		// beeep's own way to set it. The sender runs one at a time, and only its first
		// call writes.
		if beeep.AppName != appName {
			beeep.AppName = appName
		}
	}
	c.Send = func(title, body string) error {
		name()
		return beeep.Alert(title, body, "")
	}
	c.SendQuietly = func(title, body string) error {
		name()
		return beeep.Notify(title, body, "")
	}
	return newSender(c)
}
