package keyring

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/cache/secret"
)

// The seeds of RFC 6238, appendix B.
const (
	rfcSHA1   = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
	rfcSHA256 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA"
	rfcSHA512 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNA"
)

func TestSeedCodes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		url  string
		unix int64
		code string
		left time.Duration
	}{
		{"otpauth://totp/x?digits=8&secret=" + rfcSHA1, 59, "94287082", time.Second},
		{"otpauth://totp/x?digits=8&algorithm=SHA256&secret=" + rfcSHA256, 59, "46119246", time.Second},
		{"otpauth://totp/x?digits=8&algorithm=SHA512&secret=" + rfcSHA512, 59, "90693936", time.Second},
		{"otpauth://totp/x?digits=8&algorithm=sha1&period=30&secret=" + rfcSHA1, 1111111109, "07081804", time.Second},
		{"otpauth://totp/x?secret=" + rfcSHA1, 1111111109, "081804", time.Second},
		{"OTPAUTH://TOTP/Vault:x?issuer=Vault&secret=" + strings.ToLower(rfcSHA1) + "%3D%3D", 1111111110, "050471", 30 * time.Second},
		{" otpauth://totp/?secret=GEZD+GNBV+GY3T+QOJQ+GEZD+GNBV+GY3T+QOJQ\n", 60, "359152", 30 * time.Second},
		{"otpauth://totp/x?period=60&digits=8&secret=" + rfcSHA1, 119, "94287082", time.Second},
	} {
		s, err := parseSeed(secret.Secret(test.url))
		if err != nil {
			t.Errorf("%s: %v", test.url, err)
			continue
		}
		code, left, err := s.code(time.Unix(test.unix, 0))
		if err != nil || code != secret.Secret(test.code) || left != test.left {
			t.Errorf("%s at %d: %q for %v, error %v, want %q for %v", test.url, test.unix, code.Reveal(), left, err, test.code, test.left)
		}
	}
}

func TestSeedCodeEnds(t *testing.T) {
	t.Parallel()
	s, err := parseSeed("otpauth://totp/x?secret=" + rfcSHA1)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1111111109, 250_000_000)
	code, left, _ := s.code(at)
	if left != 750*time.Millisecond {
		t.Errorf("it is current for %v", left)
	}
	if last, _, _ := s.code(at.Add(left - 1)); last != code {
		t.Error("it ends too early")
	}
	if next, _, _ := s.code(at.Add(left)); next == code {
		t.Error("it does not end")
	}
}

func TestSeedsThatAreRefused(t *testing.T) {
	t.Parallel()
	const key = "JBSWY3DPEHPK3PXP"
	for _, text := range []string{
		"", key, "https://totp/x?secret=" + key, "otpauth://hotp/x?counter=1&secret=" + key,
		"otpauth-migration://offline?data=" + key, "otpauth://totp/x", "otpauth://totp/x?secret=",
		"otpauth://totp/x?secret=" + key + "&algorithm=MD5", "otpauth://totp/x?secret=" + key + "&algorithm=SHA-1",
		"otpauth://totp/x?secret=" + key + "&digits=7", "otpauth://totp/x?secret=" + key + "&digits=06",
		"otpauth://totp/x?secret=" + key + "&period=0", "otpauth://totp/x?secret=" + key + "&period=-30",
		"otpauth://totp/x?secret=" + key + "&period=3601", "otpauth://totp/x?secret=" + key + "&period=30s",
		"otpauth://totp/x?secret=" + key + "1", "otpauth://totp/x?secret=" + key + "&a=%zz", "otpauth://totp/%zz?secret=" + key,
		"otpauth://totp/\x7f?secret=" + key, "otpauth://totp/x?secret=" + key + "&x=" + strings.Repeat("x", 1200),
	} {
		_, err := parseSeed(secret.Secret(text))
		if !errors.Is(err, ErrSeed) {
			t.Errorf("%q: error %v", text, err)
			continue
		}
		if strings.Contains(err.Error(), key) {
			t.Errorf("the error repeats the seed: %v", err)
		}
	}
}

// Whatever is taken for a seed gives codes of its length, and neither a seed nor
// an error shows it.
func FuzzSeed(f *testing.F) {
	f.Add("otpauth://totp/x?digits=8&algorithm=SHA512&period=60&secret="+rfcSHA512, int64(59))
	f.Add("otpauth://totp/x?secret=A", int64(0))
	f.Add("otpauth://totp/%zz?secret=;", int64(1))
	f.Add("otpauth://hotp/x?secret=otpauth://totp/", int64(1))
	f.Add("otpauth://totp/x?algorithm=SHA256&secret=SHA256", int64(1))
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		s, err := parseSeed(secret.Secret(text))
		if err != nil {
			said := strings.ReplaceAll(err.Error(), "otpauth://totp/", "") // which may be a seed as well
			if u, _ := url.Parse(text); u != nil && len(u.Query().Get("secret")) > 12 && strings.Contains(said, u.Query().Get("secret")) {
				t.Fatal("the error repeats the seed")
			}
			return
		}
		if shown := fmt.Sprintf("%v %+v", s, s); len(s.Secret) > len("SHA256") && strings.Contains(shown, s.Secret.Reveal()) {
			t.Fatal("the seed is printed")
		}
		now := time.Unix(unix&(1<<40-1), 0)
		code, left, err := s.code(now)
		if err != nil || len(code) != s.opts.Digits.Length() || strings.Trim(code.Reveal(), "0123456789") != "" {
			t.Fatalf("code %q, error %v", code.Reveal(), err)
		}
		if length := time.Duration(s.opts.Period) * time.Second; left <= 0 || left > length {
			t.Fatalf("current for %v of %v", left, length)
		}
		if again, _, _ := s.code(now.Add(left - 1)); again != code {
			t.Fatal("it changes before its end")
		}
	})
}

// A bare secret gives the codes of the URL with it.
func FuzzBareSeed(f *testing.F) {
	for _, text := range []string{"JBSW Y3DP-ehpk 3PXP", "JBSWY3DPEHPK3PXP====", "234567", "JBSWY3DPEHPK3PX1", "correct horse battery staple", "JBSWY3DP\nEHPK3PXP", "otpauth://totp/x?secret=JBSWY3DPEHPK3PXP"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		bare, ok := bareSeed(text)
		if !ok {
			return
		}
		s, err := parseSeed("otpauth://totp/a?secret=" + bare)
		if err != nil {
			t.Fatalf("taken and then refused: %v", err)
		}
		if s.Secret != bare {
			t.Fatal("it changes in the URL")
		}
	})
}

func TestBareSeed(t *testing.T) {
	t.Parallel()
	const want = "JBSWY3DPEHPK3PXP"
	for text, ok := range map[string]bool{
		want: true, "jbsw y3dp ehpk 3pxp": true, "JBSW-Y3DP-EHPK-3PXP": true, "JBSW\tY3DPEHPK3PXP==": true,
		"234567": false, "JBSWY3DPEHPK3PX1": false, "JBSWY3DP\nEHPK3PXP": false, "": false, "JBSWY3DPEHPK3PX": false,
		"otpauth://totp/x?secret=" + want: false, strings.Repeat("A", 136): false,
	} {
		got, good := bareSeed(text)
		if good != ok || ok && got != want {
			t.Errorf("%q: %q, %v", text, got.Reveal(), good)
		}
	}
}
