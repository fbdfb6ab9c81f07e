package dialog_test

import (
	"bytes"
	"encoding/base64"
	"image/png"
	"regexp"
	"strings"
	"testing"

	"github.com/pquerna/otp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/dialog"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

func readPNG(t testing.TB, raw []byte) string {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return prompttest.ReadQR(t, picture)
}

// What an authenticator reads in the code is what Vault said.
func TestEnrolmentPicture(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*prompt.Enrolment){
		"as Vault makes it": func(*prompt.Enrolment) {},
		"nothing is default": func(e *prompt.Enrolment) {
			e.Algorithm, e.Digits, e.Period, e.Secret = "SHA512", 8, 60, prompt.Seed(strings.Repeat("ABCDEFG2", 16))
		},
		"names with marks": func(e *prompt.Enrolment) { e.Issuer, e.Account = "Corp / Vault (EU)", "alice+ops@corp, 1" },
		"no issuer":        func(e *prompt.Enrolment) { e.Issuer = "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := prompttest.EnrolmentRequest()
			change(r.Enrolment)
			text := readPNG(t, dialog.Picture(r))
			key, err := otp.NewKeyFromURL(text)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			e := r.Enrolment
			if key.Type() != "totp" || key.Secret() != e.Secret.Reveal() || key.Issuer() != e.Issuer || key.AccountName() != e.Account ||
				key.Digits().Length() != e.Digits || key.Period() != uint64(e.Period) || key.Algorithm().String() != e.Algorithm {
				t.Errorf("%q is not %#v", text, *e)
			}
		})
	}
}

var pngData = regexp.MustCompile(`[A-Za-z0-9+/]{200,}=*`)

// TestEnrolmentInvocations: what the programs are told is the secret as picture and
// as text, and no argument of theirs has it.
func TestEnrolmentInvocations(t *testing.T) {
	t.Parallel()
	r, now := ofScript(prompt.Passcode)
	r.Enrolment, r.Attempt = prompttest.EnrolmentRequest().Enrolment, 1
	for name, v := range map[string]dialog.Invocation{
		"macos-enrolment.js":     dialog.MacPictureInvocation(r, now),
		"windows-enrolment.json": dialog.WindowsInvocation(r, now),
		"kdialog-enrolment.html": dialog.KdialogPictureInvocation(r, now),
	} {
		if strings.Contains(strings.Join(v.Args, " "), "JBSW") {
			t.Errorf("%s: every user can read the secret in %q", name, v.Args)
		}
		raw, err := base64.StdEncoding.DecodeString(pngData.FindString(v.Input))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := readPNG(t, raw); got != prompttest.OTPAuth {
			t.Errorf("%s: the picture says %q", name, got)
		}
		fixture(t, name, pngData.ReplaceAllString(v.Input, "PICTURE"))
	}
	if v := dialog.MacInvocation(r, now); !strings.Contains(v.Input, "JBSW Y3DP EHPK 3PXP") {
		t.Errorf("the dialog without a picture has no text: %s", v.Input)
	}
}
