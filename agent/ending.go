package agent

import (
	"context"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
)

const (
	// endLimit bounds what the end of one caller's tokens takes, a hanging keyring and
	// a Vault that does not answer included.
	endLimit = 30 * time.Second
	// maxEndings bounds the callers that wait for theirs. Tokens beyond that serve no
	// more either, and live on in Vault until their time is over.
	maxEndings = 1024
)

// endings revokes the step-up tokens of callers whose own token is dead, one caller
// after the other. It owns one goroutine while there is something to do, which close
// waits for.
type endings struct {
	agent *Agent

	mu      sync.Mutex // guards what follows
	waiting []ending
	running bool
	closed  bool
	ctx     context.Context //nolint:containedctx // of the goroutine; nil before the first
	cancel  context.CancelFunc
	working sync.WaitGroup
}

// An ending is one caller, with the tokens that were taken from memory.
type ending struct {
	store   *tokens
	caller  stepup.Caller
	dropped []cache.Entry
}

// end takes the tokens of a caller out of memory, so that they serve nothing more
// when it returns, and leaves the keyring and Vault to the goroutine.
func (e *endings) end(store *tokens, who stepup.Caller) {
	job := ending{store: store, caller: who}
	if who.Identity != "" {
		job.dropped = store.Drop(func(k cache.Key) bool { return k.Vault == who.Vault && k.Identity == who.Identity })
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.waiting) >= maxEndings {
		e.agent.options.Log.Warn("step-up tokens of a dead caller are not revoked", "caller", cache.Short(who.Identity), "tokens", len(job.dropped))
		return
	}
	e.waiting = append(e.waiting, job)
	if e.running {
		return
	}
	e.running = true
	if e.ctx == nil {
		e.ctx, e.cancel = context.WithCancel(context.Background())
	}
	e.working.Go(e.work)
}

func (e *endings) work() {
	for {
		e.mu.Lock()
		if len(e.waiting) == 0 {
			e.running = false
			e.mu.Unlock()
			return
		}
		job, ctx := e.waiting[0], e.ctx
		e.waiting = e.waiting[1:]
		e.mu.Unlock()
		e.agent.endTokens(ctx, job)
	}
}

// close refuses further callers, and waits for what was begun as long as a clean
// stop may take.
func (e *endings) close() {
	e.mu.Lock()
	e.closed = true
	cancel := e.cancel
	e.mu.Unlock()
	if cancel == nil {
		return
	}
	timer := time.AfterFunc(stopRevokeLimit, cancel)
	e.working.Wait()
	timer.Stop()
	cancel()
}

// endTokens revokes and forgets what a caller has in the store, also what only the
// keyring has. A revocation by accessor is about the tokens whose owner has it.
func (a *Agent) endTokens(ctx context.Context, job ending) {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	identities := map[string]bool{job.caller.Identity: job.caller.Identity != ""}
	if job.caller.Accessor != "" {
		entries, err := job.store.List(ctx)
		if err != nil {
			a.options.Log.Warn("step-up tokens cannot be listed", "error", err)
		}
		for _, e := range entries {
			if e.Token.Owner == job.caller.Accessor {
				identities[e.Key.Identity] = true
			}
		}
	}
	result := a.forget(ctx, job.store, job.dropped, func(k cache.Key) bool {
		return k.Vault == job.caller.Vault && identities[k.Identity]
	})
	if result.Forgotten > 0 {
		a.options.Log.Info("the caller's own token is dead: its step-up tokens have ended",
			"caller", cache.Short(job.caller.Identity), "revoked", result.Revoked, "forgotten", result.Forgotten)
	}
	for _, note := range result.Notes {
		a.options.Log.Warn("step-up token of a dead caller", "note", note)
	}
}
