package mfa_test

import (
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/mfa"
)

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

// The law: one line, no longer than the reason, that says every word of a reason
// which it was given.
func FuzzBrief(f *testing.F) {
	f.Add("ups", "the moon")
	f.Add("a. error: 2 errors occurred:\n\t* x", "\n\t* login MFA validation failed for methodID: [m1]")
	f.Fuzz(func(t *testing.T, enforcement, reason string) {
		whole := "failed to satisfy enforcement " + enforcement + ". error: 2 errors occurred:\n\t* " + reason + "\n\t* login MFA validation failed for methodID: [m1]\n\n"
		for _, text := range []string{whole, reason} {
			got := mfa.Failure{Reason: text}.Brief()
			if strings.ContainsAny(got, "\n\t\r") || len(got) > len(text) {
				t.Errorf("Brief(%q) = %q", text, got)
			}
		}
		if strings.Contains(enforcement+reason, "\n") || strings.HasPrefix(strings.Join(strings.Fields(reason), " "), "login MFA") {
			return
		}
		if want := strings.Join(strings.Fields(reason), " "); (mfa.Failure{Reason: whole}).Brief() != want {
			t.Errorf("Brief(%q) = %q, want %q", whole, mfa.Failure{Reason: whole}.Brief(), want)
		}
	})
}
