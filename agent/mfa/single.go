package mfa

import (
	"encoding/json"
	"slices"
	"strings"
)

// inlineFailed is what OpenBao puts before the reason for which the login inside a
// request failed (internal/vault/request_handling.go, HandleRequest).
const inlineFailed = "failed to perform inline authentication: "

// RefusedInLogin reports whether the body of a 403 is the answer to factors that
// came with the login itself. Vault gives no reason then (request_handling.go,
// handleLoginRequest), and not the list of one with which it refuses a request.
func RefusedInLogin(body []byte) bool {
	errors := Errors(body)
	if len(errors) != 1 {
		return false
	}
	if reason, inline := strings.CutPrefix(errors[0], inlineFailed); inline {
		return strings.HasSuffix(strings.TrimSpace(reason), "permission denied")
	}
	return errors[0] == "permission denied"
}

// WantsInlineFactor reports whether OpenBao refused a request because the login
// inside it needs a second factor: such a login cannot be held.
func WantsInlineFactor(body []byte) bool {
	return slices.ContainsFunc(Errors(body), func(text string) bool {
		return strings.Contains(text, inlineFailed+"unable to perform inline authentication with login MFA")
	})
}

// FactorUnused reports whether the answer to a login says that nothing asked for
// the factors that came with it.
func FactorUnused(body []byte) bool {
	var answer struct {
		Warnings []string `json:"warnings"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return false
	}
	return slices.Contains(answer.Warnings, "Found MFA header but failed to find MFA Enforcement Config")
}
