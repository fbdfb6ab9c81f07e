package prompt

import (
	"image/color"

	"github.com/boombuler/barcode/qr"
)

// A QRCode is the modules of a QR code, dark or light, without a margin.
type QRCode struct {
	size int
	dark []bool // row by row
}

// NewQRCode encodes text at level L: a screen is not scratched, and a small code fits.
func NewQRCode(text Seed) (QRCode, error) {
	code, err := qr.Encode(text.Reveal(), qr.L, qr.Auto)
	if err != nil {
		return QRCode{}, err
	}
	bounds := code.Bounds()
	q := QRCode{size: bounds.Dx(), dark: make([]bool, 0, bounds.Dx()*bounds.Dy())}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			q.dark = append(q.dark, color.GrayModel.Convert(code.At(x, y)).(color.Gray).Y < 0x80)
		}
	}
	return q, nil
}

// QRMargin is the light frame that the standard (ISO/IEC 18004) wants around a code, in
// modules.
const QRMargin = 4

// Size is the width and the height in modules.
func (q QRCode) Size() int { return q.size }

// Dark reports whether a module is dark. Everything around the code is light.
func (q QRCode) Dark(x, y int) bool {
	return x >= 0 && y >= 0 && x < q.size && y < q.size && q.dark[y*q.size+x]
}
