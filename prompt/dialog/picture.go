package dialog

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/png"

	"github.com/vault-stepup/stepup/prompt/qrcode"
)

// The windows that show a new secret. It reaches the programs through standard
// input or an open file, never as an argument, which every user can read.

// withPicture puts a window with the secret of an enrolment before the one that
// asks for its first code: no dialog program has a field below a picture. Where
// only the code is asked for again, the picture is not shown again.
func withPicture(picture, ask program) program {
	return program{name: ask.name, ask: func(ctx context.Context, j job) (string, error) {
		if j.text.request.Enrolment != nil && !j.text.again {
			if _, err := picture.ask(ctx, j); err != nil {
				return "", err
			}
		}
		return ask.ask(ctx, j)
	}}
}

// picture returns the QR code as PNG; nil where there is none to show.
func (t dialogText) picture() []byte {
	if t.request.Enrolment == nil {
		return nil
	}
	code, err := qrcode.New(t.request.Enrolment.URI())
	if err != nil {
		return nil
	}
	picture, err := encodePNG(code)
	if err != nil {
		return nil
	}
	return picture
}

// encodePNG draws a QR code with its margin. A code of the usual size is three hundred
// pixels wide.
func encodePNG(code qrcode.Code) ([]byte, error) {
	const pixels = 6 // of a module
	width := (code.Size() + 2*qrcode.Margin) * pixels
	picture := image.NewPaletted(image.Rect(0, 0, width, width), color.Palette{color.White, color.Black})
	for y := range width {
		for x := range width {
			if code.Dark(x/pixels-qrcode.Margin, y/pixels-qrcode.Margin) {
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
