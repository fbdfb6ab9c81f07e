package mfa

import "strings"

// Brief is Vault's reason without what a person can do nothing with: the name of
// the enforcement, the count of errors and the IDs of methods, which stand around
// it in the answer of sys/mfa/validate (vault/login_mfa.go). Reasons are joined by
// "; ". A text of another shape comes back on one line.
func (f Failure) Brief() string {
	if only, ok := strings.CutPrefix(f.Reason, "1 error occurred:\n\t* "); ok {
		return strings.Join(strings.Fields(only), " ")
	}
	head, rest, ok := strings.Cut(f.Reason, " errors occurred:\n")
	if !ok || !strings.HasPrefix(head, "failed to satisfy enforcement ") {
		return strings.Join(strings.Fields(f.Reason), " ")
	}
	var reasons []string
	for item := range strings.SplitSeq(rest, "\n\t* ") {
		item = strings.Join(strings.Fields(strings.TrimPrefix(item, "\t* ")), " ")
		if item != "" && !strings.HasPrefix(item, "login MFA validation failed for methodID:") {
			reasons = append(reasons, item)
		}
	}
	return strings.Join(reasons, "; ")
}
