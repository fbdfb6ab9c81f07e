// Package qrcode draws the QR code of a new secret, for windows and terminals.
package qrcode

import (
	"image/color"

	"github.com/boombuler/barcode/qr"

	"github.com/vault-stepup/stepup/cache/secret"
)

// A Code is the modules of a QR code, dark or light, without a margin.
type Code struct {
	size int
	dark []bool // row by row
}

// New encodes text at level L: a screen is not scratched, and a small code fits.
func New(text secret.Secret) (Code, error) {
	code, err := qr.Encode(text.Reveal(), qr.L, qr.Auto)
	if err != nil {
		return Code{}, err
	}
	bounds := code.Bounds()
	c := Code{size: bounds.Dx(), dark: make([]bool, 0, bounds.Dx()*bounds.Dy())}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			c.dark = append(c.dark, color.GrayModel.Convert(code.At(x, y)).(color.Gray).Y < 0x80)
		}
	}
	return c, nil
}

// Margin is the light frame that the standard (ISO/IEC 18004) wants around a code, in
// modules.
const Margin = 4

// Size is the width and the height in modules.
func (c Code) Size() int { return c.size }

// Dark reports whether a module is dark. Everything around the code is light.
func (c Code) Dark(x, y int) bool {
	return x >= 0 && y >= 0 && x < c.size && y < c.size && c.dark[y*c.size+x]
}

// HalfBlocks draws the code with a margin, two modules to a character: the ink is dark,
// the paper light.
func (c Code) HalfBlocks(margin int) []string {
	blocks := map[[2]bool]string{{true, true}: "█", {true, false}: "▀", {false, true}: "▄", {}: " "}
	var lines []string
	for y := -margin; y < c.size+margin; y += 2 {
		line := ""
		for x := -margin; x < c.size+margin; x++ {
			line += blocks[[2]bool{c.Dark(x, y), c.Dark(x, y+1)}]
		}
		lines = append(lines, line)
	}
	return lines
}
