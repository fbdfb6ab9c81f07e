package mfa_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/mfa"
)

// trace is what Vault prints after the first line of a denial.
const trace = ".\n\nThe specific error was:\n<nil>\n\nA trace of the execution for policy \"root/pay\" is available:\n\nResult: false\n\n" +
	"Description: <none>\n\nprint() output:\n\n31cc28c0-9fd0-82b3-a70d-0eef741c5349\n\n\nRule \"main\" (root/pay:4:1) = false\n\t* permission denied\n\n"

func TestSentinelDenial(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text     string
		kind     mfa.FailureKind
		policies []string
		reason   string
	}{
		"endpoint": {
			"2 errors occurred:\n\t* egp standard policy \"root/pay\" evaluation resulted in denial" + trace,
			mfa.PolicyDenied, []string{"root/pay"}, `egp standard policy "root/pay" evaluation resulted in denial`,
		},
		"role, in a namespace, without trace": {
			"2 errors occurred:\n\t* rgp standard policy \"ns1/ns2/hr\" evaluation resulted in denial.\n\nThe specific error was:\n<nil>\n\t* permission denied\n\n",
			mfa.PolicyDenied, []string{"ns1/ns2/hr"}, `rgp standard policy "ns1/ns2/hr" evaluation resulted in denial`,
		},
		"old": {
			"1 error occurred:\n\n* egp standard policy \"cidr\" evaluation resulted in denial.\n\nThe specific error was:\n<nil>\n\nA trace of the execution for policy \"cidr\" is available:\n",
			mfa.PolicyDenied, []string{"cidr"}, `egp standard policy "cidr" evaluation resulted in denial`,
		},
		"two of them, one twice": {
			`egp standard policy "root/a" evaluation resulted in denial rgp policy "root/b" evaluation resulted in denial egp standard policy "root/a" evaluation resulted in denial`,
			mfa.PolicyDenied, []string{"root/a", "root/b"},
			`egp standard policy "root/a" evaluation resulted in denial; rgp policy "root/b" evaluation resulted in denial`,
		},
		"in other words":      {"policy root/x: evaluation resulted in denial", mfa.PolicyDenied, nil, "policy evaluation resulted in denial"},
		"a name over a line":  {"egp standard policy \"root/\nx\" evaluation resulted in denial", mfa.PolicyDenied, nil, "policy evaluation resulted in denial"},
		"an ordinary refusal": {"1 error occurred:\n\t* permission denied\n\n", mfa.Unknown, nil, "1 error occurred:\n\t* permission denied\n\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := json.Marshal(map[string][]string{"errors": {tt.text}})
			if err != nil {
				t.Fatal(err)
			}
			f := mfa.ReadFailure(body)
			if f.Kind != tt.kind || !slices.Equal(f.Policies, tt.policies) || f.Reason != tt.reason {
				t.Errorf("got %+v", f)
			}
			if got := mfa.DeniedByPolicy([]string{"x", tt.text}); got != (tt.kind == mfa.PolicyDenied) {
				t.Errorf("DeniedByPolicy = %v", got)
			}
		})
	}
}

// The law: a denial is known by its words alone; its policies are in the text, each
// once, without a control character, and so few and short that they can be looked
// up; of the trace nothing is left.
func FuzzSentinel(f *testing.F) {
	f.Add(`2 errors occurred:` + "\n\t* " + `egp standard policy "root/pay" evaluation resulted in denial` + trace)
	f.Add(`rgp soft mandatory policy "a" evaluation resulted in denial; egp policy "b" evaluation resulted in denial`)
	f.Add("rgp policy \"\xff\xff\" evaluation resulted in denial")
	f.Add(`egp standard policy "" evaluation resulted in denial`)
	f.Fuzz(func(t *testing.T, text string) {
		body, err := json.Marshal(map[string][]string{"errors": {text}})
		if err != nil {
			t.Skip("not encodable")
		}
		var sent struct{ Errors []string } // what is no UTF-8 does not survive JSON
		if err := json.Unmarshal(body, &sent); err != nil {
			t.Fatal(err)
		}
		text = sent.Errors[0]
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
		if failure.Kind == mfa.PolicyDenied && strings.Contains(failure.Reason, "A trace of the execution") {
			t.Errorf("the trace is left in %q", failure.Reason)
		}
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
		body, err := json.Marshal(map[string][]string{"errors": {text}})
		if err != nil {
			t.Fatal(err)
		}
		if got := mfa.ReadFailure(body).FromProvider(); got != want {
			t.Errorf("FromProvider of %q = %v", text, got)
		}
	}
}
