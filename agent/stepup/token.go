package stepup

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

const (
	// lookupLimit bounds the store on a request's way.
	lookupLimit = 3 * time.Second
	// slack is taken off a token's life, for the way to Vault and clocks that
	// differ a little.
	slack = 5 * time.Second
)

// withToken sends a request under a rule with a token or login grant for the
// first time: with the cached token of this caller, if there is one. A 403 with
// it is Vault's word unless the token turns out to be dead; then it is
// forgotten, and stepped up to once more.
func (r *Resolver) withToken(ctx context.Context, m rule.Match, own secret.Secret, send send) (*http.Response, mfa.Verdict, error) {
	if len(m.Kept) > 0 {
		return r.withKept(ctx, m.Kept, own, send)
	}
	s := r.begin(ctx, m.Request, m.Rule.Name, own)
	t, ok := s.usable(ctx, own)
	if !ok {
		if m.Rule.Grant.Eager {
			return s.eagerly(ctx, m, own, send)
		}
		resp, err := send(ctx, nil, cache.Token{})
		return resp, mfa.Verdict{}, err
	}
	resp, err := send(ctx, nil, t)
	if err != nil {
		return nil, mfa.Verdict{}, err
	}
	if resp.StatusCode != http.StatusForbidden || !s.dead(ctx, t.Secret) {
		s.record(audit.Cached, time.Since(s.started))
		return resp, mfa.Verdict{Outcome: mfa.Cached}, nil
	}
	s.discard(ctx, t)
	next, v := r.toToken(ctx, m, own, send)
	switch {
	case next != nil:
		_ = resp.Body.Close()
		return next, v, nil
	case v.Outcome == "":
		// The caller is dead, as its step-up token is. What Vault said was not about the
		// caller's own token, and must not be taken for it.
		_ = resp.Body.Close()
		s.bury(ctx)
		resp, err := send(ctx, nil, cache.Token{})
		return resp, mfa.Verdict{}, err
	}
	return resp, v, nil
}

// eagerly steps up before the first denial, when the caller is alive. Any other one
// gets Vault's own answer.
func (s *stepUp) eagerly(ctx context.Context, m rule.Match, own secret.Secret, send send) (*http.Response, mfa.Verdict, error) {
	if _, ok := s.proven(ctx, own); ok {
		m.Proven = true
		if resp, v := s.toToken(ctx, m, own, send); resp != nil || v.Outcome != "" {
			return resp, v, nil
		}
	}
	resp, err := send(ctx, nil, cache.Token{})
	return resp, mfa.Verdict{}, err
}

// discard removes a token that is dead. Looking that up takes its time: what another
// request has got in its place by then stays.
func (s *stepUp) discard(ctx context.Context, dead cache.Token) {
	if t, err := s.config.Tokens.Get(ctx, s.key); err != nil || t.Secret != dead.Secret {
		return
	}
	if err := s.config.Tokens.Delete(ctx, s.key); err != nil {
		s.config.Log.Warn("dead step-up token stays in the store", "rule", s.rule, "error", err)
	}
}

// withKept sends a request with the first token that is there under one of several
// rules, and with the caller's own where none is. No answer to it is a reason to ask.
func (r *Resolver) withKept(ctx context.Context, rules []rule.Match, own secret.Secret, send send) (*http.Response, mfa.Verdict, error) {
	for _, m := range rules {
		s := r.begin(ctx, m.Request, m.Rule.Name, own)
		t, ok := s.usable(ctx, own)
		if !ok {
			continue
		}
		resp, err := send(ctx, nil, t)
		if err != nil {
			return nil, mfa.Verdict{}, err
		}
		if resp.StatusCode != http.StatusForbidden || !s.dead(ctx, t.Secret) {
			s.record(audit.Cached, time.Since(s.started))
			return resp, mfa.Verdict{Outcome: mfa.Cached}, nil
		}
		_ = resp.Body.Close()
		s.discard(ctx, t)
	}
	resp, err := send(ctx, nil, cache.Token{})
	return resp, mfa.Verdict{}, err
}

// find asks the store, by its Get or its Take, for the token of this caller and rule.
func (s *stepUp) find(ctx context.Context, by func(context.Context, cache.Key) (cache.Token, error)) (cache.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	t, err := by(ctx, s.key)
	if err != nil && !errors.Is(err, cache.ErrNotFound) {
		s.config.Log.Warn("step-up token cannot be looked up", "rule", s.rule, "error", err)
	}
	return t, err
}

// lookedUp counts a search for a cached token.
func (s *stepUp) lookedUp(err error) {
	if s.config.Meter != nil {
		s.config.Meter.Lookup(err)
	}
}

// dead reports whether Vault does not know a step-up token. Where Vault cannot be
// asked, it is taken for alive: a 403 stands, or each ordinary denial would mean a
// prompt.
func (s *stepUp) dead(ctx context.Context, token secret.Secret) bool {
	return readLife(s.config.Vault.LookupSelf(ctx, token, s.key.Namespace)) == lifeDead
}

// toToken steps up to a token and sends the request with it. All requests of
// this caller under this rule share one flight. When the app leaves, the flight
// goes on until it is decided.
func (r *Resolver) toToken(ctx context.Context, m rule.Match, own secret.Secret, send send) (*http.Response, mfa.Verdict) {
	s := r.begin(ctx, m.Request, m.Rule.Name, own)
	if m.NoReplay {
		// Nothing was tried before, because it can be sent only once.
		if t, ok := s.usable(ctx, own); ok {
			return s.sendOnce(ctx, t, send)
		}
	}
	if !m.Proven {
		if v, ok := s.proven(ctx, own); !ok {
			return nil, v
		}
	}
	s.quiet = m.Rule.Silent
	for ctx.Err() == nil {
		if v, ok := s.silent(); ok {
			return nil, v
		}
		if v, ok := r.config.Ledger.cooled(s.turn(), s.started); ok {
			return nil, v
		}
		f := r.config.Ledger.join(s.key, func(ctx context.Context) mfa.Verdict {
			return s.fly(ctx, m.Rule, own)
		})
		if !r.await(ctx, f) {
			continue
		}
		if !f.verdict.OK() {
			return nil, f.verdict
		}
		t, err := r.config.Tokens.Take(ctx, s.key)
		if err != nil {
			continue // others used it up: with num_uses a token serves only so many
		}
		resp, err := send(ctx, nil, t)
		if err != nil {
			return nil, mfa.Verdict{Outcome: mfa.Unavailable, Message: vaultFailed(err)}
		}
		return resp, mfa.Verdict{Outcome: mfa.Approved}
	}
	return nil, mfa.Verdict{Outcome: mfa.Unavailable, Message: appCanceled}
}

// sendOnce sends a request that cannot be repeated with a cached token. One that
// turns out to be dead is forgotten for the next try.
func (s *stepUp) sendOnce(ctx context.Context, t cache.Token, send send) (*http.Response, mfa.Verdict) {
	resp, err := send(ctx, nil, t)
	if err != nil {
		return nil, mfa.Verdict{Outcome: mfa.Unavailable, Message: vaultFailed(err)}
	}
	if resp.StatusCode == http.StatusForbidden && s.dead(ctx, t.Secret) {
		s.discard(ctx, t)
	}
	s.record(audit.Cached, time.Since(s.started))
	return resp, mfa.Verdict{Outcome: mfa.Cached}
}

// fly is the way of one flight: it looks into the cache once more, because the
// flight before may have landed meanwhile, and then asks, mints or logs in.
func (s *stepUp) fly(ctx context.Context, r *rule.Rule, own secret.Secret) mfa.Verdict {
	if _, err := s.config.Tokens.Get(ctx, s.key); err == nil {
		return mfa.Verdict{Outcome: mfa.Approved}
	}
	s.record(audit.Challenge, 0)
	asking, cancel := context.WithDeadline(ctx, s.deadline)
	defer cancel()
	// A flight in another namespace may ask the same person at this moment.
	leave, v := s.enter(ctx, asking)
	if leave == nil {
		return v
	}
	defer leave()
	g := &tokenGrant{stepUp: s, flight: ctx, rule: r, own: own}
	step := g.mint
	if r.Grant.Kind == rule.LoginGrant {
		step = g.login
	}
	t, v := step(asking)
	if v.OK() {
		v = g.land(ctx, t, v)
	}
	return s.conclude(ctx, v)
}

// A tokenGrant is one flight on its way to a token.
type tokenGrant struct {
	*stepUp
	flight context.Context // without the prompt's deadline
	rule   *rule.Rule
	own    secret.Secret // the caller's token
}

// token reads the token out of the answer of a mint or login.
func (g *tokenGrant) token(resp *http.Response) (cache.Token, mfa.Verdict) {
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mfa.MaxBody))
	if err != nil {
		return cache.Token{}, mfa.Verdict{Outcome: mfa.Unavailable, Message: vaultFailed(err)}
	}
	auth, err := vault.ParseAuth(body)
	if err != nil {
		return cache.Token{}, mfa.Verdict{Outcome: mfa.Unavailable, Message: noToken(g.rule.Grant.Path)}
	}
	life := g.config.MaxTTL
	for _, limit := range []time.Duration{g.rule.Grant.MaxTTL, auth.TTL} {
		if limit > 0 {
			life = min(life, limit)
		}
	}
	now := time.Now().Round(0) // wall clock: the monotonic one stops while the machine sleeps
	t := cache.Token{
		Secret: auth.Token, Accessor: auth.Accessor, Created: now, Expires: now.Add(life - min(slack, life/10)),
		Uses: auth.Uses, Index: vault.Index(resp),
	}
	return t, mfa.Verdict{Outcome: mfa.Approved}
}
