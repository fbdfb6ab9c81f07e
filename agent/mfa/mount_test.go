package mfa_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/mfa"
)

func refusal(texts ...string) []byte {
	body, _ := json.Marshal(map[string][]string{"errors": texts})
	return body
}

func TestOktaFailure(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]mfa.FailureKind{
		"'totp' passcode parameter is required to perform MFA":                                                        mfa.NeedsCode,
		"nonce must be provided during login request when presented with number challenge":                            mfa.NeedsNumber,
		"multi-factor authentication denied":                                                                          mfa.PushDenied,
		"failed to complete multi-factor authentication":                                                              mfa.PushTimeout,
		"exiting pending mfa challenge":                                                                               mfa.PushTimeout,
		"Okta Verify Push or TOTP or Google TOTP factor is required in order to perform MFA":                          mfa.NotEnrolled,
		"okta authentication failed: you must complete MFA enrollment to continue":                                    mfa.NotEnrolled,
		"okta authentication failed":                                                                                  mfa.WrongCode,
		"Okta auth failed: The API returned an error: Invalid Passcode/Answer. Causes: errorSummary":                  mfa.WrongCode,
		"Okta auth failed: Post \"https://corp.okta.com/api/v1/authn\": dial tcp: lookup corp.okta.com: no such host": mfa.Unreachable,
		"okta auth method not configured":                                                                             mfa.Unknown,
		"":                                                                                                            mfa.Unknown,
	} {
		if got := mfa.OktaFailure(refusal(text)); got.Kind != want || got.Reason != text {
			t.Errorf("%q is %+v, want kind %d", text, got, want)
		}
	}
	if got := mfa.OktaFailure([]byte("<html>")); got.Kind != mfa.Unknown || got.Reason != "" {
		t.Errorf("a page is %+v", got)
	}
}

func TestLegacyFailure(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]mfa.FailureKind{
		"Incorrect passcode. Please try again.":                                  mfa.WrongCode,
		"Could not authenticate Duo user: Invalid request parameters (passcode)": mfa.WrongCode,
		"Could not call Duo preauth":                                             mfa.Unreachable,
		"Could not call Duo auth":                                                mfa.Unreachable,
		"could not call Duo auth":                                                mfa.Unreachable,
		"Could not load Duo configuration":                                       mfa.Misconfigured,
		"could not load Duo configuration":                                       mfa.Misconfigured,
		"Could not read username for MFA":                                        mfa.Misconfigured,
		"Could not look up Duo user information":                                 mfa.Misconfigured,
		"could not look up Duo user information: Invalid signature (x)":          mfa.Misconfigured,
		"Could not authenticate Duo user":                                        mfa.Misconfigured,
		"Could not authenticate Duo user: Access forbidden (ikey)":               mfa.Misconfigured,
		"Invalid Duo preauth response: maybe":                                    mfa.Misconfigured,
		"Enroll an authentication device to proceed (https://api-1.duosecurity.com/portal?code=48bac5d9393fb2c2&akey=DIXX)": mfa.NotEnrolled,
		"Enroll an authentication device to proceed ()":                                                                     mfa.NotEnrolled,
		"Login request denied.":                 mfa.PushDenied,
		"Login request reported as fraudulent.": mfa.PushDenied,
		"Login timed out.":                      mfa.PushTimeout,
		"Your account is disabled and cannot access this application. Please contact your administrator.": mfa.Locked,
		"Your account has been locked out due to excessive authentication failures.":                      mfa.Locked,
		"invalid username or password":                  mfa.Unknown,
		"ldap operation failed: failed to bind as user": mfa.Unknown,
	} {
		if got := mfa.LegacyFailure(refusal(text)); got.Kind != want || got.Reason != text {
			t.Errorf("%q is %+v, want kind %d", text, got, want)
		}
	}
}

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
