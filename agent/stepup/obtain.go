package stepup

import (
	"cmp"
	"context"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/secret"
)

// Obtain gets the token of a rule with a token or login grant for a caller before
// any request of theirs needs it, in the flight that such a request would start or
// join. It blocks until that is decided or ctx ends. Cached means that there is
// one already. A header grant gives no token; the caller makes sure that it is
// none.
func (r *Resolver) Obtain(ctx context.Context, ru *rule.Rule, namespace string, own secret.Secret) mfa.Verdict {
	// Without a path: none is asked for yet, and the person reads which rule it is.
	s := r.begin(ctx, rule.Request{Namespace: ru.In(namespace)}, ru.Name, own)
	// Get, not Take: a token that serves one request is left for that. Nor is such a
	// token looked up, which would be one of its uses.
	t, err := r.config.Tokens.Get(ctx, s.key)
	if v, ok := s.proven(ctx, own); !ok {
		if v.Outcome == "" && err == nil {
			s.bury(ctx)
		}
		return cmp.Or(v, mfa.Verdict{Outcome: mfa.Unavailable, Message: appDeadCaller})
	}
	if err == nil {
		if t.Uses > 0 || !s.dead(ctx, t.Secret) {
			return mfa.Verdict{Outcome: mfa.Cached}
		}
		s.discard(ctx, t)
	}
	s.quiet = ru.Silent
	if v, ok := s.silent(); ok {
		return v
	}
	if v, ok := r.config.Ledger.cooled(s.turn(), s.started); ok {
		return v
	}
	f := r.config.Ledger.join(s.key, func(ctx context.Context) mfa.Verdict { return s.fly(ctx, ru, own) })
	select {
	case <-f.done:
		return f.verdict
	case <-ctx.Done():
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appCanceled}
	}
}
