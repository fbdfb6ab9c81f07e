package agent

import (
	"cmp"
	"context"
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
	identity, state := cache.LoadIdentifier(ctx, a.options.Ring, "")
	a.identity = identity
	if state.Condition != cache.Available {
		a.sayMemoryOnly("state", state.Condition, "why", state.Why)
	}
}

// sayMemoryOnly is said once: a keyring that fails does so again and again.
func (a *Agent) sayMemoryOnly(why ...any) {
	a.memoryOnly.Do(func() {
		a.options.Log.Warn("keyring cannot be used: step-up tokens are kept in memory only; see `stepup status`", why...)
	})
}

// tokensFor keeps the store that is there unless the configuration wants another.
func (a *Agent) tokensFor(c Config) *tokens {
	keyring := c.Cache.Keyring && a.options.Ring != nil
	if a.tokens != nil && a.tokens.keyring == keyring && a.config.File == c.File {
		return a.tokens
	}
	var back cache.Store = &cache.Memory{}
	if keyring {
		back = cache.NewKeyring(cache.KeyringConfig{
			Ring:  a.options.Ring,
			Scope: c.File, // two agents with two configurations do not share an index
			OnError: func(operation string, err error) {
				a.sayMemoryOnly("operation", operation, "why", err)
			},
		})
	}
	return &tokens{Layered: cache.NewLayered(&cache.Memory{}, back), keyring: keyring}
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
