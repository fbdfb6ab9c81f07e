package terminal

import (
	"strings"

	"github.com/vault-stepup/stepup/prompt"
)

// enrolment is the secret of r as this terminal can show it: as a QR code and as
// text, or as text alone where the screen has no room for a code, or not the
// characters and colours for it. The code comes last, right above the question: on
// a small screen the rest scrolls away, and is found by scrolling back.
func (t *Prompter) enrolment(tty TTY, r prompt.Request) string {
	code, margin := t.code(tty, r)
	heading := "scan the QR code with an authenticator, or type the secret into it"
	if margin == 0 {
		heading = "type this into an authenticator"
	}
	var b strings.Builder
	for _, line := range append([]string{heading}, r.Enrolment.Lines(prompt.GroupsPerLine)...) {
		b.WriteString("  " + line + "\n")
	}
	if margin > 0 {
		for _, line := range code.lines(margin) {
			b.WriteString("  " + line + "\n")
		}
	}
	return b.String()
}

// code returns the QR code of r with the widest margin that this screen has room for;
// margin 0 means that it has none.
func (t *Prompter) code(tty TTY, r prompt.Request) (code qrCode, margin int) {
	screen, ok := tty.(measuredTTY)
	if !ok || !t.draw {
		return qrCode{}, 0
	}
	modules, err := prompt.NewQRCode(r.Enrolment.URI())
	if err != nil {
		return qrCode{}, 0
	}
	code = qrCode{modules}
	columns, rows := screen.Size()
	if columns <= 0 {
		return qrCode{}, 0
	}
	// The question stands below, and must not push the code off the screen.
	rows -= (len(question(r, t.now())) + len(" 00000000") + columns) / columns
	// Readers are content with half the margin of the standard, which fits a terminal of
	// 24 lines for a secret as Vault makes it.
	for _, margin := range []int{prompt.QRMargin, prompt.QRMargin / 2} {
		if code.columns(margin)+len("  ") <= columns && code.rows(margin) <= rows {
			return code, margin
		}
	}
	return qrCode{}, 0
}

// Black on white, whatever the colours of the terminal are: in its own, half of
// all terminals would show the code inverted, which many readers do not take. The
// colours of the 256 are meant because themes change the first sixteen.
const (
	blackOnWhite = "\x1b[38;5;16;48;5;231m"
	plainAgain   = "\x1b[0m"
)

// A qrCode draws a QR code with half blocks, two modules to a character.
type qrCode struct{ modules prompt.QRCode }

func (q qrCode) lines(margin int) []string {
	var lines []string
	size := q.modules.Size()
	for y := -margin; y < size+margin; y += 2 {
		var b strings.Builder
		b.WriteString(blackOnWhite)
		for x := -margin; x < size+margin; x++ {
			switch upper, lower := q.modules.Dark(x, y), q.modules.Dark(x, y+1); {
			case upper && lower:
				b.WriteString("█")
			case upper:
				b.WriteString("▀")
			case lower:
				b.WriteString("▄")
			default:
				b.WriteString(" ")
			}
		}
		b.WriteString(plainAgain)
		lines = append(lines, b.String())
	}
	return lines
}

// columns and rows are the room that lines take on a terminal.
func (q qrCode) columns(margin int) int { return q.modules.Size() + 2*margin }
func (q qrCode) rows(margin int) int    { return (q.modules.Size() + 2*margin + 1) / 2 }
