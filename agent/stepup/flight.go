package stepup

import (
	"context"
	"sync"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/prompt"
)

// A flight is one step-up to a token, however many requests wait for it. It
// belongs to the ledger, not to the request that started it: whoever gave up
// finds the token in the cache when they come back.
type flight struct {
	done    chan struct{} // closed when verdict is set, and the token in the cache
	verdict mfa.Verdict
}

// waiting tells the meter that the request of ctx waits for another one, until
// the returned function is called.
func (r *Resolver) waiting(ctx context.Context) (done func()) {
	if r.config.Meter == nil {
		return func() {}
	}
	return r.config.Meter.Waiting(ctx)
}

// await reports whether f has landed before ctx ended.
func (r *Resolver) await(ctx context.Context, f *flight) bool {
	defer r.waiting(ctx)()
	select {
	case <-f.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// join returns the flight for k and starts it where there is none. run gets a
// context that ends when flights are cancelled.
func (l *Ledger) join(k cache.Key, run func(context.Context) mfa.Verdict) *flight {
	f, _ := l.launch(turnKey{Key: k}, run)
	return f
}

// flight is the flight for k, nil where there is none.
func (l *Ledger) flight(k turnKey) *flight {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flights[k]
}

// launch is join for any key; ours tells whether run is what was started.
func (l *Ledger) launch(k turnKey, run func(context.Context) mfa.Verdict) (f *flight, ours bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f, ok := l.flights[k]; ok {
		return f, false
	}
	f = &flight{done: make(chan struct{})}
	if l.closed {
		f.verdict = mfa.Verdict{Outcome: mfa.Unavailable, Message: appCanceled}
		close(f.done)
		return f, false
	}
	l.flights[k] = f
	ctx, aloft := l.flying, l.aloft
	aloft.Add(1)
	l.landing.Go(func() {
		defer aloft.Done()
		f.verdict = run(ctx)
		if context.Cause(ctx) != nil && !f.verdict.OK() {
			f.verdict = mfa.Verdict{Outcome: mfa.Denied, Message: appCanceled}
		}
		l.mu.Lock()
		delete(l.flights, k)
		l.mu.Unlock()
		close(f.done)
	})
	return f, true
}

// flyingContext ends when flights are cancelled.
func (l *Ledger) flyingContext() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flying
}

// CancelFlights ends every flight and waits for it, and forgets the requests that
// wait for an approval. What a flight has minted by then is in the cache. Flights
// that start later are neither touched nor waited for.
func (l *Ledger) CancelFlights() {
	l.approvals.forget()
	l.mu.Lock()
	cancel, aloft := l.cancel, l.aloft
	l.newContextLocked()
	l.aloft.Add(1) // another lock meanwhile waits for these as well
	defer l.aloft.Done()
	l.mu.Unlock()
	cancel(prompt.ErrCanceled)
	aloft.Wait()
}

// Close ends every flight and shared try, waits for them and refuses new ones.
func (l *Ledger) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.approvals.close()
	l.end()
	l.CancelFlights()
	l.landing.Wait()
	l.sharing.Wait()
}

func (l *Ledger) newContextLocked() {
	l.flying, l.cancel = context.WithCancelCause(context.Background())
	l.aloft = new(sync.WaitGroup)
}
