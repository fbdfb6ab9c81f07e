package prompt_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"github.com/pquerna/otp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// readQR is what the QR code in a picture says, "" where there is none.
func readQR(t testing.TB, picture image.Image) string {
	t.Helper()
	bitmap, err := gozxing.NewBinaryBitmapFromImage(picture)
	if err != nil {
		t.Fatal(err)
	}
	found, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true})
	if err != nil {
		return ""
	}
	return found.GetText()
}

func readPNG(t testing.TB, raw []byte) string {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return readQR(t, picture)
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
			text := readPNG(t, prompt.Picture(r))
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

func TestSeedPrintsNothing(t *testing.T) {
	t.Parallel()
	r := prompttest.EnrolmentRequest()
	encoded, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("m", "seed", r.Enrolment.Secret, "enrolment", r.Enrolment, "request", r)
	for _, text := range []string{
		fmt.Sprint(r), fmt.Sprintf("%+v %#v %v", r, r, &r), fmt.Sprintf("%v %+v %s", r.Enrolment, *r.Enrolment, r.Enrolment),
		fmt.Sprintf("%x %q %s", r.Enrolment.Secret, r.Enrolment.Secret, r.Enrolment.Secret), string(encoded), logged.String(),
	} {
		if strings.Contains(strings.ToUpper(text), "JBSW") || strings.Contains(text, fmt.Sprintf("%x", "JBSW")) {
			t.Errorf("it is printed: %s", text)
		}
	}
}

// The secret goes to prompters and to those who attach. Whoever only looks does
// not see it.
func TestEnrolmentIsNotListed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := waiting()
		b := broker(t, prompt.BrokerConfig{Timeout: time.Minute}, s)
		watching, attached := b.Watch(t.Context(), false), b.Watch(t.Context(), true)
		r := prompttest.EnrolmentRequest()
		r.Deadline = time.Now().Add(4 * time.Minute)
		answered := ask(t.Context(), b, r)
		synctest.Wait()
		late := b.Watch(t.Context(), false)
		if e := (<-watching).Request.Enrolment; e != nil {
			t.Errorf("who watches gets %#v", *e)
		}
		if e := (<-late).Request.Enrolment; e != nil {
			t.Errorf("who watches later gets %#v", *e)
		}
		if e := (<-attached).Request.Enrolment; e == nil || e.Secret != prompttest.Seed {
			t.Errorf("who attaches gets %#v", e)
		}
		if e := s.Requests()[0].Enrolment; e == nil || e.Secret != prompttest.Seed {
			t.Errorf("a prompter gets %#v", e)
		}
		pending := b.Pending()[0]
		if pending.Enrolment != nil || !pending.Deadline.Equal(r.Deadline) {
			t.Errorf("the list has %#v, until %s", pending.Enrolment, pending.Deadline)
		}
		time.Sleep(3 * time.Minute)
		if err := b.Answer(pending.ID, "123456"); err != nil {
			t.Error(err)
		}
		want(t, <-answered, "123456", nil)
		if e := <-attached; e.Type != prompt.EventAnswered || e.Request.Enrolment != nil {
			t.Errorf("the end is %s with %#v", e.Type, e.Request.Enrolment)
		}
	})
}

func TestEnrolmentIsNotForPrograms(t *testing.T) {
	t.Parallel()
	c := prompt.NewCommand(prompt.CommandConfig{Args: []string{"/does/not/exist"}})
	if _, err := c.Prompt(t.Context(), prompttest.EnrolmentRequest()); !errors.Is(err, prompt.ErrUnavailable) || !strings.Contains(err.Error(), "does not show") {
		t.Errorf("a prompt command: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		card, told := sendOne(t, prompttest.EnrolmentRequest())
		text := card.title + "\n" + card.body
		if !told || !strings.Contains(text, "a new secret for corp_totp") || !strings.Contains(text, "stepup attach") || strings.Contains(text, "JBSW") {
			t.Errorf("a notification, told %v: %s", told, text)
		}
	})
}

// lineOf is a person who types one line.
func lineOf(text string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return text, nil }
}

var pngData = regexp.MustCompile(`[A-Za-z0-9+/]{200,}=*`)

// TestEnrolmentInvocations: what the programs are told is the secret as picture and
// as text, and no argument of theirs has it.
func TestEnrolmentInvocations(t *testing.T) {
	t.Parallel()
	r, now := ofScript(prompt.Passcode)
	r.Enrolment, r.Attempt = prompttest.EnrolmentRequest().Enrolment, 1
	for name, v := range map[string]prompt.Invocation{
		"macos-enrolment.js":     prompt.MacPictureInvocation(r, now),
		"windows-enrolment.json": prompt.WindowsInvocation(r, now),
		"kdialog-enrolment.html": prompt.KdialogPictureInvocation(r, now),
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
	if v := prompt.MacInvocation(r, now); !strings.Contains(v.Input, "JBSW Y3DP EHPK 3PXP") {
		t.Errorf("the dialog without a picture has no text: %s", v.Input)
	}
}

// The law: whatever names Vault sends, the code holds this secret and no other
// parameter of theirs, and a terminal gets nothing but plain text and the code.
func FuzzEnrolment(f *testing.F) {
	f.Add("Vault", "0d6c2f0e", prompttest.Seed)
	f.Add("a&secret=B", "\x1b[2J?secret=AAAA", "jbsw\n\x1b]0;x\a")
	f.Add(prompttest.Hostile()[:100], "", "")
	f.Add(" ", "a:b", "")
	f.Fuzz(func(t *testing.T, issuer, account, secret string) {
		e := &prompt.Enrolment{Secret: prompt.Seed(secret), Issuer: issuer, Account: account, Algorithm: issuer, Digits: 6, Period: 30}
		key, err := otp.NewKeyFromURL(prompt.OTPAuth(e))
		if err != nil {
			t.Fatalf("%q: %v", prompt.OTPAuth(e), err)
		}
		clean := strings.Map(func(c rune) rune {
			if strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", c) {
				return c
			}
			return -1
		}, secret)
		if got := key.Secret(); got != clean[:min(len(clean), 128)] || key.Issuer() != strings.ReplaceAll(prompt.Sanitize(issuer, 64), ":", "-") {
			t.Errorf("secret %q, issuer %q in %q", got, key.Issuer(), prompt.OTPAuth(e))
		}
		r := prompttest.Request(prompt.Passcode)
		r.Enrolment = e
		tty := &fakeTTY{line: lineOf("123456")}
		if _, err := tty.terminal().Prompt(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		text := tty.text.String()
		if i := strings.IndexFunc(text, func(c rune) bool { return c != '\n' && (c < ' ' || c > '~') }); i >= 0 {
			t.Errorf("%q reaches the screen", text[i:])
		}
		if lines := strings.Count(text, "\n"); lines > 16 {
			t.Errorf("%d lines: a stranger can add lines\n%s", lines, text)
		}
	})
}
