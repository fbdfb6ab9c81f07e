package cache

import (
	"strings"
	"time"
	"unicode"

	"github.com/vault-stepup/stepup/cache/secret"
)

// What people read about a keyring: in lower case, without full stop, each a
// reason that can follow "memory only, the keyring is missing:".
const (
	whyWSL         = "WSL has no keyring that can be used"
	whySSH         = "in an SSH session a keyring would ask on a screen that nobody sees"
	whyNoBus       = "there is no D-Bus session bus"
	whyBusDead     = "the D-Bus session bus does not answer"
	whyNoService   = "no secret service runs on the session bus"
	whyNoDefault   = "the secret service has no default collection"
	whyCollection  = "the default collection of the keyring is locked"
	whyItem        = "the item in the keyring is locked"
	whyMismatch    = "the keyring gave back something else than was stored"
	whyKey         = "the key that callers are told apart by is damaged in the keyring"
	whyUnsupported = "this platform has no keyring"
	whyHelper      = "the helper process of the keyring failed"
	whyProtocol    = "the helper process of the keyring is of another version"
)

func whySlow(limit time.Duration) string {
	return "the keyring did not answer within " + limit.String()
}

// whyOther shortens the text of a foreign error so that it can be shown: it
// comes from whatever answers on the bus. It must never repeat the secret.
func whyOther(text string, secret secret.Secret) string {
	if secret != "" && strings.Contains(text, secret.Reveal()) {
		return whyHelper
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, "?"))
	const most = 200
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most])
	}
	return text
}
