package stepup

import (
	"context"
	"time"

	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A Standing is what is remembered about a caller under a rule.
type Standing struct {
	Caller    string      // HMAC of the caller's token, as a key has it
	Token     cache.Token // the cached step-up token; its Secret is left out
	Cached    bool
	Rule      string // whose token it is
	Namespace string // where it serves
	Paused    string // why nobody would be asked now, in words; "" when they would
	Waiting   bool   // an approval is waited for under the caller's token
}

// AsksFirst reports whether the person is asked before a request under a rule with a
// header grant is sent, and not after Vault has refused it.
func (r *Resolver) AsksFirst(ru *rule.Rule) bool {
	asked, rings := r.pushes(ru)
	return len(asked) > 0 || rings.Name != "" && r.config.ConfirmPush
}

// Quiet is why nobody is asked under a rule, in words; "" when they are.
func Quiet(ru *rule.Rule) string {
	if ru.Silent {
		return appQuietRule
	}
	return ""
}

// Standing tells what a request under a rule would find here, and changes nothing.
func (r *Resolver) Standing(ctx context.Context, m rule.Match, token secret.Secret) Standing {
	for _, k := range m.Kept {
		if s := r.Standing(ctx, k, token); s.Cached {
			return s
		}
	}
	s := r.begin(ctx, m.Request, m.Rule.Name, token)
	out := Standing{Caller: s.key.Identity, Rule: s.rule, Namespace: s.key.Namespace, Waiting: token != "" && r.config.Ledger.approvals.waits(s.key)}
	if m.Rule.Grant.Mints() && token != "" {
		ctx, cancel := context.WithTimeout(ctx, lookupLimit)
		defer cancel()
		if t, err := r.config.Tokens.Get(ctx, s.key); err == nil {
			t.Secret = ""
			out.Token, out.Cached = t, true
		}
	}
	switch v, cooling := r.config.Ledger.cooled(s.turn(), s.started); {
	case m.Rule.Silent:
		out.Paused = appQuietRule
	case r.config.Ledger.tired(s.topic()):
		out.Paused = appTired
	case cooling:
		out.Paused = v.Message
	}
	return out
}

// waits reports whether any request of a caller waits for an approval.
func (a *approvals) waits(caller cache.Key) bool {
	caller.Rule = ""
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now().Round(0)
	for k, p := range a.all {
		if k.Caller == caller && now.Before(p.expires) {
			return true
		}
	}
	return false
}
