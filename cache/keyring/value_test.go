package keyring

import (
	"strings"
	"testing"
)

func TestDecodeValue(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		stored, want string
		ok           bool
	}{
		"of an earlier release":   {`{"v":1,"token":"hvs.x"}`, `{"v":1,"token":"hvs.x"}`, true},
		"nothing":                 {"", "", true},
		"marked":                  {"stepup1:eyJ2IjoxfQ", `{"v":1}`, true},
		"marked, of nothing":      {"stepup1:", "", false},
		"cut short":               {"stepup1:eyJ2IjoxfQ"[:17], "", false},
		"with padding":            {"stepup1:eyJ2IjoxfQ==", "", false},
		"in letters of another":   {"stepup1:a+b/", "", false},
		"with a bit that is none": {"stepup1:eyJ2IjoxfR", "", false},
	} {
		got, ok := decodeValue(test.stored)
		if ok != test.ok || ok && got != test.want {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}

// Every value comes back as it was, by letters that mean nothing to a keyring, and fits
// where the largest one has to.
func FuzzValue(f *testing.F) {
	for _, value := range []string{"", `{"v":1}`, "{REF:P@I:0}", "my{TITLE}pw", "stepup1:", "\x00\xff\n"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		stored := encodeValue(value)
		if strings.Trim(stored, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:") != "" {
			t.Fatalf("%q has other letters", stored)
		}
		if back, ok := decodeValue(stored); ok != (value != "") || back != value {
			t.Fatalf("%q comes back as %q, %v", value, back, ok)
		}
		const most = 2560 // of a Windows credential; security(1) has 4,096 for its base64
		if len(value) <= MaxValue && len(stored) > most {
			t.Fatalf("%d bytes become %d", len(value), len(stored))
		}
		if plain, ok := decodeValue(value); ok && !strings.HasPrefix(value, valueMark) && plain != value {
			t.Fatalf("the plain %q is read as %q", value, plain)
		}
	})
}
