package terminal

import (
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/qrcode"
)

// enrolment is the secret of r as this terminal can show it: as a QR code and as
// text, or as text alone where the screen has no room for a code, or not the
// characters and colours for it. The code comes last, right above the question: on
// a small screen the rest scrolls away, and is found by scrolling back.
// It is "" for other questions.
func (t *Prompter) enrolment(tty TTY, r prompt.Request) string {
	if r.Enrolment == nil {
		return ""
	}
	code := t.code(tty, r)
	heading := prompt.ScanSecret + ", or type the secret into it"
	if code == nil {
		heading = prompt.TypeSecret
	}
	var b strings.Builder
	for _, line := range slices.Concat([]string{heading}, r.Enrolment.Lines(prompt.GroupsPerLine), code) {
		b.WriteString("  " + line + "\n")
	}
	return b.String()
}

// code draws the QR code of r with the widest margin that this screen has room for; nil
// where it has none.
func (t *Prompter) code(tty TTY, r prompt.Request) []string {
	screen, ok := tty.(measuredTTY)
	if !ok || !t.draw {
		return nil
	}
	code, err := qrcode.New(r.Enrolment.URI())
	columns, rows := screen.Size()
	if err != nil || columns <= 0 {
		return nil
	}
	// The question stands below, and must not push the code off the screen.
	rows -= strings.Count(t.style.on(tty).question(question(r, t.now())), "\n") + 1
	// Readers are content with half the margin of the standard, which fits a terminal of
	// 24 lines for a secret as Vault makes it.
	for _, margin := range []int{qrcode.Margin, qrcode.Margin / 2} {
		width := code.Size() + 2*margin
		if width+len("  ") <= columns && (width+1)/2 <= rows {
			return drawQR(code, margin)
		}
	}
	return nil
}

// Black on white, whatever the colours of the terminal are: in its own, half of
// all terminals would show the code inverted, which many readers do not take. The
// colours of the 256 are meant because themes change the first sixteen.
const (
	blackOnWhite = "\x1b[38;5;16;48;5;231m"
	plainAgain   = "\x1b[0m"
)

// drawQR draws a QR code in the colours that readers take.
func drawQR(code qrcode.Code, margin int) []string {
	lines := code.HalfBlocks(margin)
	for i, line := range lines {
		lines[i] = blackOnWhite + line + plainAgain
	}
	return lines
}
