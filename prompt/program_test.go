package prompt_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/vault-stepup/stepup/prompt"
)

// FuzzLineWriter: however a text comes in pieces, the last line that is told is the last one
// of the text that is not blank.
func FuzzLineWriter(f *testing.F) {
	f.Add("Touch your key...\n", uint8(3))
	f.Add("a\r\n\r\n  PIN: ", uint8(1))
	f.Add(strings.Repeat("x", 2000)+"\ny", uint8(200))
	f.Add("a\n\u00a0", uint8(0)) // half of a blank is no text
	f.Add(strings.Repeat("x", 511)+"\u00e9", uint8(200))
	f.Fuzz(func(t *testing.T, text string, piece uint8) {
		got, want := "", ""
		w := &prompt.LineWriter{Said: func(line string) { got = line }}
		for rest := text; rest != ""; {
			n := min(len(rest), int(piece)+1)
			if wrote, err := w.Write([]byte(rest[:n])); wrote != n || err != nil {
				t.Fatalf("Write = %d, %v", wrote, err)
			}
			rest = rest[n:]
		}
		for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\r' || r == '\n' }) {
			cut := strings.ToValidUTF8(line[:min(len(line), 512)], "")
			if line = strings.TrimSpace(cut); line != "" {
				want = line
			}
		}
		if got != want && utf8.ValidString(text) {
			t.Errorf("%q in pieces of %d: told %q, want %q", text, piece+1, got, want)
		}
	})
}
