package packaging

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const sealWord = "stepup-checksum:"

// Sealed is the text with a line that tells whether the rest was changed. It is against
// overwriting what a person wrote, not against forgery.
func (f File) Sealed() string {
	sum := sha256.Sum256([]byte(f.Text))
	words := sealWord + " " + hex.EncodeToString(sum[:])
	if declaration, rest, ok := strings.Cut(f.Text, "\n"); ok && strings.HasPrefix(declaration, "<?xml") {
		return declaration + "\n<!-- written by stepup service install; " + words + " -->\n" + rest
	}
	return "# Written by stepup service install. Changes belong into a drop-in: systemctl --user edit " + f.Name +
		"\n# " + words + "\n" + f.Text
}

// Unseal returns what [File.Sealed] was called on, and whether text is as it was
// made then.
func Unseal(text string) (body string, intact bool) {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		_, after, ok := strings.Cut(line, sealWord)
		if !ok {
			continue
		}
		first := i
		if strings.HasPrefix(line, "#") && i == 1 {
			first = 0
		}
		body = strings.Join(lines[:first], "") + strings.Join(lines[i+1:], "")
		sum := sha256.Sum256([]byte(body))
		return body, strings.HasPrefix(strings.TrimSpace(after), hex.EncodeToString(sum[:]))
	}
	return text, false
}
