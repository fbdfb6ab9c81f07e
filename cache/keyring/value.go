package keyring

import (
	"encoding/base64"
	"strings"
)

// valueMark begins a value that is written in the first form.
const valueMark = "stepup1:"

// encodeValue writes a value in letters that no keyring takes for something of its own:
// KeePassXC fills what looks like a placeholder in when a value is read ("{TITLE}",
// "{REF:…}"), and the braces of JSON are enough for that.
func encodeValue(value string) string {
	return valueMark + base64.RawURLEncoding.EncodeToString([]byte(value))
}

// decodeValue reads what encodeValue has written, and what earlier releases wrote, which
// is taken as it is: JSON never begins with the mark. It reports false for a value that
// is damaged, and for the mark alone, which an item holds before it has its value.
func decodeValue(stored string) (string, bool) {
	text, marked := strings.CutPrefix(stored, valueMark)
	if !marked {
		return stored, true
	}
	value, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return string(value), err == nil && text != ""
}
