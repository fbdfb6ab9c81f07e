package stepup

import (
	"context"
	"net/http"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache"
)

// A SinglePhase says which logins take their factors with them.
type SinglePhase struct {
	Methods []string // names of declared methods, all of which are sent; none means that no login does
	Mounts  []string // "auth/ldap"; none means every auth method; see rule.IsLogin
}

// Covers implements relay.SinglePhase.
func (r *Resolver) Covers(q rule.Request) bool {
	single := r.config.SinglePhase
	return len(single.Methods) > 0 && rule.IsLogin(q, single.Mounts)
}

// LoginWith implements relay.SinglePhase. Vault says nothing of why it refused a
// factor that came with a login, so that every code may have been wrong.
func (r *Resolver) LoginWith(ctx context.Context, q rule.Request, once bool, send send) (*http.Response, mfa.Verdict) {
	s := r.begin(ctx, q, "", "")
	s.unproven = true
	if v, ok := s.silent(); ok {
		return nil, v
	}
	methods, _ := r.methods(r.config.SinglePhase.Methods)
	l := &singleLogin{stepUp: s, app: ctx, methods: methods, send: send, once: once}
	v := s.inTurn(ctx, l.run)
	return l.last, v
}

// A singleLogin is one login on its way through prompts and repetitions.
type singleLogin struct {
	*stepUp
	app     context.Context // of the request, without the prompt's deadline
	methods []mfa.Method
	send    send
	once    bool // the login can be sent only once
	newest
}

func (l *singleLogin) run(ctx context.Context) mfa.Verdict {
	reason := ""
	for attempt := 1; attempt <= l.attempts; attempt++ {
		sent, again, err := l.factors(ctx, l.methods, mfa.Method{}, question{attempt: attempt, reason: reason})
		if err != nil {
			return verdict(l.app, err)
		}
		if again != "" {
			reason = again
			continue
		}
		c := l.repeat(sent)
		if c.err != nil && !c.cut() {
			return verdict(l.app, c.err)
		}
		if c.resp != nil {
			l.replace(c.resp)
		}
		if v := l.judge(c, sent); v.Outcome != "" {
			return v
		}
		reason = wrongCode
	}
	return mfa.Verdict{Outcome: mfa.Rejected, Message: appRejected}
}

// repeat sends the login with its factors; from here only the app ends the wait.
func (l *singleLogin) repeat(sent factors) call {
	do := func(ctx context.Context) (*http.Response, error) { return l.send(ctx, sent.credentials, cache.Token{}) }
	if id(sent.rings) == "" {
		return timed(l.app, do)
	}
	return l.watch(l.app, sent.rings, do)
}

// judge reads Vault's answer: the verdict, or none where another code may help.
func (l *singleLogin) judge(c call, sent factors) mfa.Verdict {
	if c.cut() {
		return mfa.Verdict{Outcome: mfa.Timeout, Message: appCut}
	}
	if c.resp.StatusCode != http.StatusForbidden || !mfa.RefusedInLogin(keepBody(c.resp)) {
		// What else Vault has against it is not about the factor, and accepts none: a wrong
		// password is told before a junk code.
		l.answered = l.answered && c.ok()
		return mfa.Verdict{Outcome: mfa.Approved}
	}
	switch {
	case c.refusedPush(), !sent.typed():
		return mfa.Verdict{Outcome: mfa.Denied, Message: appPushRefused}
	case c.late():
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appTooLate}
	case l.once:
		return mfa.Verdict{Outcome: mfa.Rejected, Message: appRejected}
	}
	return mfa.Verdict{}
}
