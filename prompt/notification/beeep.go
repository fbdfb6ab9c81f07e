//go:build darwin || windows

package notification

import (
	"context"

	"github.com/gen2brain/beeep"

	"github.com/vault-stepup/stepup/prompt"
)

// systemNotifier shows notifications without buttons. beeep runs osascript and,
// where COM fails, PowerShell, with the text inside their program text and not
// escaped by their rules: only because describe writes nothing outside the
// sanitiser's alphabet ($, backtick and double quote are not in it) is it never run.
func systemNotifier(c Config) func(context.Context, prompt.Request, func()) (string, error) {
	c.Send = func(title, body string) error {
		// beeep's own way to set it. The sender runs one at a time, and only its first
		// call writes.
		if beeep.AppName != appName {
			beeep.AppName = appName
		}
		return beeep.Alert(title, body, "")
	}
	return newSender(c).show
}

// systemCheck returns nil: only showing a notification would tell.
func systemCheck(Config) func(context.Context) error { return nil }
