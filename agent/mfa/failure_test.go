package mfa_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
)

func TestReadFailure(t *testing.T) {
	t.Parallel()
	enforcement := func(reason string) string {
		return `failed to satisfy enforcement ups. error: 2 errors occurred:` + "\n\t* " + reason + "\n\t* login MFA validation failed for methodID: [m1]\n\n"
	}
	tests := map[string]struct {
		text string
		kind mfa.FailureKind
		wait time.Duration
	}{
		"wrong code":              {enforcement("failed to validate TOTP passcode"), mfa.WrongCode, 0},
		"wrong code, OpenBao":     {enforcement("MFA credentials not supplied or incorrect"), mfa.WrongCode, 0},
		"used code, old Vault":    {enforcement("code already used; new code is available in 30 seconds"), mfa.WrongCode, 30 * time.Second},
		"rate limit":              {enforcement("maximum TOTP validation attempts 6 exceeded the allowed attempts 5. Please try again in 30s seconds"), mfa.RateLimited, 30 * time.Second},
		"rate limit, minutes":     {enforcement("maximum TOTP validation attempts 6 exceeded the allowed attempts 5. Please try again in 1m0s seconds"), mfa.RateLimited, time.Minute},
		"rate limit, OpenBao":     {enforcement("maximum TOTP validation attempts 6 exceeded the allowed attempts 5. Please try again in 30.000000002s seconds"), mfa.RateLimited, 30*time.Second + 2},
		"absurd wait":             {enforcement("maximum TOTP validation attempts 6 exceeded. Please try again in 99999999h seconds"), mfa.RateLimited, 0},
		"expired":                 {"invalid request ID", mfa.Expired, 0},
		"not enrolled":            {enforcement(`MFA secret for method ID "x" not present in entity "y" or cached MFA auth response`), mfa.NotEnrolled, 0},
		"push rejected":           {enforcement("push verification explicitly rejected"), mfa.PushDenied, 0},
		"push timed out":          {enforcement("push verification timed out"), mfa.PushTimeout, 0},
		"push cancelled by Vault": {enforcement("duo push verification operation canceled"), mfa.PushTimeout, 0},
		"PingID asked too long":   {enforcement(`Post "https://idpxnyl3m.pingidentity.eu/rest/4/authonline/do": context deadline exceeded`), mfa.PushTimeout, 0},
		"PingID, Vault gave up":   {enforcement(`Post "https://idpxnyl3m.pingidentity.eu/rest/4/authonline/do": context canceled`), mfa.PushTimeout, 0},
		"PingID is down":          {enforcement(`Post "https://idpxnyl3m.pingidentity.eu/rest/4/authonline/do": dial tcp 192.0.2.7:443: connect: connection refused`), mfa.Unreachable, 0},
		"Okta is not found":       {enforcement(`Get "https://corp.okta.com/api/v1/users": dial tcp: lookup corp.okta.com on 192.0.2.53:53: no such host`), mfa.Unreachable, 0},
		"Duo is down":             {enforcement(`Get "https://api-1.duosecurity.com/auth/v2/check": net/http: TLS handshake timeout`), mfa.Unreachable, 0},
		"Duo refuses Vault":       {enforcement(`check against Duo failed; message (if given): "Invalid integration key in request credentials"; message detail (if given): ""`), mfa.Unreachable, 0},
		"legacy Duo, look-up":     {"Could not look up Duo user information: Invalid signature in request credentials ()", mfa.Unreachable, 0},
		"legacy Duo, no answer":   {"could not call Duo auth", mfa.Unreachable, 0},
		"a wrong code and Duo":    {enforcement("failed to validate TOTP passcode\n\t* failed to perform Duo preauth"), mfa.WrongCode, 0},
		"wrong code of Duo":       {enforcement(`duo authentication failed: "Incorrect passcode. Please try again."`), mfa.WrongCode, 0},
		"Duo push denied":         {enforcement(`duo authentication failed: "Login request denied."`), mfa.PushDenied, 0},
		"Duo push timed out":      {enforcement(`duo authentication failed: "Login timed out."`), mfa.PushTimeout, 0},
		"Duo wants to enrol":      {enforcement(`"Enroll an authentication device to proceed" - "https://api-1.duosecurity.com/portal?code=4f"`), mfa.NotEnrolled, 0},
		"Okta without a phone":    {enforcement("no push-type MFA factor found for user"), mfa.NotEnrolled, 0},
		"Okta without factors":    {enforcement("no MFA factors found for user"), mfa.NotEnrolled, 0},
		"Okta without the person": {enforcement("no users found for e-mail address"), mfa.NotEnrolled, 0},
		"push cancelled by Okta":  {enforcement("push verification operation canceled"), mfa.PushTimeout, 0},
		"Okta in new words":       {enforcement("unknown status code"), mfa.Unknown, 0},
		"PingID's own words":      {enforcement("Authentication rejected by user"), mfa.Unknown, 0},
		"dead token":              {"2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n", mfa.InvalidToken, 0},
		"something new":           {"the moon is in the wrong phase", mfa.Unknown, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := json.Marshal(map[string][]string{"errors": {tt.text}})
			if err != nil {
				t.Fatal(err)
			}
			f := mfa.ReadFailure(body)
			if f.Kind != tt.kind || f.Wait != tt.wait || f.Reason != tt.text {
				t.Errorf("ReadFailure = %+v, want kind %v wait %v", f, tt.kind, tt.wait)
			}
		})
	}
}

func TestMayNeedFactor(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body string
		want bool
	}{
		"step-up":     {`{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`, true},
		"sentinel":    {`{"errors":["2 errors occurred:\n\t* egp standard policy \"root/x\" evaluation resulted in denial.\n\t* permission denied\n\n"]}`, true},
		"dead token":  {`{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`, false},
		"a proxy's":   {`<html>Forbidden</html>`, false},
		"no errors":   {`{"errors":[]}`, false},
		"other shape": {`{"errors":"permission denied"}`, false},
		"empty":       {``, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := mfa.MayNeedFactor([]byte(tt.body)); got != tt.want {
				t.Errorf("MayNeedFactor = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAppend(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ body, errors, warnings string }{
		"one error":        {`{"errors":["a"]}` + "\n", `{"errors":["a","s"]}` + "\n", `{"warnings":["s"],"errors":["a"]}` + "\n"},
		"no errors":        {`{"errors":[]}`, `{"errors":["s"]}`, `{"warnings":["s"],"errors":[]}`},
		"null, and spaces": {`{ "errors" : null , "warnings":[ "w" ] }`, `{ "errors" : ["s"] , "warnings":[ "w" ] }`, `{ "errors" : null , "warnings":[ "w" ,"s"] }`},
		"empty object":     {`{}`, `{"errors":["s"]}`, `{"warnings":["s"]}`},
		"no JSON":          {`<html>`, `{"errors":["s"]}` + "\n", `{"warnings":["s"]}` + "\n"},
		"null":             {`null`, `{"errors":["s"]}` + "\n", `{"warnings":["s"]}` + "\n"},
		"errors elsewhere": {`{"data":{"errors":["x"]},"errors":["a","b"]}`, `{"data":{"errors":["x"]},"errors":["a","b","s"]}`, `{"warnings":["s"],"data":{"errors":["x"]},"errors":["a","b"]}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := string(mfa.AppendError([]byte(tt.body), "s")); got != tt.errors {
				t.Errorf("AppendError = %s, want %s", got, tt.errors)
			}
			if got := string(mfa.AppendWarning([]byte(tt.body), "s")); got != tt.warnings {
				t.Errorf("AppendWarning = %s, want %s", got, tt.warnings)
			}
		})
	}
}

// The law: the result is JSON whose errors are those of before and then ours.
func FuzzAppendError(f *testing.F) {
	f.Add([]byte(`{"errors":["a"],"x":{"errors":[1]}}`), "s")
	f.Add([]byte(`{"errors":["a"],"errors":[]}`), "\"\n")
	f.Add([]byte(`{"eRrors":["a"]}`), "s")
	f.Add([]byte(``), "")
	f.Fuzz(func(t *testing.T, body []byte, text string) {
		if rest := strings.ToLower(strings.ReplaceAll(string(body), `"errors"`, "")); strings.Contains(rest, `\u`) || strings.Contains(rest, "rror") {
			return // spellings of the field name that encoding/json folds
		}
		out := mfa.AppendError(body, text)
		if !json.Valid(out) {
			t.Fatalf("not JSON: %s", out)
		}
		got := mfa.Errors(out)
		if got == nil {
			return // the list holds something else than strings
		}
		want := append(slices.Clone(mfa.Errors(body)), strings.ToValidUTF8(text, "\uFFFD"))
		if len(got) != len(want) || !slices.Equal(got[:len(got)-1], want[:len(want)-1]) {
			t.Errorf("errors = %q, want %q", got, want)
		}
	})
}

// The law: a wait that is told to a person is positive and at most an hour.
func FuzzReadFailure(f *testing.F) {
	f.Add("Please try again in 30s seconds")
	f.Add("available in 30 seconds")
	f.Fuzz(func(t *testing.T, text string) {
		body, err := json.Marshal(map[string][]string{"errors": {text}})
		if err != nil {
			t.Skip("not encodable")
		}
		if w := mfa.ReadFailure(body).Wait; w < 0 || w > time.Hour {
			t.Errorf("wait = %v", w)
		}
	})
}

func TestCredentialHeader(t *testing.T) {
	t.Parallel()
	if got := (mfa.Credential{Method: "corp", Passcode: "123456"}).Header(); got != "corp:123456" {
		t.Errorf("passcode: %q", got)
	}
	if got := (mfa.Method{Type: "duo", Name: "corp"}).Credential("123456").Header(); got != "corp:passcode=123456" {
		t.Errorf("Duo passcode: %q", got)
	}
	if got := (mfa.Method{Type: "duo", Name: "corp"}).Credential("").Header(); got != "corp" {
		t.Errorf("Duo push: %q", got)
	}
	if got := (mfa.Method{Type: "totp", Name: "corp"}).Credential("123456").Header(); got != "corp:123456" {
		t.Errorf("TOTP: %q", got)
	}
	if got := (mfa.Credential{Method: "okta"}).Header(); got != "okta" {
		t.Errorf("push: %q", got)
	}
}
