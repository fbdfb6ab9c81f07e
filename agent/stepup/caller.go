package stepup

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

const (
	// aliveFor is how long a caller counts as alive without being looked up again. A
	// token that was revoked elsewhere, or has expired, serves no longer than that.
	aliveFor = 5 * time.Second
	// aliveUnasked is how long a cached token serves after the last sign of life while
	// Vault does not answer lookup-self. Its short outages must not turn every request
	// into a denial, and long ones must not keep a dead caller alive.
	aliveUnasked = 30 * time.Second
	// maxCallers bounds what is remembered of callers; the oldest is forgotten first.
	maxCallers = 4096
)

// A life is what Vault says of a token.
type life int

const (
	lifeUnknown life = 0 // Vault could not be asked, or its answer is not one of Vault's
	lifeDead    life = 1 // junk, expired, revoked or used up
	lifeAlive   life = 2
	lifeLast    life = 3 // alive, and the question has taken its last use
)

// liveDenial is how a policy refuses a token that Vault knows. For one that it does
// not know Vault has two errors, and OpenBao the bare text of deadDenial
// (vault/request_handling.go, CheckToken, in both).
const (
	liveDenial = "1 error occurred:\n\t* permission denied\n\n"
	deadDenial = "permission denied"
)

// readLife reads the answer of lookup-self. A token that may not look itself up, for
// want of the default policy, is alive: only the exact text of such a denial says so.
func readLife(info vault.TokenInfo, err error) life {
	status, answered := errors.AsType[*vault.StatusError](err)
	switch {
	case err == nil && info.Uses < 0:
		return lifeLast
	case err == nil:
		return lifeAlive
	case !answered || status.Status != http.StatusForbidden:
		return lifeUnknown
	case deniedAlive(status.Errors):
		return lifeAlive
	case slices.Equal(status.Errors, []string{deadDenial}), strings.Contains(strings.Join(status.Errors, " "), "invalid token"):
		return lifeDead
	}
	return lifeUnknown // the page of a proxy, say
}

// deniedAlive reports whether the errors of a 403 prove that Vault knows the token.
func deniedAlive(texts []string) bool {
	return slices.Equal(texts, []string{liveDenial}) || mfa.DeniedByPolicy(texts)
}

// A callerKey names one caller at one Vault, in one namespace: a token of a child
// namespace is nothing to its parent.
type callerKey struct{ Vault, Namespace, Identity string }

// A caller is one that Vault knew when it was asked last.
type caller struct {
	seen     time.Time // wall and monotonic clock; zero means that it must be asked about
	accessor string    // of its own token; "" when unknown, and for a batch token
}

// callers remembers which callers are alive, across requests and reloads. The zero
// value is ready.
type callers struct {
	mu     sync.Mutex // never held while anything is waited for
	known  map[callerKey]caller
	order  []callerKey // oldest first
	asking map[callerKey]*lifeCheck
}

// A lifeCheck is one lookup that is under way. Other requests of the same caller
// wait for it.
type lifeCheck struct {
	done  chan struct{} // closed when what follows is set
	life  life
	err   error // why the life is unknown
	again bool  // the result holds for the request that asked only
	stale bool  // a revocation went by meanwhile, which may be newer than the answer
}

// A lookup asks Vault about a token.
type lookup struct {
	ask func() (vault.TokenInfo, error)
	// within is how old an answer may be that is remembered; zero wants a new one.
	within time.Duration
}

// check says whether the caller is alive, from memory or by one lookup, however many
// requests want to know. It blocks until that is answered or ctx ends.
func (c *callers) check(ctx context.Context, k callerKey, l lookup) (life, error) {
	for {
		q, ours := c.begin(k, l.within)
		if q == nil {
			return lifeAlive, nil
		}
		if ours {
			c.run(ctx, k, q, l.ask)
			if q.stale && q.life == lifeAlive && ctx.Err() == nil {
				continue
			}
			return q.life, q.err
		}
		select {
		case <-q.done:
		case <-ctx.Done():
			return lifeUnknown, ctx.Err()
		}
		if !q.again && !q.stale {
			return q.life, q.err
		}
	}
}

// begin joins the lookup of k or starts one, which is then ours; nil means that the
// caller was alive a moment ago.
func (c *callers) begin(k callerKey, within time.Duration) (q *lifeCheck, ours bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if lately(c.known[k].seen, within) {
		return nil, false
	}
	if q, ok := c.asking[k]; ok {
		return q, false
	}
	q = &lifeCheck{done: make(chan struct{}), again: true}
	if c.asking == nil {
		c.asking = make(map[callerKey]*lifeCheck)
	}
	c.asking[k] = q
	return q, true
}

// run asks, and keeps the answer unless callers were forgotten meanwhile: the
// revocation may be newer than the answer.
func (c *callers) run(ctx context.Context, k callerKey, q *lifeCheck, ask func() (vault.TokenInfo, error)) {
	asked := time.Now()
	var info vault.TokenInfo
	defer func() { // a panic of ask must not leave the others waiting
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.asking[k] == q {
			delete(c.asking, k)
			c.keepLocked(k, caller{seen: asked, accessor: info.Accessor}, q.life)
		} else {
			q.stale = true
		}
		close(q.done)
	}()
	var err error
	info, err = ask()
	if q.life = readLife(info, err); q.life == lifeUnknown {
		q.err = err
	}
	// What ended with the request that asked says nothing to the others, and a last
	// use serves one request.
	q.again = ctx.Err() != nil || q.life == lifeLast
}

func (c *callers) keepLocked(k callerKey, now caller, l life) {
	switch l {
	case lifeDead, lifeLast:
		if old, ok := c.known[k]; ok {
			c.known[k] = caller{accessor: old.accessor}
		}
		return
	case lifeUnknown:
		return
	}
	if c.known == nil {
		c.known = make(map[callerKey]caller)
	}
	old, ok := c.known[k]
	if !ok {
		c.order = append(c.order, k)
	}
	if now.accessor == "" {
		now.accessor = old.accessor
	}
	c.known[k] = now
	if len(c.order) > maxCallers {
		delete(c.known, c.order[0])
		c.order = c.order[1:]
	}
}

// wasAlive reports whether the caller gave a sign of life within d.
func (c *callers) wasAlive(k callerKey, d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return lately(c.known[k].seen, d)
}

// accessor is that of the caller's own token, as far as it is known.
func (c *callers) accessor(k callerKey) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[k].accessor
}

// doubt makes every caller of a vault one that has to be looked up before the next
// use of a cached token, and returns the identities that have accessor, if that is
// not "". Children of a revoked token die with it, and are callers like others.
func (c *callers) doubt(vault, accessor string) (identities []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, known := range c.known {
		if k.Vault != vault {
			continue
		}
		if accessor != "" && known.accessor == accessor {
			identities = append(identities, k.Identity)
		}
		known.seen = time.Time{}
		c.known[k] = known
	}
	for k := range c.asking {
		if k.Vault == vault {
			delete(c.asking, k) // its answer may be older than the revocation
		}
	}
	slices.Sort(identities)
	return slices.Compact(identities)
}

// lately reports whether t is less than d ago, by both clocks: the monotonic one
// stands still while the machine sleeps, and the wall clock may be set back.
func lately(t time.Time, d time.Duration) bool {
	if t.IsZero() {
		return false
	}
	now := time.Now()
	monotonic, wall := now.Sub(t), now.Round(0).Sub(t.Round(0))
	return monotonic >= 0 && monotonic < d && wall >= 0 && wall < d
}

// A Caller names the caller whose step-up tokens are to end.
type Caller struct {
	Vault    string // as in cache.Key
	Identity string // HMAC of its own token; "" when only the accessor is known
	Accessor string // of its own token; "" when unknown
}

// callerKey is the caller of a request. Vault takes the namespace into account, so
// what is known holds for that one only.
func (s *stepUp) callerKey() callerKey {
	return callerKey{Vault: s.key.Vault, Namespace: s.key.Namespace, Identity: s.key.Identity}
}

// caller says whether the caller's own token is alive: what Vault said within that
// time, or says now.
func (s *stepUp) caller(ctx context.Context, own secret.Secret, within time.Duration) (life, error) {
	ask := func() (vault.TokenInfo, error) { return s.config.Vault.LookupSelf(ctx, own, s.key.Namespace) }
	return s.config.Ledger.callers.check(ctx, s.callerKey(), lookup{ask: ask, within: within})
}

// proven reports whether Vault knows the caller. It is asked before every question
// that no answer of Vault's has shown to be about a live caller: a login grant needs
// nothing of the caller's token, so otherwise any string would make stepup ask, and
// get the secret. A question may cost a code, so no remembered answer will do: a token
// that was revoked a second ago is not asked about either. Without an outcome, the
// verdict leaves Vault's own answer alone.
func (s *stepUp) proven(ctx context.Context, own secret.Secret) (mfa.Verdict, bool) {
	switch l, err := s.caller(ctx, own, 0); {
	case l == lifeAlive:
		return mfa.Verdict{}, true
	case l == lifeUnknown && ctx.Err() == nil:
		s.config.Log.Warn("caller cannot be looked up", "vault", s.config.VaultName, "error", err)
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: callerUnknown(err)}, false
	}
	return mfa.Verdict{}, false
}

// usable returns the cached token of this caller for this rule, and counts its use.
// It serves only a caller that Vault knows: after the death of the caller's own
// token, the tokens that were made for it end. While Vault cannot be asked, a caller
// that was alive half a minute ago still is; any other one is sent to Vault with its
// own token, whose answer is then the truth.
func (s *stepUp) usable(ctx context.Context, own secret.Secret) (cache.Token, bool) {
	_, err := s.find(ctx, s.config.Tokens.Get)
	if err != nil {
		s.lookedUp(err)
		return cache.Token{}, false
	}
	switch l, _ := s.caller(ctx, own, aliveFor); {
	case l == lifeDead:
		s.bury(ctx)
		err = cache.ErrNotFound
	case l == lifeUnknown && !s.config.Ledger.callers.wasAlive(s.callerKey(), aliveUnasked):
		err = cache.ErrNotFound
	}
	var t cache.Token
	if err == nil {
		t, err = s.find(ctx, s.config.Tokens.Take)
	}
	s.lookedUp(err)
	return t, err == nil
}

// bury ends the step-up tokens of a dead caller, under all rules and in all
// namespaces. Vault is told in the background.
func (s *stepUp) bury(ctx context.Context) {
	s.config.Log.Info("caller is dead, its step-up tokens end", "vault", s.config.VaultName, "caller", cache.Short(s.key.Identity))
	if s.config.End == nil {
		_ = s.config.Tokens.Delete(ctx, s.key)
		return
	}
	s.config.End(Caller{Vault: s.key.Vault, Identity: s.key.Identity})
}

// land keeps a token that was just made, unless its caller has died meanwhile: a
// person may have taken a minute. Minting with the caller's token has proven it; a
// login needed nothing of it. With the token goes the accessor of its caller, so that
// a revocation by accessor finds it after a restart, too.
func (g *tokenGrant) land(ctx context.Context, t cache.Token, v mfa.Verdict) mfa.Verdict {
	l, err := g.caller(ctx, g.own, aliveFor)
	t.Owner = g.config.Ledger.callers.accessor(g.callerKey())
	if err := g.config.Tokens.Put(ctx, g.key, t); err != nil {
		g.config.Log.Warn("step-up token is kept in memory only", "rule", g.stepUp.rule, "error", err)
	}
	if l == lifeAlive {
		// From memory, unless a revocation went by before the token was in the store.
		l, err = g.caller(ctx, g.own, aliveFor)
	}
	switch {
	case l == lifeDead:
		g.bury(ctx)
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appDeadCaller}
	case l == lifeUnknown && g.rule.Grant.Kind == rule.LoginGrant:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: callerUnknown(err)}
	}
	return v
}

// Revoked implements relay.Revocations: what was made for the revoked token ends at
// once, and every other caller of this vault has to show anew that it is alive.
func (r *Resolver) Revoked(token secret.Secret, accessor string) {
	vault := r.vaultKey()
	identities := r.config.Ledger.callers.doubt(vault, accessor)
	if token != "" {
		identities = append(identities, r.config.Identify(token))
	}
	if r.config.End == nil {
		return
	}
	for _, identity := range identities {
		r.config.End(Caller{Vault: vault, Identity: identity})
	}
	if accessor != "" {
		r.config.End(Caller{Vault: vault, Accessor: accessor})
	}
}

// vaultKey is the vault in every key: a token is never sent to another address.
func (r *Resolver) vaultKey() string { return r.config.VaultName + " " + r.config.Address }
