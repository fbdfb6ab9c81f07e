package relay

import "fmt"

// The words that an app's user reads when Vault itself could not answer. One
// sentence each, lower case, with the way out.

func unreachable(vault string, err error) string {
	return fmt.Sprintf("stepup: vault %q cannot be reached: %v", vault, err)
}

func tooSlow(vault string) string {
	return fmt.Sprintf("stepup: vault %q did not answer in time", vault)
}

func redirected(vault string, err *redirectError) string {
	return fmt.Sprintf("stepup: vault %q redirects to %s, which was not followed: %s", vault, err.target, err.reason)
}

func brokenBody(err *bodyError) string {
	return fmt.Sprintf("stepup: the body of the request cannot be read: %v", err)
}

const (
	tooManyRedirects  = "too many redirects in a row"
	unusableLocation  = "its location cannot be used"
	otherTrust        = "it leads to another kind of connection (http and https do not mix)"
	otherRequest      = "it leads to another path than the one that was stepped up"
	bodyNotKept       = "the body of the request is too large to be sent again; set the vault block's address to the active node"
	inlineTooLarge    = "stepup: the request is too large to be sent again with a second factor; send X-Vault-MFA with it"
	factorUnused      = "a login was asked about for nothing: no enforcement of vault wants a second factor there; limit single_phase_mounts"
	loginStoppedShort = "permission denied"
)
