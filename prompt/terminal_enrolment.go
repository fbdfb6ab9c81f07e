package prompt

import "strings"

// enrolment is the secret of r as this terminal can show it: as a QR code and as
// text, or as text alone where the screen has no room for a code, or not the
// characters and colours for it. The code comes last, right above the question: on
// a small screen the rest scrolls away, and is found by scrolling back.
func (t *Terminal) enrolment(tty Tty, r Request) string {
	code, margin := t.code(tty, r)
	heading := scanWords
	if margin == 0 {
		heading = typeWords
	}
	var b strings.Builder
	for _, line := range append([]string{heading}, seedWords(r, groupsPerLine)...) {
		b.WriteString("  " + line + "\n")
	}
	if margin > 0 {
		for _, line := range code.lines(margin) {
			b.WriteString("  " + line + "\n")
		}
	}
	return b.String()
}

// groupsPerLine makes lines of a secret that fit every terminal.
const groupsPerLine = 8

// code is the QR code of r with the widest margin that this screen has room for;
// 0 means that it has none.
func (t *Terminal) code(tty Tty, r Request) (code qrCode, margin int) {
	screen, ok := tty.(measuredTty)
	if !ok || !t.draw {
		return qrCode{}, 0
	}
	code, err := newQR(r.Enrolment.otpauth())
	if err != nil {
		return qrCode{}, 0
	}
	columns, rows := screen.Size()
	if columns <= 0 {
		return qrCode{}, 0
	}
	// The question stands below, and must not push the code off the screen.
	rows -= (len(Question(r, t.now())) + len(" 00000000") + columns) / columns
	for _, margin := range []int{fullMargin, smallMargin} {
		if code.columns(margin)+len("  ") <= columns && code.rows(margin) <= rows {
			return code, margin
		}
	}
	return qrCode{}, 0
}
