package state

import (
	"context"
	"sync"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/prompt"
)

// An Acquisition gets one token, or sets up one authenticator, however many requests
// wait for it. It belongs to the State and not to the request that started it: a
// request whose app has left finds the token in the cache when it comes back.
type Acquisition struct {
	Done    chan struct{} // closed when Verdict is set, and the token in the cache
	Verdict mfa.Verdict
	Once    *Once // the token that is for those who waited, and not in the cache; nil mostly

	cancel context.CancelCauseFunc // nil for one that never ran

	waiting int  // those that have joined and not left; guarded by the mu of Acquisitions
	over    bool // likewise
}

// Acquisitions are those that run. [New] makes them ready.
type Acquisitions struct {
	mu       sync.Mutex
	inflight map[Key]*Acquisition // those of authenticators have a path
	serving  map[*Acquisition]Key // those with a Once, until the last that waited has left
	ctx      context.Context      //nolint:containedctx // of the acquisitions that run now: a lock replaces it
	cancel   context.CancelCauseFunc
	running  *sync.WaitGroup // one for each acquisition under ctx
	closed   bool
	all      sync.WaitGroup // one for each acquisition
}

// Find returns the acquisition for k, nil where none runs.
func (a *Acquisitions) Find(k Key) *Acquisition {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.inflight[k]
}

// Join returns the acquisition for k, and starts it by run where none runs: then
// started is true. run gets a context that ends when acquisitions are cancelled, and may set
// the Once of the acquisition.
func (a *Acquisitions) Join(k Key, run func(context.Context, *Acquisition) mfa.Verdict) (joined *Acquisition, started bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if running, ok := a.inflight[k]; ok {
		running.waiting++
		return running, false
	}
	q := &Acquisition{Done: make(chan struct{}), waiting: 1}
	if a.closed {
		q.Verdict = mfa.Verdict{Outcome: mfa.Unavailable, Message: Canceled().Message}
		close(q.Done)
		return q, false
	}
	if a.inflight == nil {
		a.inflight = make(map[Key]*Acquisition)
	}
	a.inflight[k] = q
	ctx, cancel := context.WithCancelCause(a.ctx)
	running := a.running
	q.cancel = cancel
	running.Add(1)
	a.all.Go(func() {
		defer running.Done()
		defer cancel(nil)
		q.Verdict = run(ctx, q)
		if context.Cause(ctx) != nil && !q.Verdict.OK() {
			q.Verdict = Canceled()
		}
		a.mu.Lock()
		delete(a.inflight, k)
		q.over = true
		late := q.Once != nil && context.Cause(ctx) != nil // a lock came when the token was there
		if q.Once != nil {
			q.Once.locked = late
			a.serving[q] = k
		}
		q.waiting++ // until here
		a.mu.Unlock()
		if late {
			q.Once.End()
		}
		a.Leave(q, false)
		close(q.Done)
	})
	return q, true
}

// Context ends when acquisitions are cancelled.
func (a *Acquisitions) Context() context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ctx
}

// CancelRule ends the acquisitions of one rule, and waits for them.
func (a *Acquisitions) CancelRule(rule string) {
	var ending []*Acquisition
	a.mu.Lock()
	for k, q := range a.inflight {
		if k.Rule == rule {
			ending = append(ending, q)
			q.cancel(prompt.ErrCanceled)
		}
	}
	locked := a.lockServedLocked(func(k Key) bool { return k.Rule == rule })
	a.mu.Unlock()
	for _, o := range locked {
		o.End()
	}
	for _, q := range ending {
		<-q.Done
	}
}

// cancelAll ends the acquisitions that run and waits for them.
func (a *Acquisitions) cancelAll() {
	a.mu.Lock()
	running := a.running
	a.cancel(prompt.ErrCanceled) // under mu: one that is over by now is among those that serve
	locked := a.lockServedLocked(func(Key) bool { return true })
	a.newContextLocked()
	a.running.Add(1) // another cancel meanwhile waits for these as well
	defer a.running.Done()
	a.mu.Unlock()
	for _, o := range locked {
		o.End()
	}
	running.Wait()
}

func (a *Acquisitions) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
}

func (a *Acquisitions) newContextLocked() {
	a.ctx, a.cancel = context.WithCancelCause(context.Background())
	a.running = new(sync.WaitGroup)
}
