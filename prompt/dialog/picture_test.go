package dialog

import (
	"bytes"
	"encoding/base64"
	"image/png"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp"

	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
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
			e.Algorithm, e.Digits, e.Period, e.Secret = "SHA512", 8, 60, secret.Secret(strings.Repeat("ABCDEFG2", 16))
		},
		"names with marks": func(e *prompt.Enrolment) { e.Issuer, e.Account = "Corp / Vault (EU)", "alice+ops@corp, 1" },
		"no issuer":        func(e *prompt.Enrolment) { e.Issuer = "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := prompttest.EnrolmentRequest()
			change(r.Enrolment)
			text := readPNG(t, newDialogText(r, time.Now()).picture())
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
	text := scriptText(prompt.Passcode)
	text.request.Enrolment, text.request.Attempt = prompttest.EnrolmentRequest().Enrolment, 1
	for name, v := range map[string]invocation{
		"macos-enrolment.js":     macInvocation(macPictureScript)(text),
		"windows-enrolment.json": windowsInvocation(text),
		"kdialog-enrolment.html": kdialogPicture(text),
	} {
		if strings.Contains(strings.Join(v.args, " "), "JBSW") {
			t.Errorf("%s: every user can read the secret in %q", name, v.args)
		}
		raw, err := base64.StdEncoding.DecodeString(pngData.FindString(v.input))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := readPNG(t, raw); got != prompttest.OTPAuth {
			t.Errorf("%s: the picture says %q", name, got)
		}
		golden(t, name, pngData.ReplaceAllString(v.input, "PICTURE"))
	}
	if v := macInvocation(macScript)(text); !strings.Contains(v.input, "JBSW Y3DP EHPK 3PXP") {
		t.Errorf("the dialog without a picture has no text: %s", v.input)
	}
}

// TestZenityTextPicture: zenity 4 gets the code and the words as text, and no argument of it
// has the secret.
func TestZenityTextPicture(t *testing.T) {
	t.Parallel()
	text := scriptText(prompt.Passcode)
	text.request.Enrolment, text.request.Attempt = prompttest.EnrolmentRequest().Enrolment, 1
	v := zenityTextPicture(text)
	if said := strings.Join(append(v.args, v.env...), " "); strings.Contains(said, "JBSW") {
		t.Errorf("every user can read the secret in %q", said)
	}
	if v.file != nil {
		t.Error("there is a file with the secret")
	}
	golden(t, "zenity4-enrolment.txt", v.input)
}
