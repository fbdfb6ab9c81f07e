//go:build unix

package terminal_test

import (
	"image"
	"image/color"
	"image/draw"
	"regexp"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/vault-stepup/stepup/prompt/prompttest"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// photograph is the QR code of a terminal in front of a background, as a camera
// sees it; nil where none is on the screen.
func photograph(screen string, background color.Color) image.Image {
	const white, plain, cell = "\x1b[38;5;16;48;5;231m", "\x1b[0m", 8
	var rows [][]rune
	for line := range strings.Lines(strings.ReplaceAll(screen, "\r", "")) {
		if _, code, ok := strings.Cut(line, white); ok {
			code, _, _ = strings.Cut(code, plain)
			rows = append(rows, []rune(code))
		}
	}
	if rows == nil {
		return nil
	}
	width, height := len(rows[0])*cell, len(rows)*2*cell
	picture := image.NewRGBA(image.Rect(-100, -100, width+100, height+100))
	draw.Draw(picture, picture.Bounds(), image.NewUniform(background), image.Point{}, draw.Src)
	draw.Draw(picture, image.Rect(0, 0, width, height), image.White, image.Point{}, draw.Src)
	for y, row := range rows {
		for x, block := range row {
			for half, on := range []bool{block == '█' || block == '▀', block == '█' || block == '▄'} {
				if on {
					at := image.Pt(x*cell, (2*y+half)*cell)
					draw.Draw(picture, image.Rectangle{at, at.Add(image.Pt(cell, cell))}, image.Black, image.Point{}, draw.Src)
				}
			}
		}
	}
	return picture
}

// TestTerminalEnrolment: the code can be scanned where the terminal has room and
// characters for it, on a light screen and on a dark one; the secret can be typed
// everywhere.
func TestTerminalEnrolment(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	f := newFixture(t)
	usual := map[string]string{"TERM": "xterm-256color", "LANG": "en_GB.UTF-8"}
	for _, c := range []struct {
		name          string
		columns, rows uint16
		env           map[string]string
		drawn         bool
	}{
		{"large", 120, 50, usual, true},
		{"usual", 80, 24, usual, true},
		{"without colours", 80, 24, map[string]string{"TERM": "xterm", "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}, true},
		{"narrow", 46, 50, usual, false},
		{"low", 80, 23, usual, false},
		{"no size", 0, 0, usual, false},
		{"no half blocks", 80, 24, map[string]string{"TERM": "xterm", "LANG": "en_GB.ISO-8859-1"}, false},
		{"no characters known", 80, 24, map[string]string{"TERM": "xterm"}, false},
		{"no colours", 80, 24, map[string]string{"TERM": "dumb", "LANG": "C.UTF-8"}, false},
	} {
		if err := pty.Setsize(f.ptmx, &pty.Winsize{Rows: c.rows, Cols: c.columns}); err != nil {
			t.Fatal(err)
		}
		p := terminal.New(terminal.Config{Getenv: func(name string) string { return c.env[name] }})
		answer := f.prompt(t.Context(), p, prompttest.EnrolmentRequest())
		screen := f.expect(asks)
		f.typing("123456\r")
		f.want(<-answer, "123456", nil)
		f.expect("the secret is still on it")
		if !strings.Contains(screen, "JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP") || !strings.Contains(screen, "Account: Vault: 0d6c2f0e-8a3c-4f7e-9d1b-2f6a1c3b5d7e") {
			t.Errorf("%s: nothing to type:\n%s", c.name, screen)
		}
		for _, background := range []color.Color{color.Black, color.White} {
			picture := photograph(screen, background)
			if !c.drawn {
				if picture != nil {
					t.Errorf("%s: a code is drawn:\n%s", c.name, screen)
				}
				continue
			}
			if picture == nil {
				t.Errorf("%s: no code is drawn:\n%s", c.name, screen)
			} else if got := prompttest.ReadQR(t, picture); got != prompttest.OTPAuth {
				t.Errorf("%s: a camera reads %q (background %v)", c.name, got, background)
			}
		}
		// The code and the question are on the screen together.
		if _, below, ok := strings.Cut(screen, "\x1b[38;5;16"); ok {
			lines := strings.Split(below, "\n")
			question := len(regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(lines[len(lines)-1], "")) + len("123456")
			if rows := len(lines) - 1 + (question+int(c.columns)-1)/int(c.columns); rows > int(c.rows) {
				t.Errorf("%s: %d rows", c.name, rows)
			}
		}
	}
}
