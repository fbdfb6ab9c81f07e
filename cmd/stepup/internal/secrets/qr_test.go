//go:build unix

package secrets

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// drawQR is a picture of text with something around it, as in a screenshot.
func drawQR(text string) (image.Image, error) {
	code, err := qrcode.NewQRCodeWriter().Encode(text, gozxing.BarcodeFormat_QR_CODE, 240, 240, nil)
	if err != nil {
		return nil, err
	}
	page := image.NewRGBA(image.Rect(0, 0, 500, 400))
	draw.Draw(page, page.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.Draw(page, image.Rect(10, 10, 490, 60), image.NewUniform(color.RGBA{0, 90, 200, 255}), image.Point{}, draw.Src)
	draw.Draw(page, code.Bounds().Add(image.Pt(120, 100)), code, image.Point{}, draw.Src)
	return page, nil
}

func TestReadQR(t *testing.T) {
	t.Parallel()
	const want = "otpauth://totp/Vault:0d6c2f0e-8a3c?algorithm=SHA1&digits=6&issuer=Vault&period=30&secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	page, err := drawQR(want)
	if err != nil {
		t.Fatal(err)
	}
	var asPNG, asJPEG bytes.Buffer
	if err := png.Encode(&asPNG, page); err != nil {
		t.Fatal(err)
	}
	if err := jpeg.Encode(&asJPEG, page, &jpeg.Options{Quality: 50}); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{"png": asPNG.Bytes(), "jpeg": asJPEG.Bytes()} {
		if got, err := readQR(bytes.NewReader(raw)); err != nil || got != want {
			t.Errorf("%s: %q, error %v", name, got.Reveal(), err)
		}
	}

	var blank, wide bytes.Buffer
	if err := png.Encode(&blank, image.NewGray(image.Rect(0, 0, 100, 100))); err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(&wide, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		t.Fatal(err)
	}
	huge := bytes.Clone(wide.Bytes())
	copy(huge[16:24], []byte{0, 1, 0, 0, 0, 1, 0, 0}) // 65,536 by 65,536, says the header
	for name, raw := range map[string][]byte{
		"nothing": nil, "no picture": []byte("otpauth://totp/x"), "no code": blank.Bytes(),
		"cut short": asPNG.Bytes()[:asPNG.Len()/2], "one that claims to be huge": huge,
	} {
		if got, err := readQR(bytes.NewReader(raw)); err == nil || got != "" {
			t.Errorf("%s: no error", name)
		}
	}
}

// A picture comes from anywhere: whatever it is, the answer is a text or an error.
func FuzzReadQR(f *testing.F) {
	code, err := qrcode.NewQRCodeWriter().Encode("otpauth://totp/x?secret=JBSWY3DPEHPK3PXP", gozxing.BarcodeFormat_QR_CODE, 50, 50, nil)
	if err != nil {
		f.Fatal(err)
	}
	var out bytes.Buffer
	if err := png.Encode(&out, code); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Add([]byte("\xff\xd8\xff"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if size, _, err := image.DecodeConfig(bytes.NewReader(raw)); err == nil && size.Width*size.Height > 1<<13 {
			return // right, and slow
		}
		got, err := readQR(bytes.NewReader(raw))
		if err != nil && got != "" {
			t.Fatal("a text comes with an error")
		}
		if err != nil && strings.Contains(err.Error(), "JBSWY3DPEHPK3PXP") {
			t.Fatal("the error quotes the code")
		}
	})
}
