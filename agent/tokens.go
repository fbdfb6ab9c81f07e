package agent

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cache"
)

// identifyLimit bounds what a start waits for the keyring.
const identifyLimit = 4 * time.Second

// tokens is the store of step-up tokens: memory, with the keyring behind it
// where the configuration wants it and the machine has one.
type tokens struct {
	*cache.Layered
	keyring bool
}

// identify finds the key by which callers are told apart. It is kept in the
// keyring, so that a token that was kept there is found after a restart; without
// a keyring there is nothing to find, and a new key does.
func (a *Agent) identify(ctx context.Context) {
	if !a.config.Cache.Keyring || a.options.Ring == nil {
		a.identity = cache.RandomIdentifier()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, identifyLimit)
	defer cancel()
	identity, state := cache.LoadIdentifier(ctx, a.ring(), "")
	a.identity = identity
	if state.Condition != cache.Available {
		a.sayMemoryOnly("state", state.Condition, "why", state.Why)
	}
}

// sayMemoryOnly is said once: a keyring that fails does so again and again.
func (a *Agent) sayMemoryOnly(why ...any) {
	a.memoryOnly.Do(func() {
		a.options.Log.Warn("keyring cannot be used: step-up tokens are kept in memory only; see `stepup doctor`", why...)
	})
}

// tokensFor is the store that the configuration wants. Another one than before
// keeps the tokens that are in memory; moved makes it that, once nothing can fail
// any more.
func (a *Agent) tokensFor(ctx context.Context, c Config) (store *tokens, moved func()) {
	keyring := c.Cache.Keyring && a.options.Ring != nil
	switch {
	case a.tokens == nil:
		back := a.backFor(c.File, keyring)
		return &tokens{Layered: cache.NewLayered(&cache.Memory{}, back), keyring: keyring}, func() {}
	case a.tokens.keyring == keyring && a.config.File == c.File:
		return a.tokens, func() {}
	}
	was := a.tokens
	store = &tokens{Layered: was.Layered, keyring: keyring}
	return store, func() {
		old := store.Replace(a.backFor(c.File, keyring))
		a.moveLocked(ctx, func(ctx context.Context) {
			if was.keyring {
				a.empty(ctx, old)
			}
			if keyring {
				a.settle(ctx, store)
			}
		})
	}
}

func (a *Agent) backFor(file string, keyring bool) cache.Store {
	if !keyring {
		return &cache.Memory{}
	}
	return cache.NewKeyring(cache.KeyringConfig{
		Ring:  a.options.Ring,
		Scope: file, // two agents with two configurations do not share an index
		OnError: func(operation string, err error) {
			a.metrics.KeyringError(operation)
			a.sayMemoryOnly("operation", operation, "why", err)
		},
	})
}

// moveLocked runs move in the place of an earlier one, until it is done or the
// agent ends: a keyring may take its time.
func (a *Agent) moveLocked(ctx context.Context, move func(context.Context)) {
	if a.stopMove != nil {
		a.stopMove()
	}
	// It ends with the agent, not with the reload that started it.
	ctx, a.stopMove = context.WithCancel(context.WithoutCancel(ctx))
	a.lockers.Go(func() { move(ctx) })
}

// empty removes what was kept in a store that is no longer wanted: who says that
// tokens are to be in memory means that they are not to be elsewhere.
func (a *Agent) empty(ctx context.Context, old cache.Store) {
	entries, err := old.List(ctx)
	for _, e := range entries {
		err = errors.Join(err, old.Delete(ctx, e.Key))
	}
	if err != nil && ctx.Err() == nil {
		a.options.Log.Warn("step-up tokens may stay in the keyring until their time is over", "error", err)
	}
}

// settle brings the tokens that are in memory into the keyring, and with them the
// key under which the next process finds them. Where there is such a key already,
// they are of no use to it, and end with this process.
func (a *Agent) settle(ctx context.Context, store *tokens) {
	err := a.identity.Keep(ctx, a.ring(), "")
	if err == nil {
		_, err = store.List(ctx)
	}
	if err != nil && ctx.Err() == nil {
		a.sayMemoryOnly("why", err)
	}
}

// ring is the keyring for everything but step-up tokens, nil where there is none.
func (a *Agent) ring() cache.Ring {
	if a.options.Ring == nil {
		return nil
	}
	return countedRing{a.options.Ring, a.metrics}
}

// status says where tokens are kept and why not elsewhere.
func (t *tokens) status() control.Cache {
	if t == nil || !t.keyring {
		return control.Cache{Store: "memory", State: string(cache.Available)}
	}
	s := t.State()
	return control.Cache{Store: "keyring", State: string(s.Condition), Reason: s.Why}
}

// cachedTokens lists what is cached, without the tokens.
func (a *Agent) cachedTokens(ctx context.Context, store *tokens) []control.Token {
	if store == nil {
		return nil
	}
	entries, err := store.List(ctx)
	if err != nil {
		a.options.Log.Warn("step-up tokens cannot be listed", "error", err)
		return nil
	}
	all := make([]control.Token, 0, len(entries))
	for _, e := range entries {
		all = append(all, control.Token{
			Rule: e.Key.Rule, Vault: vaultOf(e.Key), Namespace: e.Key.Namespace,
			Caller: cache.Short(e.Key.Identity), Expires: e.Token.Expires, Uses: e.Token.Uses,
		})
	}
	slices.SortFunc(all, func(a, b control.Token) int {
		return cmp.Or(strings.Compare(a.Rule, b.Rule), a.Expires.Compare(b.Expires))
	})
	return all
}

// vaultOf is the name of the vault block; a key has the address behind it.
func vaultOf(k cache.Key) string {
	name, _, _ := strings.Cut(k.Vault, " ")
	return name
}
