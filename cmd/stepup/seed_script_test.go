//go:build unix

package main

import (
	"bytes"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"github.com/rogpeppe/go-internal/testscript"
)

// seed: sets $SEED, and writes to seed.txt, the otpauth:// URL that Vault gives
// alice for corp_totp.
func seed(ts *testscript.TestScript, _ bool, _ []string) {
	url, _, err := fixtureOf(ts).vault.EnrolTOTP("corp_totp", "alice")
	ts.Check(err)
	ts.Setenv("SEED", url)
	ts.Check(os.WriteFile(ts.MkAbs("seed.txt"), []byte(url+"\n"), 0o600))
}

// picture FILE TEXT: writes the QR code of TEXT, as PNG or JPEG.
func picture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: picture FILE TEXT")
	}
	code, err := qrcode.NewQRCodeWriter().Encode(args[1], gozxing.BarcodeFormat_QR_CODE, 240, 240, nil)
	ts.Check(err)
	var out bytes.Buffer
	if filepath.Ext(args[0]) == ".jpg" {
		ts.Check(jpeg.Encode(&out, code, nil))
	} else {
		ts.Check(png.Encode(&out, code))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out.Bytes(), 0o600))
}
