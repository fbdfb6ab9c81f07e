package mfa

import (
	"regexp"
	"slices"
	"strings"
)

// denial is how Vault says that a Sentinel policy said no: an endpoint (egp) or a
// role (rgp) governing policy, its enforcement level where Vault says it, and its
// name, which since namespaces came begins with theirs ("root/NAME").
var denial = regexp.MustCompile(`\b[er]gp (?:[a-z-]{1,32} ){0,2}policy "([^"\x00-\x1f]{1,256})" evaluation resulted in denial`)

// sentinelText is what every such answer has.
const sentinelText = "evaluation resulted in denial"

// DeniedByPolicy reports whether any of Vault's errors is a Sentinel denial. Vault
// looks at those policies last, so the token behind it is alive.
func DeniedByPolicy(errors []string) bool {
	return slices.ContainsFunc(errors, func(text string) bool { return strings.Contains(text, sentinelText) })
}

// maxPolicies bounds what a text may make us look up.
const maxPolicies = 16

// sentinel reads the text of a Sentinel denial. brief is that text without the
// trace, which repeats the policy's source and is nothing for a person's prompt.
func sentinel(reason string) (brief string, policies []string, ok bool) {
	if !strings.Contains(reason, sentinelText) {
		return "", nil, false
	}
	var lines []string
	for _, m := range denial.FindAllStringSubmatch(reason, -1) {
		if len(policies) == maxPolicies {
			break
		}
		if !slices.Contains(policies, m[1]) {
			policies, lines = append(policies, m[1]), append(lines, m[0])
		}
	}
	if len(lines) == 0 {
		return "policy " + sentinelText, nil, true
	}
	return strings.Join(lines, "; "), policies, true
}
