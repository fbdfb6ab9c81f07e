package mfa_test

import (
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/mfa"
)

func TestEnrolURL(t *testing.T) {
	t.Parallel()
	const good = "https://api-1.duosecurity.com/portal?code=48bac5d9393fb2c2&akey=DIXX"
	for text, want := range map[string]string{
		"Enroll (" + good + ")":                              good,
		"Enroll (" + good + ") ":                             good,
		"Enroll ()":                                          "",
		"Enroll (http://duo.example/x)":                      "",
		"Enroll (https://duo.example/a b)":                   "",
		"Enroll (https://duo.example/\x1b[2J)":               "",
		"Enroll (https://evil@duo.example/x)":                "",
		"Enroll (https://duo.example/x) and more":            "",
		"Enroll (javascript:alert(1))":                       "",
		"Enroll (https://" + strings.Repeat("a", 300) + "/)": "",
	} {
		if got := mfa.EnrolURL(text); got != want {
			t.Errorf("%q gives %q, want %q", text, got, want)
		}
	}
}

func TestMountLoginOwn(t *testing.T) {
	t.Parallel()
	for body, want := range map[string][2]bool{ // okta, legacy
		`{"password":"p"}`:                            {false, false},
		`{"nonce":"n"}`:                               {true, false},
		`{"nonce":"","passcode":"","method":""}`:      {false, false},
		`{"totp":"123456","provider":"GOOGLE"}`:       {false, false},
		`{"passcode":"123456"}`:                       {false, true},
		`{"method":"phone"}`:                          {false, true},
		`{"passcode":123456,"nonce":7,"method":null}`: {true, true},
	} {
		b, err := mfa.ReadLoginBody("", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		for i, kind := range []mfa.MountKind{mfa.OktaMount, mfa.LegacyMount} {
			if got := (mfa.MountLogin{Kind: kind, Body: b}).Own(); got != want[i] {
				t.Errorf("%s at kind %d: %v", body, kind, got)
			}
		}
	}
}

// Whatever the text: nothing panics, the reason is Vault's own, and an address that is
// found is one that a person may follow.
func FuzzLoginFailure(f *testing.F) {
	f.Add(`{"errors":["multi-factor authentication denied"]}`)
	f.Add(`{"errors":["Enroll (https://api-1.duosecurity.com/portal?code=1&akey=2)"]}`)
	f.Add(`{"errors":["Could not call Duo auth","x"]}`)
	f.Add("{")
	f.Fuzz(func(t *testing.T, body string) {
		for _, failure := range []mfa.Failure{mfa.OktaFailure([]byte(body)), mfa.LegacyFailure([]byte(body))} {
			if failure.Reason != strings.Join(mfa.Errors([]byte(body)), "; ") {
				t.Fatalf("reason %q", failure.Reason)
			}
			u := mfa.EnrolURL(failure.Reason)
			if u != "" && (!strings.HasPrefix(u, "https://") || strings.ContainsFunc(u, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'`<>()\\", r) })) {
				t.Fatalf("address %q", u)
			}
		}
	})
}
