package prompt

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"strings"

	"github.com/boombuler/barcode/qr"
)

// A qrCode is the modules of a QR code, dark or light, without a margin.
type qrCode struct {
	size int
	dark []bool // row by row
}

// Margins in modules. The standard (ISO/IEC 18004) wants four; readers are content
// with two, which fits a terminal of 24 lines for a secret as Vault makes it.
const (
	fullMargin  = 4
	smallMargin = 2
)

// newQR draws text. Level L: a screen is not scratched, and a small code fits.
func newQR(text Seed) (qrCode, error) {
	code, err := qr.Encode(text.Reveal(), qr.L, qr.Auto)
	if err != nil {
		return qrCode{}, err
	}
	bounds := code.Bounds()
	q := qrCode{size: bounds.Dx(), dark: make([]bool, 0, bounds.Dx()*bounds.Dy())}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			q.dark = append(q.dark, color.GrayModel.Convert(code.At(x, y)).(color.Gray).Y < 0x80)
		}
	}
	return q, nil
}

// at reports whether a module is dark. Everything around the code is light.
func (q qrCode) at(x, y int) bool {
	return x >= 0 && y >= 0 && x < q.size && y < q.size && q.dark[y*q.size+x]
}

// Black on white, whatever the colours of the terminal are: in its own, half of
// all terminals would show the code inverted, which many readers do not take. The
// colours of the 256 are meant because themes change the first sixteen.
const (
	blackOnWhite = "\x1b[38;5;16;48;5;231m"
	plainAgain   = "\x1b[0m"
)

// lines draws the code with half blocks, two modules to a character.
func (q qrCode) lines(margin int) []string {
	var lines []string
	for y := -margin; y < q.size+margin; y += 2 {
		var b strings.Builder
		b.WriteString(blackOnWhite)
		for x := -margin; x < q.size+margin; x++ {
			switch upper, lower := q.at(x, y), q.at(x, y+1); {
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

// columns and rows are what lines takes on a terminal.
func (q qrCode) columns(margin int) int { return q.size + 2*margin }
func (q qrCode) rows(margin int) int    { return (q.size + 2*margin + 1) / 2 }

// pixels is the width of a module in a picture: a code of the usual size has
// three hundred of them.
const pixels = 6

// png draws the code as a picture.
func (q qrCode) png() ([]byte, error) {
	width := q.columns(fullMargin) * pixels
	picture := image.NewPaletted(image.Rect(0, 0, width, width), color.Palette{color.White, color.Black})
	for y := range width {
		for x := range width {
			if q.at(x/pixels-fullMargin, y/pixels-fullMargin) {
				picture.SetColorIndex(x, y, 1)
			}
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
