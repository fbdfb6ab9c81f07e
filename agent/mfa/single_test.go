package mfa_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/mfa"
)

const (
	inlineWants  = "failed to perform inline authentication: unable to perform inline authentication with login MFA; use the X-Vault-MFA header to specify MFA information on the inline auth request"
	inlineDenied = "failed to perform inline authentication: permission denied"
)

func TestSinglePhaseTexts(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		errors         []string
		refused, wants bool
	}{
		"factor of a login":          {[]string{"permission denied"}, true, false},
		"factor of an inline login":  {[]string{inlineDenied}, true, false},
		"in a list, as go-multierr":  {[]string{"failed to perform inline authentication: 1 error occurred:\n\t* permission denied\n\n"}, true, false},
		"an inline login wants one":  {[]string{inlineWants}, false, true},
		"the request itself":         {[]string{"1 error occurred:\n\t* permission denied\n\n"}, false, false},
		"a dead token":               {[]string{"2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"}, false, false},
		"wrong password, inline":     {[]string{"failed to perform inline authentication: invalid username or password"}, false, false},
		"two errors":                 {[]string{"permission denied", "permission denied"}, false, false},
		"nothing":                    {nil, false, false},
		"layered on a token, inline": {[]string{"failed to perform inline authentication: cannot layer inline authentication with token authentication"}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := json.Marshal(map[string][]string{"errors": tt.errors})
			if err != nil {
				t.Fatal(err)
			}
			if got := mfa.RefusedInLogin(body); got != tt.refused {
				t.Errorf("RefusedInLogin = %v", got)
			}
			if got := mfa.WantsInlineFactor(body); got != tt.wants {
				t.Errorf("WantsInlineFactor = %v", got)
			}
		})
	}
}

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

// The law: no answer both refuses a factor and says that none came, and only a text
// about permission refuses one.
func FuzzRefusedInLogin(f *testing.F) {
	f.Add("permission denied")
	f.Add(inlineWants)
	f.Add(inlineDenied)
	f.Fuzz(func(t *testing.T, text string) {
		body, err := json.Marshal(map[string][]string{"errors": {text}})
		if err != nil {
			t.Skip("not encodable")
		}
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
