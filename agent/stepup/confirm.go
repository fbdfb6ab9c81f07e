package stepup

import (
	"context"
	"net/http"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/prompt"
)

// confirms reports whether a person must allow each use of a token that is there. The look at
// a mount before a read is no use: it would make two questions of each.
func (q *tokenRequest) confirms() bool { return q.match.Rule.Confirm && !q.match.Preflight }

// confirm asks about the token that is there, if the rule wants that. One that comes after
// this look, or whose caller cannot be looked up, is not asked about, and does not serve.
func (q *tokenRequest) confirm(ctx context.Context) mfa.Verdict {
	if !q.confirms() {
		return factor.Approved()
	}
	if q.barred = !q.isThere(ctx); q.barred {
		return factor.Approved() // of the request without it
	}
	return q.confirmed(ctx)
}

// isThere reports whether a token could serve the request. It counts no use.
func (q *tokenRequest) isThere(ctx context.Context) bool {
	if q.Unbound {
		return false
	}
	if _, err := q.find(ctx, q.config.Tokens.Get); err != nil {
		return false
	}
	life, _ := q.CallerLife(ctx, q.token, 0) // no question for a dead caller
	if life == state.Dead {
		q.endCaller()
	}
	return life == state.Alive
}

// confirmed asks whether the token that is there may serve this request. Any program of the
// user can send the yes, so it ends the mute of no rule.
func (q *tokenRequest) confirmed(ctx context.Context) mfa.Verdict {
	if v, ok := q.Muted(); ok {
		return v
	}
	q.Allows = factor.Allowance{} // beyond this request, nothing
	return q.InTurn(ctx, func() mfa.Verdict {
		if _, err := q.Ask(ctx, prompt.Request{Kind: prompt.Confirm, Message: "the step-up token that is there would be used"}); err != nil {
			return factor.VerdictOf(ctx, err)
		}
		q.AnsweredYes()
		return factor.Approved()
	})
}

// refusedUse is the decision for a request whose use of the token was not allowed: Vault's
// answer to the caller's own token, which says no unless that suffices.
func (q *tokenRequest) refusedUse(ctx context.Context, v mfa.Verdict) (Decision, error) {
	resp, err := q.send(ctx, nil, cache.Token{})
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusForbidden:
		return PassThrough{resp}, nil
	}
	return Refused{resp, v}, nil
}
