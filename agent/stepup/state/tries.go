package state

import (
	"context"
	"net/http"
	"slices"
	"sync"

	"github.com/vault-stepup/stepup/agent/mfa"
)

// A TryKey names the requests of one caller that are the same in everything.
type TryKey struct {
	Key
	ShareKey string // as in rule.Match
}

// A Try sends a request for the first time. It ends when its context does.
type Try func(context.Context) (*http.Response, mfa.Verdict, error)

// Tries are first tries of requests that are the same: one push, one answer, a copy of
// it for each. [New] makes them ready.
type Tries struct {
	mu      sync.Mutex
	running sync.WaitGroup // one for each try
	current map[TryKey]*sharedTry
	closed  bool
	living  context.Context //nolint:containedctx // of all tries and their answers: they outlive their requests
	end     context.CancelFunc
}

// A sharedTry belongs to the State and not to the request that came first: that one may
// leave while others wait. When all have left, it ends.
type sharedTry struct {
	key    TryKey
	cancel context.CancelFunc
	done   chan struct{} // closed when the result is set

	resp    *http.Response
	verdict mfa.Verdict
	err     error

	waiters []*waiter // guarded by the mutex of Tries
	decided bool      // likewise: no request joins or leaves any more
}

// A waiter is one request at a shared try.
type waiter struct {
	try  *sharedTry
	resp *http.Response // nil until done, and where there is none
}

// Share joins the try of k, or starts it by run, and waits until that is decided or ctx
// ends. The body of the answer ends with ctx, too.
func (t *Tries) Share(ctx context.Context, k TryKey, run Try) (*http.Response, mfa.Verdict, error) {
	w := t.join(ctx, k, run)
	if w == nil {
		return nil, mfa.Verdict{Outcome: mfa.Unavailable, Message: Canceled().Message}, nil
	}
	select {
	case <-w.try.done:
	case <-ctx.Done():
		if t.leave(w) {
			return nil, mfa.Verdict{}, ctx.Err()
		}
		<-w.try.done // it is being decided right now
	}
	if w.resp != nil {
		// Nothing else ends a read that waits for Vault when the app leaves.
		body := w.resp.Body
		context.AfterFunc(ctx, func() { _ = body.Close() })
	}
	return w.resp, w.try.verdict, w.try.err
}

// join waits at the try of k; nil means that all is closed.
func (t *Tries) join(ctx context.Context, k TryKey, run Try) *waiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	try, ok := t.current[k]
	if !ok {
		try = &sharedTry{key: k, done: make(chan struct{})}
		if t.current == nil {
			t.current = make(map[TryKey]*sharedTry)
		}
		t.current[k] = try
		// The values of ctx say which program asks; its end is that of one request only.
		ctx, try.cancel = context.WithCancel(context.WithoutCancel(ctx))
		stop := context.AfterFunc(t.living, try.cancel)
		t.running.Go(func() {
			defer stop()
			defer try.cancel()
			try.resp, try.verdict, try.err = run(ctx)
			if copies := t.decide(try); copies != nil {
				copies.pump()
			}
		})
	}
	w := &waiter{try: try}
	try.waiters = append(try.waiters, w)
	return w
}

// decide gives the result to every request that waits. Later ones start a try of their
// own. The caller pumps what it returns.
func (t *Tries) decide(try *sharedTry) *fanout {
	t.mu.Lock()
	t.dropLocked(try)
	try.decided = true
	t.mu.Unlock()
	var copies *fanout
	switch {
	case try.resp == nil:
	case len(try.waiters) == 0:
		_ = try.resp.Body.Close()
	default:
		copies = newFanout(try.resp, try.cancel)
		for _, w := range try.waiters {
			w.resp = copies.copy()
		}
	}
	close(try.done)
	return copies
}

// leave ends the wait of w and reports whether that was in time. The last one to leave
// ends the try, which then decides nothing.
func (t *Tries) leave(w *waiter) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.try.decided {
		return false
	}
	w.try.waiters = slices.DeleteFunc(w.try.waiters, func(other *waiter) bool { return other == w })
	if len(w.try.waiters) == 0 {
		t.dropLocked(w.try) // a request that comes now must not find a try that is ending
		w.try.cancel()
	}
	return true
}

func (t *Tries) dropLocked(try *sharedTry) {
	if t.current[try.key] == try {
		delete(t.current, try.key)
	}
}

func (t *Tries) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.end()
}
