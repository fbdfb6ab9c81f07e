package agent

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
)

// granted is the store of step-up tokens as one configuration sees it: a token
// that was made under other terms (a rule that had more policies or fewer
// factors, a longer max_ttl) is not there, and is forgotten when it is found. It
// implements stepup.Tokens.
type granted struct {
	*cache.Layered
	terms map[string]term // by rule
}

var _ stepup.Tokens = granted{}

// A term is what a rule wants of its tokens.
type term struct {
	grant string        // fingerprint of how they are made
	life  time.Duration // the longest that one is used
}

// defaultLife is the max_ttl of a configuration that has none.
const defaultLife = 15 * time.Minute

// terms are those of the rules of c.
func terms(c Config) map[string]term {
	all := make(map[string]term)
	for _, r := range c.Rules {
		life := cmp.Or(c.Cache.MaxTTL, defaultLife)
		for _, limit := range []time.Duration{r.Grant.MaxTTL, r.Grant.TTL} {
			if limit > 0 {
				life = min(life, limit)
			}
		}
		all[r.Name] = term{grant: fingerprint(r), life: life}
	}
	return all
}

// fingerprint stands for everything that a token of r owes its powers to, and for
// the factors that it cost.
func fingerprint(r rule.Rule) string {
	g := r.Grant
	text := fmt.Sprintf("%q %q %q %d %t %q", g.Kind, g.Path, g.Policies, g.NumUses, g.NoParent, r.Methods)
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// Get implements stepup.Tokens.
func (g granted) Get(ctx context.Context, k cache.Key) (cache.Token, error) {
	t, err := g.Layered.Get(ctx, k)
	return g.check(ctx, k, t, err)
}

// Take implements stepup.Tokens.
func (g granted) Take(ctx context.Context, k cache.Key) (cache.Token, error) {
	t, err := g.Layered.Take(ctx, k)
	return g.check(ctx, k, t, err)
}

// Put implements stepup.Tokens.
func (g granted) Put(ctx context.Context, k cache.Key, t cache.Token) error {
	t.Grant = g.terms[k.Rule].grant
	return g.Layered.Put(ctx, k, t)
}

func (g granted) check(ctx context.Context, k cache.Key, t cache.Token, err error) (cache.Token, error) {
	if err != nil {
		return t, err
	}
	want, ok := g.terms[k.Rule]
	if ok && t.Grant == want.grant && time.Now().Round(0).Before(t.Created.Add(want.life)) {
		return t, nil
	}
	_ = g.Layered.Delete(ctx, k) // it is not served either way
	return cache.Token{}, cache.ErrNotFound
}
