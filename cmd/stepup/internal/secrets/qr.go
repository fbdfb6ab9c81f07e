package secrets

import (
	"bytes"
	"errors"
	"image"
	_ "image/jpeg" // a photograph
	_ "image/png"  // a screenshot
	"io"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"github.com/vault-stepup/stepup/cache/secret"
)

// Limits of a picture. What is decoded needs four bytes a pixel or more, and a
// small file can claim to be a large picture.
const (
	maxImageBytes  = 32 << 20
	maxImagePixels = 50 << 20
)

// readQR returns what the QR code in a PNG or JPEG picture says. Errors quote
// nothing of it.
func readQR(r io.Reader) (secret.Secret, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxImageBytes+1))
	if err != nil {
		return "", err
	}
	size, _, err := image.DecodeConfig(bytes.NewReader(raw))
	if err != nil {
		return "", err
	}
	if len(raw) > maxImageBytes || size.Width <= 0 || size.Height <= 0 || size.Width > maxImagePixels/size.Height {
		return "", errors.New("the picture is too large")
	}
	picture, _, err := image.Decode(bytes.NewReader(raw))
	if err != nil {
		return "", err
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(picture)
	if err != nil {
		return "", errImageUnreadable
	}
	hints := map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true}
	found, err := qrcode.NewQRCodeReader().Decode(bitmap, hints)
	if err != nil {
		return "", errImageUnreadable
	}
	return secret.Secret(found.GetText()), nil
}

var errImageUnreadable = errors.New("there is none, or it is not sharp enough")
