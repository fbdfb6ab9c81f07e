package mfa_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
)

// refusal is the body by which Vault refuses.
func refusal(texts ...string) []byte {
	body, _ := json.Marshal(map[string][]string{"errors": texts})
	return body
}

// trace is what Vault prints after the first line of a denial.
const trace = ".\n\nThe specific error was:\n<nil>\n\nA trace of the execution for policy \"root/pay\" is available:\n\nResult: false\n\n" +
	"Description: <none>\n\nprint() output:\n\n31cc28c0-9fd0-82b3-a70d-0eef741c5349\n\n\nRule \"main\" (root/pay:4:1) = false\n\t* permission denied\n\n"

func TestReadFailure(t *testing.T) {
	t.Parallel()
	enforcement := func(reason string) string {
		return `failed to satisfy enforcement ups. error: 2 errors occurred:` + "\n\t* " + reason + "\n\t* login MFA validation failed for methodID: [m1]\n\n"
	}
	denied := func(reason string, policies ...string) mfa.Failure {
		return mfa.Failure{Kind: mfa.PolicyDenied, Reason: reason, Policies: policies}
	}
	for name, tt := range map[string]struct {
		text string
		want mfa.Failure // without a reason it is the text
	}{
		"wrong code":              {enforcement("failed to validate TOTP passcode"), mfa.Failure{Kind: mfa.WrongCode}},
		"wrong code, OpenBao":     {enforcement("MFA credentials not supplied or incorrect"), mfa.Failure{Kind: mfa.WrongCode}},
		"used code, old Vault":    {enforcement("code already used; new code is available in 30 seconds"), mfa.Failure{Kind: mfa.WrongCode, Wait: 30 * time.Second}},
		"rate limit":              {enforcement("maximum TOTP validation attempts 6 exceeded the allowed attempts 5. Please try again in 30s seconds"), mfa.Failure{Kind: mfa.RateLimited, Wait: 30 * time.Second}},
		"rate limit, minutes":     {enforcement("maximum TOTP validation attempts 6 exceeded the allowed attempts 5. Please try again in 1m0s seconds"), mfa.Failure{Kind: mfa.RateLimited, Wait: time.Minute}},
		"rate limit, OpenBao":     {enforcement("maximum TOTP validation attempts 6 exceeded the allowed attempts 5. Please try again in 30.000000002s seconds"), mfa.Failure{Kind: mfa.RateLimited, Wait: 30*time.Second + 2}},
		"absurd wait":             {enforcement("maximum TOTP validation attempts 6 exceeded. Please try again in 99999999h seconds"), mfa.Failure{Kind: mfa.RateLimited}},
		"expired":                 {"invalid request ID", mfa.Failure{Kind: mfa.Expired}},
		"no leader":               {"local node not active but active cluster node not found", mfa.Failure{Kind: mfa.NoLeader}},
		"a hidden method":         {"failed to satisfy enforcement e. error: failed to sanitize MFA creds, 1 error occurred:\n\t* failed to find MFA credentials associated with an MFA method ID 1-2, method name ns1/x\n\n", mfa.Failure{Kind: mfa.MissingMethod}},
		"not enrolled":            {enforcement(`MFA secret for method ID "x" not present in entity "y" or cached MFA auth response`), mfa.Failure{Kind: mfa.NotEnrolled}},
		"not enrolled, OpenBao":   {enforcement(`MFA secret for method ID "x" not present in entity "y"`), mfa.Failure{Kind: mfa.NotEnrolled}},
		"no secret, OpenBao":      {enforcement(`MFA secret for method name "corp" not present in entity "y"`), mfa.Failure{Kind: mfa.NotEnrolled}},
		"push rejected":           {enforcement("push verification explicitly rejected"), mfa.Failure{Kind: mfa.PushDenied}},
		"push timed out":          {enforcement("push verification timed out"), mfa.Failure{Kind: mfa.PushTimeout}},
		"push cancelled by Vault": {enforcement("duo push verification operation canceled"), mfa.Failure{Kind: mfa.PushTimeout}},
		"PingID asked too long":   {enforcement(`Post "https://idpxnyl3m.pingidentity.eu/rest/4/authonline/do": context deadline exceeded`), mfa.Failure{Kind: mfa.PushTimeout}},
		"PingID, Vault gave up":   {enforcement(`Post "https://idpxnyl3m.pingidentity.eu/rest/4/authonline/do": context canceled`), mfa.Failure{Kind: mfa.PushTimeout}},
		"PingID is down":          {enforcement(`Post "https://idpxnyl3m.pingidentity.eu/rest/4/authonline/do": dial tcp 192.0.2.7:443: connect: connection refused`), mfa.Failure{Kind: mfa.Unreachable}},
		"Okta is not found":       {enforcement(`Get "https://corp.okta.com/api/v1/users": dial tcp: lookup corp.okta.com on 192.0.2.53:53: no such host`), mfa.Failure{Kind: mfa.Unreachable}},
		"Duo is down":             {enforcement(`Get "https://api-1.duosecurity.com/auth/v2/check": net/http: TLS handshake timeout`), mfa.Failure{Kind: mfa.Unreachable}},
		"Duo refuses Vault":       {enforcement(`check against Duo failed; message (if given): "Invalid integration key in request credentials"; message detail (if given): ""`), mfa.Failure{Kind: mfa.Unreachable}},
		"legacy Duo, look-up":     {"Could not look up Duo user information: Invalid signature in request credentials ()", mfa.Failure{Kind: mfa.Unreachable}},
		"legacy Duo, no answer":   {"could not call Duo auth", mfa.Failure{Kind: mfa.Unreachable}},
		"a wrong code and Duo":    {enforcement("failed to validate TOTP passcode\n\t* failed to perform Duo preauth"), mfa.Failure{Kind: mfa.WrongCode}},
		"wrong code of Duo":       {enforcement(`duo authentication failed: "Incorrect passcode. Please try again."`), mfa.Failure{Kind: mfa.WrongCode}},
		"Duo push denied":         {enforcement(`duo authentication failed: "Login request denied."`), mfa.Failure{Kind: mfa.PushDenied}},
		"Duo push timed out":      {enforcement(`duo authentication failed: "Login timed out."`), mfa.Failure{Kind: mfa.PushTimeout}},
		"Duo wants to enrol":      {enforcement(`"Enroll an authentication device to proceed" - "https://api-1.duosecurity.com/portal?code=4f"`), mfa.Failure{Kind: mfa.NotEnrolled}},
		"Okta without a phone":    {enforcement("no push-type MFA factor found for user"), mfa.Failure{Kind: mfa.NotEnrolled}},
		"Okta without factors":    {enforcement("no MFA factors found for user"), mfa.Failure{Kind: mfa.NotEnrolled}},
		"Okta without the person": {enforcement("no users found for e-mail address"), mfa.Failure{Kind: mfa.NotEnrolled}},
		"push cancelled by Okta":  {enforcement("push verification operation canceled"), mfa.Failure{Kind: mfa.PushTimeout}},
		"Okta in new words":       {enforcement("unknown status code"), mfa.Failure{Kind: mfa.Unknown}},
		"PingID's own words":      {enforcement("Authentication rejected by user"), mfa.Failure{Kind: mfa.Unknown}},
		"dead token":              {"2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n", mfa.Failure{Kind: mfa.InvalidToken}},
		"something new":           {"the moon is in the wrong phase", mfa.Failure{Kind: mfa.Unknown}},

		"policy of an endpoint": {
			"2 errors occurred:\n\t* egp standard policy \"root/pay\" evaluation resulted in denial" + trace,
			denied(`egp standard policy "root/pay" evaluation resulted in denial`, "root/pay"),
		},
		"policy of a role, in a namespace, without trace": {
			"2 errors occurred:\n\t* rgp standard policy \"ns1/ns2/hr\" evaluation resulted in denial.\n\nThe specific error was:\n<nil>\n\t* permission denied\n\n",
			denied(`rgp standard policy "ns1/ns2/hr" evaluation resulted in denial`, "ns1/ns2/hr"),
		},
		"policy of an old Vault": {
			"1 error occurred:\n\n* egp standard policy \"cidr\" evaluation resulted in denial.\n\nThe specific error was:\n<nil>\n\nA trace of the execution for policy \"cidr\" is available:\n",
			denied(`egp standard policy "cidr" evaluation resulted in denial`, "cidr"),
		},
		"two policies, one twice": {
			`egp standard policy "root/a" evaluation resulted in denial rgp policy "root/b" evaluation resulted in denial egp standard policy "root/a" evaluation resulted in denial`,
			denied(`egp standard policy "root/a" evaluation resulted in denial; rgp policy "root/b" evaluation resulted in denial`, "root/a", "root/b"),
		},
		"a policy in other words":        {"policy root/x: evaluation resulted in denial", denied("policy evaluation resulted in denial")},
		"a name of a policy over a line": {"egp standard policy \"root/\nx\" evaluation resulted in denial", denied("policy evaluation resulted in denial")},
		"an ordinary refusal":            {"1 error occurred:\n\t* permission denied\n\n", mfa.Failure{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.want.Reason == "" {
				tt.want.Reason = tt.text
			}
			if diff := cmp.Diff(tt.want, mfa.ReadFailure(refusal(tt.text))); diff != "" {
				t.Errorf("ReadFailure (-want +got):\n%s", diff)
			}
			if got := mfa.DeniedByPolicy([]string{"x", tt.text}); got != (tt.want.Kind == mfa.PolicyDenied) {
				t.Errorf("DeniedByPolicy = %v", got)
			}
		})
	}
}

// kindsOf holds a reader of failures against a table of texts.
func kindsOf(t *testing.T, read func([]byte) mfa.Failure, kinds map[string]mfa.FailureKind) {
	t.Helper()
	for text, want := range kinds {
		if diff := cmp.Diff(mfa.Failure{Kind: want, Reason: text}, read(refusal(text))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestOktaFailure(t *testing.T) {
	t.Parallel()
	kindsOf(t, mfa.OktaFailure, map[string]mfa.FailureKind{
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
	})
	if got := mfa.OktaFailure([]byte("<html>")); got.Kind != mfa.Unknown || got.Reason != "" {
		t.Errorf("a page is %+v", got)
	}
}

func TestLegacyFailure(t *testing.T) {
	t.Parallel()
	kindsOf(t, mfa.LegacyFailure, map[string]mfa.FailureKind{
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
	})
}

func TestProviderOfAnOutage(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`Get "https://api-1.duosecurity.com/auth/v2/check": dial tcp: i/o timeout`:                       true,
		`Get "https://corp.okta.com/api/v1/users": dial tcp: lookup corp.okta.com: no such host`:         true,
		`Post "https://idp.pingidentity.eu/rest/4/authonline/do": dial tcp: connect: connection refused`: true,
		"Could not call Duo auth":                         true,
		"nil response from pingid":                        true,
		"failed to get authentication status from Duo":    true,
		"dial tcp 10.0.0.7:5432: connection refused":      false,
		`duo authentication failed: "Incorrect passcode"`: false, // no outage
		"permission denied":                               false,
	} {
		if got := mfa.ReadFailure(refusal(text)).FromProvider(); got != want {
			t.Errorf("FromProvider of %q = %v", text, got)
		}
	}
}

func TestBrief(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ reason, want string }{
		"one reason": {
			"failed to satisfy enforcement ups. error: 2 errors occurred:\n\t* duo authentication failed: \"Your account is disabled.\"\n\t* login MFA validation failed for methodID: [m1 m2]\n\n",
			`duo authentication failed: "Your account is disabled."`,
		},
		"two methods": {
			"failed to satisfy enforcement ups. error: 3 errors occurred:\n\t* the moon\n\t* the\nsun\n\t* login MFA validation failed for methodID: [m1]\n\n",
			"the moon; the sun",
		},
		"nothing but the method": {"failed to satisfy enforcement ups. error: 1 errors occurred:\n\t* login MFA validation failed for methodID: [m1]\n\n", ""},
		"another shape":          {"failed to sanitize MFA creds,\n\tx", "failed to sanitize MFA creds, x"},
		"of another part":        {"2 errors occurred:\n\t* permission denied\n\n", "2 errors occurred: * permission denied"},
		"the only one":           {"1 error occurred:\n\t* dial tcp: i/o\n timeout\n\n", "dial tcp: i/o timeout"},
		"empty":                  {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := (mfa.Failure{Reason: tt.reason}).Brief(); got != tt.want {
				t.Errorf("Brief = %q, want %q", got, tt.want)
			}
		})
	}
}

// What bodies of refusals tell, each by its own function.
func TestRefusals(t *testing.T) {
	t.Parallel()
	type told struct{ MayNeedFactor, BareDenial, RefusedInLogin, WantsInlineFactor, FurtherApproval, WrappingGone bool }
	const gone = "wrapping token is not valid or does not exist"
	for name, tt := range map[string]struct {
		body []byte
		want told
	}{
		"step-up":                    {refusal("1 error occurred:\n\t* permission denied\n\n"), told{MayNeedFactor: true, BareDenial: true}},
		"sentinel":                   {refusal("2 errors occurred:\n\t* egp standard policy \"root/x\" evaluation resulted in denial.\n\t* permission denied\n\n"), told{MayNeedFactor: true}},
		"dead token":                 {refusal("2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"), told{}},
		"a proxy's":                  {[]byte(`<html>Forbidden</html>`), told{}},
		"no errors":                  {refusal(), told{}},
		"an empty list":              {[]byte(`{"errors":[]}`), told{}},
		"other shape":                {[]byte(`{"errors":"permission denied"}`), told{}},
		"empty":                      {nil, told{}},
		"factor of a login":          {refusal("permission denied"), told{MayNeedFactor: true, RefusedInLogin: true}},
		"factor of an inline login":  {refusal(inlineDenied), told{MayNeedFactor: true, RefusedInLogin: true}},
		"in a list, as go-multierr":  {refusal("failed to perform inline authentication: 1 error occurred:\n\t* permission denied\n\n"), told{MayNeedFactor: true, RefusedInLogin: true}},
		"an inline login wants one":  {refusal(inlineWants), told{MayNeedFactor: true, WantsInlineFactor: true}},
		"wrong password, inline":     {refusal("failed to perform inline authentication: invalid username or password"), told{MayNeedFactor: true}},
		"two errors":                 {refusal("permission denied", "permission denied"), told{MayNeedFactor: true}},
		"layered on a token, inline": {refusal("failed to perform inline authentication: cannot layer inline authentication with token authentication"), told{MayNeedFactor: true}},
		"approvals are missing":      {refusal("Request needs further approval"), told{MayNeedFactor: true, FurtherApproval: true}},
		"in lower case":              {refusal("request needs further approval"), told{MayNeedFactor: true, FurtherApproval: true}},
		"no wrapping token any more": {refusal(gone), told{MayNeedFactor: true, WrappingGone: true}},
		"approval as data":           {[]byte(`{"data":"Request needs further approval"}`), told{}},
		"gone without JSON":          {[]byte(gone), told{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := told{
				mfa.MayNeedFactor(tt.body), mfa.BareDenial(tt.body), mfa.RefusedInLogin(tt.body),
				mfa.WantsInlineFactor(tt.body), mfa.FurtherApproval(tt.body), mfa.WrappingGone(tt.body),
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.body, diff)
			}
		})
	}
}

const (
	inlineWants  = "failed to perform inline authentication: unable to perform inline authentication with login MFA; use the X-Vault-MFA header to specify MFA information on the inline auth request"
	inlineDenied = "failed to perform inline authentication: permission denied"
)

func TestFactorUnused(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{
		`{"warnings":["a","Found MFA header but failed to find MFA Enforcement Config"]}`: true,
		`{"warnings":["a"]}`:    false,
		`{"warnings":null}`:     false,
		`{"warnings":"Found"}`:  false,
		`{"data":{"warnings":[`: false,
	} {
		if got := mfa.FactorUnused([]byte(body)); got != want {
			t.Errorf("FactorUnused(%s) = %v", body, got)
		}
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

func TestCredentialHeader(t *testing.T) {
	t.Parallel()
	duo, totp := mfa.Method{Type: "duo", Name: "corp"}, mfa.Method{Type: "totp", Name: "corp"}
	for want, c := range map[string]mfa.Credential{
		"other:123456":         {Method: "other", Passcode: "123456"},
		"corp:passcode=123456": duo.Credential("123456"),
		"corp":                 duo.Credential(""),
		"corp:123456":          totp.Credential("123456"),
		"okta":                 {Method: "okta"},
	} {
		if got := c.Header(); got != want {
			t.Errorf("%+v is %q, want %q", c, got, want)
		}
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
		if w := mfa.ReadFailure(refusal(text)).Wait; w < 0 || w > time.Hour {
			t.Errorf("wait = %v", w)
		}
	})
}

// The law: one line, no longer than the reason, that says every word of a reason
// which it was given.
func FuzzBrief(f *testing.F) {
	f.Add("ups", "the moon")
	f.Add("a. error: 2 errors occurred:\n\t* x", "\n\t* login MFA validation failed for methodID: [m1]")
	f.Fuzz(func(t *testing.T, enforcement, reason string) {
		full := "failed to satisfy enforcement " + enforcement + ". error: 2 errors occurred:\n\t* " + reason + "\n\t* login MFA validation failed for methodID: [m1]\n\n"
		for _, text := range []string{full, reason} {
			got := mfa.Failure{Reason: text}.Brief()
			if strings.ContainsAny(got, "\n\t\r") || len(got) > len(text) {
				t.Errorf("Brief(%q) = %q", text, got)
			}
		}
		if strings.Contains(enforcement+reason, "\n") || strings.HasPrefix(strings.Join(strings.Fields(reason), " "), "login MFA") {
			return
		}
		if want := strings.Join(strings.Fields(reason), " "); (mfa.Failure{Reason: full}).Brief() != want {
			t.Errorf("Brief(%q) = %q, want %q", full, mfa.Failure{Reason: full}.Brief(), want)
		}
	})
}

// The law: a denial is known by its words alone; its policies are in the text, each
// once, without a control character, and so few and short that they can be looked
// up; of the trace nothing is left.
func FuzzSentinel(f *testing.F) {
	f.Add(`2 errors occurred:` + "\n\t* " + `egp standard policy "root/pay" evaluation resulted in denial` + trace)
	f.Add(`rgp soft mandatory policy "a" evaluation resulted in denial; egp policy "b" evaluation resulted in denial`)
	f.Add("rgp policy \"\xff\xff\" evaluation resulted in denial")
	f.Add(`egp standard policy "" evaluation resulted in denial`)
	f.Add(`egp policy "A trace of the execution" evaluation resulted in denial`)
	f.Fuzz(func(t *testing.T, text string) {
		body := refusal(text)
		text = mfa.Errors(body)[0] // what is no UTF-8 does not survive JSON
		failure := mfa.ReadFailure(body)
		if is := strings.Contains(text, "evaluation resulted in denial"); is != (failure.Kind == mfa.PolicyDenied) {
			t.Fatalf("kind %v of %q", failure.Kind, text)
		}
		if len(failure.Policies) > 16 {
			t.Errorf("%d policies", len(failure.Policies))
		}
		for i, name := range failure.Policies {
			if name == "" || len(name) > 4*256 || !strings.Contains(text, `"`+name+`"`) || slices.Contains(failure.Policies[:i], name) {
				t.Errorf("policy %q of %q", name, text)
			}
			if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
				t.Errorf("policy %q has a control character", name)
			}
		}
		brief := failure.Reason
		for _, name := range failure.Policies { // may be called as the trace is
			brief = strings.Replace(brief, `"`+name+`"`, "", 1)
		}
		if failure.Kind == mfa.PolicyDenied && strings.Contains(brief, "A trace of the execution") {
			t.Errorf("the trace is left in %q", failure.Reason)
		}
	})
}

// The law: no answer both refuses a factor and says that none came, and only a text
// about permission refuses one.
func FuzzRefusedInLogin(f *testing.F) {
	f.Add("permission denied")
	f.Add(inlineWants)
	f.Add(inlineDenied)
	f.Fuzz(func(t *testing.T, text string) {
		body := refusal(text)
		refused := mfa.RefusedInLogin(body)
		if refused && !strings.HasSuffix(strings.TrimSpace(text), "permission denied") {
			t.Errorf("%q is taken for a refused factor", text)
		}
		if refused && mfa.WantsInlineFactor(body) && !strings.Contains(text, "unable to perform") {
			t.Errorf("%q is taken for both", text)
		}
		_ = mfa.FactorUnused([]byte(text))
	})
}

// Which methods an answer of sys/mfa/validate is about. The names are free text.
func TestMethodsOfAFailure(t *testing.T) {
	t.Parallel()
	missing := func(id, name string) string {
		return "\t* failed to find MFA credentials associated with an MFA method ID " + id + ", method name " + name + "\n"
	}
	for name, tt := range map[string]struct {
		reason          string
		wanted, refused []string
	}{
		"nothing":          {reason: "invalid request ID"},
		"a hidden one":     {reason: "failed to sanitize MFA creds, 1 error occurred:\n" + missing("1-2", "ns1/two words"), wanted: []string{"ns1/two words"}},
		"one without name": {reason: missing("1-2", ""), wanted: []string{"1-2"}},
		"any of two":       {reason: missing("1", "a") + missing("2", "b"), wanted: []string{"a", "b"}},
		"refused":          {reason: "failed to satisfy enforcement e. error: 2 errors occurred:\n\t* failed to validate TOTP passcode\n\t* login MFA validation failed for methodID: [1-2 3-4]\n\n", refused: []string{"1-2", "3-4"}},
	} {
		f := mfa.Failure{Reason: tt.reason}
		if diff := cmp.Diff(tt.wanted, f.Wanted()); diff != "" {
			t.Errorf("%s: wanted (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(tt.refused, f.RefusedMethods()); diff != "" {
			t.Errorf("%s: refused (-want +got):\n%s", name, diff)
		}
	}
}
