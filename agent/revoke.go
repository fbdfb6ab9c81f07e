package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
)

const (
	// revokeLimit bounds the revocation of one token.
	revokeLimit = 5 * time.Second
	// stopRevokeLimit bounds all of them when the agent stops.
	stopRevokeLimit = 3 * time.Second
	// revokers is how many tokens are revoked at once.
	revokers = 8
	// callerLimit bounds what the end of one caller's tokens takes, a hanging keyring and
	// a Vault that does not answer included.
	callerLimit = 30 * time.Second
	// maxCallers bounds the callers in the queue. The tokens of further ones serve no more
	// either, and live on in Vault until their time is over.
	maxCallers = 1024
)

// A revoker ends step-up tokens. Those of callers whose own token is dead are ended one
// caller after the other, by one goroutine while there is something to do; close waits
// for it.
type revoker struct {
	agent *Agent
	log   *slog.Logger

	mu      sync.Mutex // guards what follows
	queue   []deadCaller
	running bool
	closed  bool
	ctx     context.Context //nolint:containedctx // of the goroutine
	cancel  context.CancelFunc
	working sync.WaitGroup
}

// A deadCaller is a caller, with the tokens that were taken from memory; without a caller, the
// tokens are all.
type deadCaller struct {
	stepup.Caller
	store   *tokens
	dropped []cache.Entry
}

func newRevoker(a *Agent) *revoker {
	r := &revoker{agent: a, log: a.options.Log}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// end takes the tokens of a caller out of memory, so that they serve nothing more
// when it returns, and leaves the keyring and Vault to the goroutine.
func (r *revoker) end(store *tokens, c stepup.Caller) {
	job := deadCaller{Caller: c, store: store}
	if c.Identity != "" {
		job.dropped = store.Drop(func(k cache.Key) bool { return k.Vault == c.Vault && k.Identity == c.Identity })
	}
	r.add(job)
}

// add leaves tokens that serve nothing more to the goroutine.
func (r *revoker) add(job deadCaller) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || len(r.queue) >= maxCallers {
		r.log.Warn("step-up tokens are not revoked", "caller", cache.Short(job.Identity), "tokens", len(job.dropped))
		return
	}
	r.queue = append(r.queue, job)
	if !r.running {
		r.running = true
		r.working.Go(r.work)
	}
}

func (r *revoker) work() {
	for {
		r.mu.Lock()
		if len(r.queue) == 0 {
			r.running = false
			r.mu.Unlock()
			return
		}
		job := r.queue[0]
		r.queue = r.queue[1:]
		r.mu.Unlock()
		r.endTokens(r.ctx, job)
	}
}

// close refuses further callers, and waits for what was begun as long as a clean
// stop may take.
func (r *revoker) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	timer := time.AfterFunc(stopRevokeLimit, r.cancel)
	r.working.Wait()
	timer.Stop()
	r.cancel()
}

// endTokens revokes and forgets what a caller has in the store, also what only the
// keyring has. A revocation by accessor is about the tokens whose owner has it.
func (r *revoker) endTokens(ctx context.Context, job deadCaller) {
	ctx, cancel := context.WithTimeout(ctx, callerLimit)
	defer cancel()
	identities := map[string]bool{job.Identity: job.Identity != ""}
	if job.Accessor != "" {
		entries, err := job.store.List(ctx)
		if err != nil {
			r.log.Warn("step-up tokens cannot be listed", "error", err)
		}
		for _, e := range entries {
			if e.Token.Owner == job.Accessor {
				identities[e.Key.Identity] = true
			}
		}
	}
	result := r.forget(ctx, job.store, job.dropped, func(k cache.Key) bool {
		return k.Vault == job.Vault && identities[k.Identity]
	})
	if result.Forgotten > 0 && job.Vault != "" {
		r.log.Info("the caller's own token is dead: its step-up tokens have ended",
			"caller", cache.Short(job.Identity), "revoked", result.Revoked, "forgotten", result.Forgotten)
	}
	for _, note := range result.Notes {
		r.log.Warn("step-up token that has ended", "note", note)
	}
}

// revokeOnStop ends the tokens whose rules want it before the agent is gone.
func (r *revoker) revokeOnStop(g generation) {
	if g.serial == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopRevokeLimit)
	defer cancel()
	result := r.forget(ctx, g.tokens, nil, func(k cache.Key) bool {
		t, _ := g.tokens.Known(k) // one until a lock is in memory only
		return t.Keep != "" || g.config.Rules.Has(k.Rule, func(r rule.Rule) bool { return r.Grant.RevokeOnStop })
	})
	for _, note := range result.Notes {
		r.log.Warn("stopping", "note", note)
	}
}

// forget revokes and deletes the tokens that are meant, and those that were dropped
// before, and counts.
func (r *revoker) forget(ctx context.Context, store *tokens, dropped []cache.Entry, meant func(cache.Key) bool) (result control.LockResult) {
	// From here on no request is served with those in memory, also when the keyring
	// hangs. All are deleted before the first is revoked: Vault may not answer either.
	deleted := append(dropped, store.Drop(meant)...)
	entries, err := store.List(ctx)
	if err != nil {
		result.Notes = append(result.Notes, fmt.Sprintf("tokens could not be listed: %v", err))
	}
	for _, e := range entries {
		if meant(e.Key) {
			_ = store.Delete(ctx, e.Key) // store.Left has the error
			deleted = append(deleted, e)
		}
	}
	for _, e := range deleted {
		if err := store.Left(e.Key); err != nil {
			result.Notes = append(result.Notes, fmt.Sprintf("the token of rule %s may still be in the keyring until %s: %v",
				e.Key.Rule, e.Token.Expires.Format(time.TimeOnly), err))
		}
	}
	result.Forgotten += len(deleted)
	var mu sync.Mutex // guards result
	var working sync.WaitGroup
	slots := make(chan struct{}, revokers)
	for _, e := range deleted {
		working.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			err := r.revoke(ctx, e)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				result.Notes = append(result.Notes, fmt.Sprintf("the token of rule %s could not be revoked and lives until about %s: %v",
					e.Key.Rule, e.Token.Expires.Format(time.TimeOnly), err))
				return
			}
			result.Revoked++
		})
	}
	working.Wait()
	return result
}

// revoke ends one token at its Vault.
func (r *revoker) revoke(ctx context.Context, e cache.Entry) error {
	v, ok := r.agent.inForce().vaults[e.Key.VaultName()]
	// A token goes only to the address that it came from.
	if !ok || v.config.Name+" "+v.config.Address.String() != e.Key.Vault {
		return fmt.Errorf("vault %q is no longer configured", e.Key.VaultName())
	}
	ctx, cancel := context.WithTimeout(ctx, revokeLimit)
	defer cancel()
	if err := v.client.RevokeSelf(ctx, e.Token.Secret, e.Key.Namespace); err != nil {
		return err
	}
	r.agent.record(audit.Record{
		Event: audit.Revoked, Rule: e.Key.Rule, Vault: e.Key.VaultName(), Namespace: e.Key.Namespace,
		Token: e.Key.Identity, Requester: peer.Peer{UID: -1},
	})
	return nil
}
