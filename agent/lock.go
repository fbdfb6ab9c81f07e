package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/autolock"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache"
)

const (
	// revokeLimit bounds the revocation of one token.
	revokeLimit = 5 * time.Second
	// stopRevokeLimit bounds all of them when the agent stops.
	stopRevokeLimit = 3 * time.Second
	// revokers is how many tokens are revoked at once.
	revokers = 8
)

// lock cancels every prompt, ends every step-up that is under way, and revokes
// and forgets every step-up token. A token that Vault could not be told about is
// forgotten all the same; the notes say until when it lives.
func (a *Agent) lock(ctx context.Context) control.LockResult {
	every := func(cache.Key) bool { return true }
	a.mu.Lock()
	store := a.tokens
	a.mu.Unlock()
	var dropped []cache.Entry
	if store != nil {
		dropped = store.Drop(every) // first: a step-up may take its time to end
	}
	prompts := a.broker.Len()
	a.broker.CancelAll()
	a.state.Cancel()
	var result control.LockResult
	if store != nil {
		result = a.forget(ctx, store, dropped, every)
	}
	result.Prompts = prompts
	a.options.Log.Info("locked", "prompts", result.Prompts, "revoked", result.Revoked, "forgotten", result.Forgotten)
	a.record(audit.Record{Event: audit.Locked, Requester: peer.Peer{UID: -1}})
	return result
}

// revokeOnStop ends the tokens whose rules want it before the agent is gone.
func (a *Agent) revokeOnStop() {
	if a.tokens == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopRevokeLimit)
	defer cancel()
	result := a.forget(ctx, a.tokens, nil, func(k cache.Key) bool {
		return a.config.Rules.Has(k.Rule, func(r rule.Rule) bool { return r.Grant.RevokeOnStop })
	})
	for _, note := range result.Notes {
		a.options.Log.Warn("stopping", "note", note)
	}
}

// forget revokes and deletes the tokens that are meant, and those that were dropped
// before, and counts.
func (a *Agent) forget(ctx context.Context, store *tokens, dropped []cache.Entry, meant func(cache.Key) bool) (result control.LockResult) {
	// From here on no request is served with those in memory, also when the keyring
	// hangs. All are deleted before the first is revoked: Vault may not answer either.
	deleted := append(dropped, store.Drop(meant)...)
	entries, err := store.List(ctx)
	if err != nil {
		result.Notes = append(result.Notes, noteNotListed(err))
	}
	for _, e := range entries {
		if meant(e.Key) {
			_ = store.Delete(ctx, e.Key) // Left tells
			deleted = append(deleted, e)
		}
	}
	for _, e := range deleted {
		if err := store.Left(e.Key); err != nil {
			result.Notes = append(result.Notes, noteStillKept(e, err))
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
			err := a.revoke(ctx, e)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				result.Notes = append(result.Notes, noteNotRevoked(e, err))
				return
			}
			result.Revoked++
		})
	}
	working.Wait()
	return result
}

// revoke ends one token at its Vault.
func (a *Agent) revoke(ctx context.Context, e cache.Entry) error {
	a.mu.Lock()
	v, ok := a.vaults[vaultOf(e.Key)]
	a.mu.Unlock()
	// A token goes only to the address that it came from.
	if !ok || v.config.Name+" "+v.config.Address.String() != e.Key.Vault {
		return fmt.Errorf("vault %q is no longer configured", vaultOf(e.Key))
	}
	ctx, cancel := context.WithTimeout(ctx, revokeLimit)
	defer cancel()
	if err := v.client.RevokeSelf(ctx, e.Token.Secret, e.Key.Namespace); err != nil {
		return err
	}
	a.record(audit.Record{
		Event: audit.Revoked, Rule: e.Key.Rule, Vault: vaultOf(e.Key), Namespace: e.Key.Namespace,
		Token: e.Key.Identity, Requester: peer.Peer{UID: -1},
	})
	return nil
}

// watchLocked starts the goroutine that locks when the machine sleeps or its
// screen is locked, in the place of the one before.
func (a *Agent) watchLocked(ctx context.Context) {
	if a.stopLocks != nil {
		a.stopLocks()
	}
	// It ends with the agent, not with the reload that started it.
	ctx, a.stopLocks = context.WithCancel(context.WithoutCancel(ctx))
	a.autolock = nil
	if len(a.config.Cache.LockOn) == 0 {
		return
	}
	w := autolock.New(a.config.Cache.LockOn, func(reason string) {
		a.options.Log.Info("locking", "reason", reason)
		for _, note := range a.lock(context.WithoutCancel(ctx)).Notes {
			a.options.Log.Warn("locked, but", "note", note)
		}
	}, a.options.Log)
	a.autolock = w
	a.lockers.Go(func() { w.Run(ctx) })
}
