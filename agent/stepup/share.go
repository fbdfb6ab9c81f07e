package stepup

import (
	"context"
	"net/http"
	"slices"

	"github.com/vault-stepup/stepup/agent/mfa"
)

// A sameKey names the requests of one caller that are the same in everything.
type sameKey struct {
	turnKey
	Same string // as in rule.Match
}

// A sharedTry is one first try of requests that are the same: one push, one
// answer, a copy of it for each. It belongs to the ledger, not to the request that
// came first: that one may leave while others wait. When all have left, it ends.
type sharedTry struct {
	key     sameKey
	done    chan struct{} // closed when what follows is set
	verdict mfa.Verdict
	err     error

	seats  []*seat // guarded by the ledger's mu
	over   bool    // likewise: no seat is taken or given up any more
	cancel context.CancelFunc
}

// A seat is one request at a shared try.
type seat struct {
	try  *sharedTry
	resp *http.Response // nil until done, and where there is none
}

// A try sends a request for the first time. It ends when its context does.
type try func(context.Context) (*http.Response, mfa.Verdict, error)

// share joins the try of k, or starts one, and waits until it is decided or ctx
// ends. The body of the answer ends with ctx, too.
func (l *Ledger) share(ctx context.Context, k sameKey, run try) (*http.Response, mfa.Verdict, error) {
	s := l.sit(ctx, k, run)
	if s == nil {
		return nil, mfa.Verdict{Outcome: mfa.Unavailable, Message: appCanceled}, nil
	}
	select {
	case <-s.try.done:
	case <-ctx.Done():
		if l.leaveSeat(s) {
			return nil, mfa.Verdict{}, ctx.Err()
		}
		<-s.try.done // it is being decided right now
	}
	if s.resp != nil {
		// Nothing else ends a read that waits for Vault when the app leaves.
		body := s.resp.Body
		context.AfterFunc(ctx, func() { _ = body.Close() })
	}
	return s.resp, s.try.verdict, s.try.err
}

// sit takes a seat at the try of k; nil means that the ledger is closed.
func (l *Ledger) sit(ctx context.Context, k sameKey, run try) *seat {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	t, ok := l.tries[k]
	if !ok {
		t = &sharedTry{key: k, done: make(chan struct{})}
		l.tries[k] = t
		// Its values say who asks; its end is not ours.
		ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
		stop := context.AfterFunc(l.living, t.cancel)
		l.sharing.Go(func() {
			defer stop()
			defer t.cancel()
			resp, verdict, err := run(ctx)
			if f := l.decided(t, outcomeOfTry{resp, verdict, err}); f != nil {
				f.pump()
			}
		})
	}
	s := &seat{try: t}
	t.seats = append(t.seats, s)
	return s
}

type outcomeOfTry struct {
	resp    *http.Response
	verdict mfa.Verdict
	err     error
}

// decided gives the outcome to everybody who waits. Later requests start a try of
// their own. What it returns has to be pumped.
func (l *Ledger) decided(t *sharedTry, o outcomeOfTry) *fanout {
	l.mu.Lock()
	l.dropLocked(t)
	t.over = true
	l.mu.Unlock()
	t.verdict, t.err = o.verdict, o.err
	var f *fanout
	switch {
	case o.resp == nil:
	case len(t.seats) == 0:
		_ = o.resp.Body.Close()
	default:
		f = newFanout(o.resp, t.cancel)
		for _, s := range t.seats {
			s.resp = f.copy()
		}
	}
	close(t.done)
	return f
}

// leaveSeat gives a seat up and reports whether that was in time; the last one to
// leave ends the try, which then is nobody's decision.
func (l *Ledger) leaveSeat(s *seat) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.try.over {
		return false
	}
	s.try.seats = slices.DeleteFunc(s.try.seats, func(other *seat) bool { return other == s })
	if len(s.try.seats) == 0 {
		l.dropLocked(s.try) // whoever comes now must not find a try that is ending
		s.try.cancel()
	}
	return true
}

func (l *Ledger) dropLocked(t *sharedTry) {
	if l.tries[t.key] == t {
		delete(l.tries, t.key)
	}
}
