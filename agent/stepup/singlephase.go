package stepup

import (
	"net/http"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
)

// A SinglePhase says which logins take their factors with them.
type SinglePhase struct {
	Methods []string // names of declared methods, all of which are sent; none means that no login does
	Mounts  []string // "auth/ldap"; none means every auth method; see rule.IsLogin
}

// readSinglePhase reads Vault's answer to a login with its factors.
func readSinglePhase(s *factor.StepUp, r factor.Reply, f factor.Factors, noReplay bool) (v mfa.Verdict, again string) {
	if r.Response.StatusCode != http.StatusForbidden || !mfa.RefusedInLogin(factor.PeekBody(r.Response)) {
		// Any other refusal is not about the factor, and accepts none: a wrong password is
		// reported before a junk code.
		s.Answered = s.Answered && r.OK()
		return factor.Approved(), ""
	}
	switch {
	case r.RefusedPush(), !f.Typed():
		return factor.RefusedPush(), ""
	case r.AnsweredLate():
		return factor.AnsweredLate(), ""
	case noReplay:
		return factor.RejectedCodes(), ""
	}
	return mfa.Verdict{}, factor.WrongCode
}
