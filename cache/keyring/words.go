package keyring

import (
	"strings"
	"unicode"

	"github.com/vault-stepup/stepup/cache/secret"
)

// Reasons of several places, as people read all of them: in lower case, without full
// stop, to follow "memory only, the keyring is missing:".
const (
	whyHelper   = "the helper process of the keyring failed"
	whyProtocol = "the helper process of the keyring is of another version"

	whyLocked     = "the default collection of the keyring is locked"
	whyItemLocked = "the item in the keyring is locked"
	whyWalletAsks = "KWallet asks before a program may use the open wallet"
)

// whyOther shortens the text of a foreign error so that it can be shown: it comes from
// whatever answers on the bus. It must never repeat the secret.
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
