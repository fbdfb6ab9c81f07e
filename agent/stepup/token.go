package stepup

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

const (
	// lookupLimit bounds the store on a request's way.
	lookupLimit = 3 * time.Second
	// callerMaxAge is how long a caller counts as alive without being looked up again. A
	// token that was revoked elsewhere, or has expired, serves no longer than that.
	callerMaxAge = 5 * time.Second
	// callerMaxOutage is how long a cached token serves after the last sign of life while
	// Vault does not answer lookup-self. Its short outages must not turn every request into
	// a denial, and long ones must not keep a dead caller alive.
	callerMaxOutage = 30 * time.Second
)

// A tokenRequest is one request under a rule with a token or login grant: it is sent with a
// step-up token in the place of the caller's own.
type tokenRequest struct {
	*factor.StepUp
	request
	made   bool // that has made one: its question was about this request
	barred bool // a token that is there must not serve: there was no question about this request
}

func newTokenRequest(ctx context.Context, q request) *tokenRequest {
	return &tokenRequest{StepUp: q.config.begin(ctx, q.match, q.token), request: q}
}

// sendOwn sends the request with the caller's own token.
func (q *tokenRequest) sendOwn(ctx context.Context) (Decision, error) {
	resp, err := q.send(ctx, nil, cache.Token{})
	return PassThrough{resp}, err
}

// A TokenUse is a request that may be sent with a step-up token that is there. Most requests
// under a rule are one, so it is small, and nothing of a step-up is made before [TokenUse.First].
type TokenUse struct {
	Token cache.Token

	start  factor.Start
	config *Config
	rule   *rule.Rule
	caller secret.Secret
}

// Cached returns the use of the token that is there for a request on a rule's path. ok is
// false where [Resolver.First] has more to do than to send the request with it: the caller is
// not known to be alive, or the token serves a number of requests.
func (r *Resolver) Cached(ctx context.Context, m rule.Match, token secret.Secret) (use *TokenUse, ok bool) {
	c := &r.config
	s := c.Start(ctx, m.Request, m.Rule.Name, token)
	if !s.Bind(m.Rule.Grant.Scope) || m.Rule.Confirm {
		return nil, false
	}
	t, ok := c.Tokens.Known(s.Key)
	if ok && !c.State.Callers.WasAlive(state.CallerOf(s.Key), callerMaxAge) {
		if life, _ := s.Begin().CallerLife(ctx, token, callerMaxAge); life != state.Alive {
			return nil, false
		}
		t, ok = c.Tokens.Known(s.Key) // looking the caller up takes its time, in which its tokens may have ended
	}
	if !ok || t.Uses > 0 {
		return nil, false
	}
	c.Meter.Lookup(nil)
	return &TokenUse{Token: t, start: s, config: c, rule: m.Rule, caller: token}, true
}

// Served notes that the app gets the answer, which is no refusal.
func (u *TokenUse) Served() {
	u.start.RecordUse()
	if u.config.Audit != nil {
		u.start.Begin().Record(audit.Cached, time.Since(u.start.Time))
	}
	u.config.Meter.Decided(u.rule, Answered{nil, mfa.Cached})
}

// First goes on where the answer may be a refusal. It is [Resolver.First], but for the token:
// send sends the request with that at first.
func (u *TokenUse) First(ctx context.Context, m rule.Match, send Send) (Decision, error) {
	q := newTokenRequest(ctx, request{config: u.config, match: m, token: u.caller, send: send})
	q.Started = u.start.Time
	d, err := q.firstWithThis(ctx, u.Token)
	if err == nil {
		u.config.Meter.Decided(u.rule, d)
	}
	return d, err
}

// firstWithToken sends a request for the first time: with the cached token of this caller, if
// there is one. A 403 with it is Vault's word unless the token turns out to be dead; then it is
// discarded, and a new one is acquired once.
func (r request) firstWithToken(ctx context.Context) (Decision, error) {
	if len(r.match.Kept) > 0 {
		return r.firstWithKept(ctx)
	}
	q := newTokenRequest(ctx, r)
	if v := q.confirm(ctx); !v.OK() {
		return q.refusedUse(ctx, v)
	}
	t, ok := q.usable(ctx)
	switch {
	case ok:
		return q.firstWithThis(ctx, t)
	case r.match.Rule.Grant.Eager:
		return q.eagerly(ctx)
	}
	return q.sendOwn(ctx)
}

// firstWithThis sends a request for the first time, with the cached token t.
func (q *tokenRequest) firstWithThis(ctx context.Context, t cache.Token) (Decision, error) {
	resp, used, err := q.sendWith(ctx, t)
	switch {
	case err != nil:
		return nil, err
	case used:
		return Answered{resp, mfa.Cached}, nil
	}
	switch next := q.sendWithNewToken(ctx).(type) {
	case Answered:
		_ = resp.Body.Close()
		return next, nil
	case Refused:
		next.Response = resp
		return next, nil
	}
	// The caller is dead, as its step-up token is. Vault's answer was not about the caller's
	// own token, and must not be taken for it.
	_ = resp.Body.Close()
	q.endCaller()
	return q.sendOwn(ctx)
}

// sendCached sends the request with the cached token, if that may be used. A response without
// used is a refusal for want of a token that is alive.
func (q *tokenRequest) sendCached(ctx context.Context) (resp *http.Response, used bool, err error) {
	t, ok := q.usable(ctx)
	if !ok {
		return nil, false, nil
	}
	return q.sendWith(ctx, t)
}

// sendWith is sendCached with the token t.
func (q *tokenRequest) sendWith(ctx context.Context, t cache.Token) (resp *http.Response, used bool, err error) {
	if resp, err = q.send(ctx, nil, t); err != nil {
		return nil, false, err
	}
	if resp.StatusCode == http.StatusForbidden && q.Dead(ctx, t.Secret) {
		q.discard(ctx, t)
		return resp, false, nil
	}
	if t.For != "" {
		state.WatchAnswer(resp, func(kept bool) {
			if !kept {
				q.endToken(t)
			}
		})
	}
	q.served()
	return resp, true, nil
}

// served notes that a token that was there has served the request.
func (q *tokenRequest) served() {
	q.Used()
	q.Record(audit.Cached, time.Since(q.Started))
}

// firstWithKept sends a request with the first token that is there under one of the rules of
// match.Kept, and with the caller's own where none is. No answer to it is a reason to ask.
func (r request) firstWithKept(ctx context.Context) (Decision, error) {
	for _, kept := range r.match.Kept {
		q := r
		q.match = kept
		resp, used, err := newTokenRequest(ctx, q).sendCached(ctx)
		switch {
		case err != nil:
			return nil, err
		case used:
			return Answered{resp, mfa.Cached}, nil
		case resp != nil:
			_ = resp.Body.Close()
		}
	}
	return newTokenRequest(ctx, r).sendOwn(ctx)
}

// eagerly acquires a token before the first denial, when the caller is alive. Any other one
// gets Vault's own answer.
func (q *tokenRequest) eagerly(ctx context.Context) (Decision, error) {
	if _, ok := q.Proven(ctx, q.token); ok {
		q.match.Proven = true
		d := q.sendWithNewToken(ctx)
		if _, none := d.(PassThrough); !none {
			return d, nil
		}
	}
	return q.sendOwn(ctx)
}

// usable returns the cached token of this caller for this rule, and counts its use. It serves
// only a caller that Vault knows: after the death of the caller's own token, the tokens that
// were made for it end. While Vault cannot be asked, a caller that was alive half a minute ago
// still is; any other one is sent to Vault with its own token, whose answer is then the truth.
func (q *tokenRequest) usable(ctx context.Context) (cache.Token, bool) {
	err := cache.ErrNotFound
	if !q.Unbound && !q.barred {
		_, err = q.find(ctx, q.config.Tokens.Get)
	}
	if err != nil {
		q.config.Meter.Lookup(err)
		return cache.Token{}, false
	}
	switch life, _ := q.CallerLife(ctx, q.token, callerMaxAge); {
	case life == state.Dead:
		q.endCaller()
		err = cache.ErrNotFound
	case life == state.Unknown && !q.Config.State.Callers.WasAlive(q.CallerKey(), callerMaxOutage):
		err = cache.ErrNotFound
	}
	var t cache.Token
	if err == nil {
		t, err = q.find(ctx, q.config.Tokens.Take)
	}
	q.config.Meter.Lookup(err)
	return t, err == nil
}

// find asks the store, by its Get or its Take, for the token of this caller and rule.
func (q *tokenRequest) find(ctx context.Context, by func(context.Context, cache.Key) (cache.Token, error)) (cache.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	t, err := by(ctx, q.Key)
	if err == nil && !q.maybeFor(t) {
		return cache.Token{}, cache.ErrNotFound
	}
	if err != nil && !errors.Is(err, cache.ErrNotFound) {
		q.Config.Log.Warn("step-up token cannot be looked up", "rule", q.Rule, "error", err)
	}
	return t, err
}

// maybeFor reports whether a token that is there may serve this request. One that is for one
// request alone is not there for any other.
func (q *tokenRequest) maybeFor(t cache.Token) bool {
	return t.For == "" || !q.match.Preflight && state.IsBehindLook(t.For, q.Process(), q.Request.Path)
}

// discard removes a token that is dead. Looking that up takes its time: what another request
// has got in its place by then stays.
func (q *tokenRequest) discard(ctx context.Context, dead cache.Token) {
	if t, err := q.config.Tokens.Get(ctx, q.Key); err != nil || t.Secret != dead.Secret {
		return
	}
	if err := q.config.Tokens.Delete(ctx, q.Key); err != nil {
		q.Config.Log.Warn("dead step-up token stays in the store", "rule", q.Rule, "error", err)
	}
}

// endCaller ends the step-up tokens of a dead caller, under all rules and in all namespaces.
// Vault is told in the background.
func (q *tokenRequest) endCaller() {
	q.Config.Log.Info("caller is dead, its step-up tokens end", "vault", q.Config.VaultName, "caller", cache.Short(q.Key.Identity))
	q.config.End(Caller{Vault: q.Key.Vault, Identity: q.Key.Identity})
}

// sendWithNewToken gets a step-up token and sends the request with it. All requests of this caller
// under this rule share one acquisition. When the app leaves, that goes on until it is decided.
func (r request) sendWithNewToken(ctx context.Context) Decision {
	q := newTokenRequest(ctx, r)
	if q.match.NoReplay {
		// Nothing was tried before, because it can be sent only once.
		if v := q.confirm(ctx); !v.OK() {
			return Refused{nil, v}
		}
		resp, used, err := q.sendCached(ctx)
		switch {
		case err != nil:
			return Refused{nil, factor.Unreached(err)}
		case resp != nil:
			if !used { // the next request gets another token
				q.Record(audit.Cached, time.Since(q.Started))
			}
			return Answered{resp, mfa.Cached}
		}
	}
	if !q.match.Proven {
		if v, ok := q.Proven(ctx, q.token); !ok {
			return decide(nil, v)
		}
	}
	for ctx.Err() == nil {
		running, v, ok := q.acquisition(ctx)
		if !ok {
			continue
		}
		if v.OK() && q.confirms() && !q.made {
			v = q.confirmed(ctx) // the question was about another request
		}
		if !v.OK() {
			if running != nil {
				q.Config.State.Acquisitions.Leave(running, false)
			}
			return Refused{nil, v}
		}
		if running.Once != nil {
			if d, sent := q.sendOnce(ctx, running); sent {
				return d
			}
			continue
		}
		t, err := q.find(ctx, q.config.Tokens.Take)
		if err != nil {
			continue // others used it up: with num_uses a token serves only so many
		}
		resp, err := q.send(ctx, nil, t)
		if err != nil {
			return Refused{nil, factor.Unreached(err)}
		}
		q.Used()
		return Answered{resp, mfa.Approved}
	}
	return Refused{nil, factor.Canceled()}
}

// sendOnce sends the request with the token of an acquisition that it has waited for. ok is
// false where others have used that up.
func (q *tokenRequest) sendOnce(ctx context.Context, running *state.Acquisition) (d Decision, ok bool) {
	leave := func(kept bool) { q.Config.State.Acquisitions.Leave(running, kept) }
	t, ok := q.Config.State.Acquisitions.Take(running)
	if !ok {
		leave(false)
		return nil, false
	}
	resp, err := q.send(ctx, nil, t)
	if err != nil {
		leave(false)
		return Refused{nil, factor.Unreached(err)}, true
	}
	if q.match.Preflight && q.keepBehindLook(ctx, running, resp, t) {
		leave(true)
	} else {
		state.WatchAnswer(resp, leave)
	}
	return Answered{resp, mfa.Approved}, true
}

// acquisition joins the acquisition of this caller and rule, or starts it, and waits until it
// is decided; ok is false when ctx ended before. A prompt that must not be shown decides it:
// then there is none. One with a Once wants a Leave.
func (q *tokenRequest) acquisition(ctx context.Context) (running *state.Acquisition, v mfa.Verdict, ok bool) {
	if v, ok := q.Muted(); ok {
		return nil, v, true
	}
	if v, ok := q.Cooldown(); ok {
		return nil, v, true
	}
	running, _ = q.Config.State.Acquisitions.Join(state.Key{Key: q.Key}, q.acquire)
	defer q.config.Meter.Waiting(ctx)()
	select {
	case <-running.Done:
		return running, running.Verdict, true
	case <-ctx.Done():
		q.Config.State.Acquisitions.Leave(running, false)
		return nil, mfa.Verdict{}, false
	}
}

// acquire looks into the cache once more, because the acquisition before may have ended
// meanwhile, and then asks, mints or logs in. ctx is that of the acquisition.
func (q *tokenRequest) acquire(ctx context.Context, running *state.Acquisition) mfa.Verdict {
	if _, err := q.find(ctx, q.config.Tokens.Get); err == nil {
		return factor.Approved()
	}
	q.Challenged, q.OutlivesApp = false, true
	// An acquisition in another namespace may ask the same person at this moment.
	return q.InTurn(ctx, func() mfa.Verdict {
		get := q.mint
		if q.match.Rule.Grant.Kind == rule.LoginGrant {
			get = q.login
		}
		resp, v := get(ctx)
		if !v.OK() {
			if resp != nil {
				_ = resp.Body.Close()
			}
			return v
		}
		t, v := q.readToken(resp)
		if v.OK() {
			v = q.keep(ctx, t, v)
			if ctx.Err() != nil && q.Keep == prompt.KeepOnce { // a lock, which would not find it
				v = state.Canceled()
			}
			q.keepOnce(running, t, v)
		}
		return v
	})
}

// keep stores a token that was just made, unless its caller has died meanwhile: a person may
// have taken a minute. Minting with the caller's token has proven it; a login needed nothing of
// it. With the token goes the accessor of its caller, so that a revocation by accessor finds it
// after a restart, too.
func (q *tokenRequest) keep(ctx context.Context, t cache.Token, v mfa.Verdict) mfa.Verdict {
	life, err := q.CallerLife(ctx, q.token, callerMaxAge)
	t.Owner = q.Config.State.Callers.Accessor(q.CallerKey())
	t.Bound, q.made = q.Bound, true
	q.Made()
	if q.Keep != prompt.KeepOnce {
		if err := q.config.Tokens.Put(ctx, q.Key, t); err != nil {
			q.Config.Log.Warn("step-up token is kept in memory only", "rule", q.Rule, "error", err)
		}
	}
	if life == state.Alive {
		// From memory, unless a revocation was seen before the token was in the store.
		life, err = q.CallerLife(ctx, q.token, callerMaxAge)
	}
	switch {
	case life == state.Dead:
		q.endCaller()
		return factor.Unavailable(deadCaller)
	case life == state.Unknown && q.match.Rule.Grant.Kind == rule.LoginGrant:
		return factor.CallerUnknown(err)
	}
	return v
}

const deadCaller = "stepup: vault does not know your token; log in again"

// obtain gets the token before any request needs it.
func (q *tokenRequest) obtain(ctx context.Context) mfa.Verdict {
	if q.Unbound {
		return factor.Unavailable("stepup: which terminal asks cannot be told, and the rule's step-ups are for one terminal each")
	}
	// Get, not Take: a token that serves one request is left for that. Nor is such a token
	// looked up, which would be one of its uses.
	t, err := q.find(ctx, q.config.Tokens.Get)
	if v, ok := q.Proven(ctx, q.token); !ok {
		if v.Outcome == "" && err == nil {
			q.endCaller()
		}
		return cmp.Or(v, factor.Unavailable(deadCaller))
	}
	if err == nil {
		if t.Uses > 0 || !q.Dead(ctx, t.Secret) {
			return mfa.Verdict{Outcome: mfa.Cached}
		}
		q.discard(ctx, t)
	}
	running, v, ok := q.acquisition(ctx)
	switch {
	case !ok:
		return factor.Canceled()
	case running == nil:
		return v
	}
	q.Config.State.Acquisitions.Leave(running, false)
	if running.Once != nil { // the question was about a request
		return factor.Unavailable("stepup: the step-up was allowed for one request alone; run it again")
	}
	return v
}
