package agent

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/metrics"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// identifyLimit bounds what a start waits for the keyring.
const identifyLimit = 4 * time.Second

// tokens is the store of step-up tokens: memory, with the keyring behind it
// where the configuration wants it and the machine has one.
type tokens struct {
	*cache.Layered
	persistent *cache.Persistent // behind Layered; nil without a keyring
	store      string            // the word of the configuration
}

// A keeper opens the stores of step-up tokens and moves tokens between them.
type keeper struct {
	system   keyring.Keyring // nil without a keyring
	metrics  *metrics.Metrics
	log      *slog.Logger
	identity *cache.Identifier
	known    chan struct{} // closed when identity is set: the control socket is served before
	moving   background
	warnOnce sync.Once
	kept     sync.Map // stores whose keyring has the key of identity
}

// Identify tells callers apart. It waits for identify.
func (s *keeper) Identify(token secret.Secret) string {
	<-s.known
	return s.identity.Identify(token)
}

// identify finds the key by which callers are told apart. It is kept in the
// keyring, so that a token that was kept there is found after a restart; without
// a keyring there is nothing to find, and a new key does.
func (s *keeper) identify(ctx context.Context, c Config) {
	defer close(s.known)
	k := s.keyringFor(c)
	if k == nil {
		s.identity = cache.RandomIdentifier()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, identifyLimit)
	defer cancel()
	identity, state := cache.LoadIdentifier(ctx, s.counted(k))
	s.identity = identity
	if state.Condition == keyring.Available {
		s.kept.Store(c.Cache.Store, true)
		return
	}
	s.warnNoKeyring("state", state.Condition, "why", state.Why)
}

// ready keeps the key by which callers are told apart in the keyring of c: without it no
// process would find a token there.
func (s *keeper) ready(ctx context.Context, c Config) error {
	select {
	case <-s.known:
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, kept := s.kept.Load(c.Cache.Store); kept {
		return nil
	}
	err := s.identity.Keep(ctx, s.keyringFor(c))
	if err == nil {
		s.kept.Store(c.Cache.Store, true)
		s.log.Info("keyring can be used: step-up tokens are kept there, too", "store", c.Cache.Store)
	}
	return err
}

// warnNoKeyring warns once: a keyring that fails does so again and again.
func (s *keeper) warnNoKeyring(why ...any) {
	s.warnOnce.Do(func() {
		s.log.Warn("keyring cannot be used: step-up tokens are kept in memory only; see `stepup doctor`", why...)
	})
}

// keyringFor returns the keyring for the tokens of c, nil if they are in memory only.
func (s *keeper) keyringFor(c Config) keyring.Keyring {
	switch c.Cache.Store {
	case StoreKeyring:
		return s.system
	case StoreKernel:
		return keyring.Kernel{}
	}
	return nil
}

// open returns the store that a configuration wants. It asks no keyring yet.
func (s *keeper) open(c Config) *tokens {
	back, persistent := s.backFor(c)
	return &tokens{Layered: cache.NewLayered(&cache.Memory{}, back), persistent: persistent, store: c.Cache.Store}
}

// reopen returns the store that c wants. Another one than before keeps the tokens that
// are in memory; moved makes it that, once nothing can fail any more.
func (s *keeper) reopen(ctx context.Context, was generation, c Config) (store *tokens, moved func()) {
	if was.config.Cache.Store == c.Cache.Store && was.config.File == c.File {
		return was.tokens, func() {}
	}
	back, persistent := s.backFor(c)
	store = &tokens{Layered: was.tokens.Layered, persistent: persistent, store: c.Cache.Store}
	return store, func() {
		old := store.Replace(back)
		s.moving.start(ctx, func(ctx context.Context) { // a keyring may take its time
			if was.tokens.persistent != nil {
				s.purge(ctx, old)
			}
			if persistent != nil {
				s.persistTokens(ctx, store)
			}
		})
	}
}

// backFor returns what stands behind the memory, and once more if that is a keyring.
func (s *keeper) backFor(c Config) (cache.Store, *cache.Persistent) {
	k := s.keyringFor(c)
	if k == nil {
		return &cache.Memory{}, nil
	}
	p := cache.NewPersistent(cache.PersistentConfig{
		Keyring: k,
		Ready:   func(ctx context.Context) error { return s.ready(ctx, c) },
		Scope:   c.File, // two agents with two configurations do not share an index
		OnError: func(operation string, err error) {
			s.metrics.KeyringError(operation)
			s.warnNoKeyring("operation", operation, "why", err)
		},
	})
	return p, p
}

// purge removes all tokens from a store that is no longer wanted. A configuration that
// wants tokens in memory wants them nowhere else.
func (s *keeper) purge(ctx context.Context, old cache.Store) {
	entries, err := old.List(ctx)
	for _, e := range entries {
		err = errors.Join(err, old.Delete(ctx, e.Key))
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("step-up tokens may stay in the keyring until their time is over", "error", err)
	}
}

// persistTokens brings the tokens that are in memory into the keyring.
func (s *keeper) persistTokens(ctx context.Context, store *tokens) {
	if _, err := store.List(ctx); err != nil && ctx.Err() == nil {
		s.warnNoKeyring("why", err)
	}
}

// keyring is the keyring for everything but step-up tokens, nil where there is none.
func (s *keeper) keyring() keyring.Keyring {
	if s.system == nil {
		return nil
	}
	return s.counted(s.system)
}

func (s *keeper) counted(k keyring.Keyring) keyring.Keyring {
	return keyring.Counted{Keyring: k, Failed: s.metrics.KeyringError}
}

// status says where tokens are kept and why not elsewhere.
func (t *tokens) status() control.Cache {
	if t.persistent == nil {
		return control.Cache{Store: StoreMemory, State: string(keyring.Available)}
	}
	s := t.State()
	return control.Cache{Store: t.store, State: string(s.Condition), Reason: s.Why}
}

// list describes what is cached, without the secrets.
func (t *tokens) list(ctx context.Context, uses *state.Uses, log *slog.Logger) []control.Token {
	entries, err := t.List(ctx)
	if err != nil {
		log.Warn("step-up tokens cannot be listed", "error", err)
		return nil
	}
	all := make([]control.Token, 0, len(entries))
	for _, e := range entries {
		one := control.Token{
			Rule: e.Key.Rule, Vault: e.Key.VaultName(), Namespace: e.Key.Namespace,
			Caller: cache.Short(e.Key.Identity), Expires: e.Token.Expires, Uses: e.Token.Uses,
			Scope: e.Token.Bound, Keep: e.Token.Keep,
		}
		if use, ok := uses.Last(e.Key); ok {
			one.LastUse = &control.Use{Time: use.Time, PID: use.Peer.PID}
			if len(use.Peer.Chain) > 0 {
				one.LastUse.Program = use.Peer.Chain[0]
			}
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b control.Token) int {
		return cmp.Or(strings.Compare(a.Rule, b.Rule), a.Expires.Compare(b.Expires))
	})
	return all
}

// A policyCheckedStore is the store of step-up tokens as one configuration sees it: a
// token that was made under another policy (a rule that had more policies or fewer
// factors, a longer max_ttl) is not there, and is forgotten when it is found. It
// implements stepup.Tokens.
type policyCheckedStore struct {
	*cache.Layered
	policies map[string]tokenPolicy // by rule
}

var _ stepup.Tokens = policyCheckedStore{}

// A tokenPolicy is what a rule wants of its tokens.
type tokenPolicy struct {
	grant string        // fingerprint of the grant
	life  time.Duration // the longest that one is used
	limit time.Duration // likewise, where the person wants it kept until a lock
}

// defaultLife is the max_ttl of a configuration that has none.
const defaultLife = 15 * time.Minute

// tokenPolicies are those of the rules of c.
func tokenPolicies(c Config) map[string]tokenPolicy {
	all, most := make(map[string]tokenPolicy), cmp.Or(c.Cache.MaxTTL, defaultLife)
	for _, r := range c.Rules {
		all[r.Name] = tokenPolicy{grant: r.TokenFingerprint(), life: r.Grant.Life(most), limit: r.Grant.Limit(most)}
	}
	return all
}

// Get implements stepup.Tokens.
func (s policyCheckedStore) Get(ctx context.Context, k cache.Key) (cache.Token, error) {
	t, err := s.Layered.Get(ctx, k)
	return s.check(ctx, k, t, err)
}

// Take implements stepup.Tokens.
func (s policyCheckedStore) Take(ctx context.Context, k cache.Key) (cache.Token, error) {
	t, err := s.Layered.Take(ctx, k)
	return s.check(ctx, k, t, err)
}

// Known implements stepup.Tokens. A token under another policy is left to Get.
func (s policyCheckedStore) Known(k cache.Key) (cache.Token, bool) {
	t, ok := s.Layered.Known(k)
	return t, ok && s.serves(k, t)
}

// Put implements stepup.Tokens.
func (s policyCheckedStore) Put(ctx context.Context, k cache.Key, t cache.Token) error {
	t.Grant = s.policies[k.Rule].grant
	return s.Layered.Put(ctx, k, t)
}

// serves reports whether t was made as the configuration has it.
func (s policyCheckedStore) serves(k cache.Key, t cache.Token) bool {
	want, ok := s.policies[k.Rule]
	life := want.life
	if t.Keep == string(prompt.KeepLock) {
		life = want.limit
	}
	return ok && t.Grant == want.grant && time.Now().Round(0).Before(t.Created.Add(life))
}

func (s policyCheckedStore) check(ctx context.Context, k cache.Key, t cache.Token, err error) (cache.Token, error) {
	if err != nil {
		return t, err
	}
	if s.serves(k, t) {
		return t, nil
	}
	_ = s.Layered.Delete(ctx, k) // it is not served either way
	return cache.Token{}, cache.ErrNotFound
}
