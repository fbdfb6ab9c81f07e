package state

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
)

// maxCallers bounds what is remembered of callers; the oldest is forgotten first.
const maxCallers = 4096

// A Life is what Vault says of a token.
type Life int

// The lives of a token.
const (
	Unknown Life = 0 // Vault could not be asked, or its answer is not one of Vault's
	Dead    Life = 1 // junk, expired, revoked or used up
	Alive   Life = 2
	LastUse Life = 3 // alive, and the question has taken its last use
)

// A policy refuses a token that Vault knows with the text liveDenial. For a token that it
// does not know Vault has two errors, and OpenBao the bare text of deadDenial
// (vault/request_handling.go, CheckToken, in both).
const (
	liveDenial = "1 error occurred:\n\t* permission denied\n\n"
	deadDenial = "permission denied"
)

// ReadLife reads the answer of lookup-self. A token that may not look itself up, for want
// of the default policy, is alive: only the exact text of such a denial says so.
func ReadLife(info vault.TokenInfo, err error) Life {
	status, answered := errors.AsType[*vault.StatusError](err)
	switch {
	case err == nil && info.Uses < 0:
		return LastUse
	case err == nil:
		return Alive
	case !answered || status.Status != http.StatusForbidden:
		return Unknown
	case ProvesLife(status.Errors):
		return Alive
	case slices.Equal(status.Errors, []string{deadDenial}), strings.Contains(strings.Join(status.Errors, " "), "invalid token"):
		return Dead
	}
	return Unknown // the page of a proxy, say
}

// ProvesLife reports whether the errors of a 403 prove that Vault knows the token.
func ProvesLife(texts []string) bool {
	return slices.Equal(texts, []string{liveDenial}) || mfa.DeniedByPolicy(texts)
}

// A CallerKey names one caller at one Vault, in one namespace: a token of a child
// namespace is nothing to its parent.
type CallerKey struct{ Vault, Namespace, Identity string }

// CallerOf is the caller that a step-up token is for.
func CallerOf(k cache.Key) CallerKey {
	return CallerKey{Vault: k.Vault, Namespace: k.Namespace, Identity: k.Identity}
}

// A caller is one that Vault knew when it was asked last.
type caller struct {
	seen     time.Time // wall and monotonic clock; zero means that it must be asked about
	accessor string    // of its own token; "" when unknown, and for a batch token
}

// Callers remembers which callers are alive, across requests and reloads. The zero value
// is ready.
type Callers struct {
	mu     sync.Mutex // never held while anything is waited for
	known  map[CallerKey]caller
	order  []CallerKey // oldest first
	checks map[CallerKey]*lifeCheck
}

// A lifeCheck is one lookup that is under way. Other requests of the same caller wait for
// it.
type lifeCheck struct {
	done  chan struct{} // closed when what follows is set
	life  Life
	err   error // why the life is unknown
	own   bool  // the result holds for the request that asked only
	stale bool  // a revocation was seen meanwhile, which may be newer than the answer
}

// A Lookup asks Vault about a token.
type Lookup struct {
	Ask func() (vault.TokenInfo, error)
	// MaxAge is how old an answer may be that is remembered; zero wants a new one.
	MaxAge time.Duration
}

// Check says whether the caller is alive, from memory or by one lookup, however many
// requests want to know. It blocks until that is answered or ctx ends.
func (c *Callers) Check(ctx context.Context, k CallerKey, l Lookup) (Life, error) {
	for {
		check, ours := c.begin(k, l.MaxAge)
		if check == nil {
			return Alive, nil
		}
		if ours {
			c.run(ctx, k, check, l.Ask)
			if check.stale && check.life == Alive && ctx.Err() == nil {
				continue
			}
			return check.life, check.err
		}
		select {
		case <-check.done:
		case <-ctx.Done():
			return Unknown, ctx.Err()
		}
		if !check.own && !check.stale {
			return check.life, check.err
		}
	}
}

// begin joins the lookup of k or starts one, which is then ours; nil means that the caller
// was alive a moment ago.
func (c *Callers) begin(k CallerKey, maxAge time.Duration) (check *lifeCheck, ours bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if within(c.known[k].seen, maxAge) {
		return nil, false
	}
	if running, ok := c.checks[k]; ok {
		return running, false
	}
	check = &lifeCheck{done: make(chan struct{}), own: true}
	if c.checks == nil {
		c.checks = make(map[CallerKey]*lifeCheck)
	}
	c.checks[k] = check
	return check, true
}

// run asks, and keeps the answer unless callers were doubted meanwhile: the revocation may
// be newer than the answer.
func (c *Callers) run(ctx context.Context, k CallerKey, check *lifeCheck, ask func() (vault.TokenInfo, error)) {
	asked := time.Now()
	var info vault.TokenInfo
	defer func() { // a panic of ask must not leave the others waiting
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.checks[k] == check {
			delete(c.checks, k)
			c.keepLocked(k, caller{seen: asked, accessor: info.Accessor}, check.life)
		} else {
			check.stale = true
		}
		close(check.done)
	}()
	var err error
	info, err = ask()
	if check.life = ReadLife(info, err); check.life == Unknown {
		check.err = err
	}
	// What ended with the request that asked says nothing to the others, and a last use
	// serves one request.
	check.own = ctx.Err() != nil || check.life == LastUse
}

func (c *Callers) keepLocked(k CallerKey, now caller, l Life) {
	switch l {
	case Dead, LastUse:
		if old, ok := c.known[k]; ok {
			c.known[k] = caller{accessor: old.accessor}
		}
		return
	case Unknown:
		return
	}
	if c.known == nil {
		c.known = make(map[CallerKey]caller)
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

// WasAlive reports whether the caller gave a sign of life within d.
func (c *Callers) WasAlive(k CallerKey, d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return within(c.known[k].seen, d)
}

// Accessor is that of the caller's own token, as far as it is known.
func (c *Callers) Accessor(k CallerKey) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[k].accessor
}

// Doubt has every caller of a vault looked up before the next use of a cached token, and
// returns the identities that have accessor, if that is not "". Children of a revoked
// token die with it, and are callers like others.
func (c *Callers) Doubt(vaultKey, accessor string) (identities []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, known := range c.known {
		if k.Vault != vaultKey {
			continue
		}
		if accessor != "" && known.accessor == accessor {
			identities = append(identities, k.Identity)
		}
		known.seen = time.Time{}
		c.known[k] = known
	}
	for k := range c.checks {
		if k.Vault == vaultKey {
			delete(c.checks, k) // its answer may be older than the revocation
		}
	}
	slices.Sort(identities)
	return slices.Compact(identities)
}

// within reports whether t is less than d ago, by both clocks: the monotonic one stands
// still while the machine sleeps, and the wall clock may be set back.
func within(t time.Time, d time.Duration) bool {
	if t.IsZero() {
		return false
	}
	now := time.Now()
	monotonic, wall := now.Sub(t), now.Round(0).Sub(t.Round(0))
	return monotonic >= 0 && monotonic < d && wall >= 0 && wall < d
}
