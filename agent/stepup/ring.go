package stepup

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/prompt"
)

// A ring is a call of Vault during which a phone may ring, and a number may have to
// be tapped on it.
type ring struct {
	notice prompt.Request
	// after is how long Vault may take before the person is told; 0 tells them before
	// anything is sent.
	after time.Duration
	// number blocks until the number is known, or gives "" when ctx ends. nil: there
	// is none.
	number func(ctx context.Context) string
	read   func(body []byte) mfa.Failure // of an answer that is a refusal
}

// A mounted is one request at a mount whose factor goes with the request itself.
type mounted struct {
	*stepUp
	app        context.Context // of the request, without the prompt's deadline
	challenged bool            // the person was asked or told
	newest
}

// challenge notes that a second factor is wanted, once.
func (m *mounted) challenge() {
	if !m.challenged {
		m.challenged = true
		m.record(audit.Challenge, 0)
	}
}

// ring runs do while the person is told what the phone wants. A denial here ends the
// call with prompt.ErrDenied, a lock or the agent's end with prompt.ErrCanceled. do is
// over when ring returns, and so is the search for the number.
func (m *mounted) ring(r ring, do func(context.Context) (*http.Response, error)) call {
	ctx, cancel := context.WithCancel(m.app)
	b := &bell{mounted: m, ring: r, ctx: ctx}
	if r.after == 0 {
		b.tell()
	}
	started := time.Now()
	done := make(chan call, 1)
	go func() {
		resp, err := do(ctx)
		done <- call{resp: resp, err: err}
	}()
	numbers := make(chan string, 1)
	looking, stop := context.WithCancel(ctx)
	var search sync.WaitGroup
	defer search.Wait()
	defer stop()
	if r.number != nil {
		search.Go(func() { numbers <- r.number(looking) })
	}
	timer := time.NewTimer(r.after)
	defer timer.Stop()
	for {
		select {
		case c := <-done:
			c = c.finish(started, b.notice != nil, cancel)
			b.over(loginResult(c, r.read))
			return c
		case <-timer.C:
			b.tell()
		case n := <-numbers:
			b.show(n)
		case <-b.denied():
			cancel()
			if c := <-done; c.resp != nil {
				_ = c.resp.Body.Close()
			}
			b.over(pushDeniedHere)
			return call{err: b.notice.Err(), told: true, took: time.Since(started)}
		}
	}
}

// A bell is what the person sees of a ring.
type bell struct {
	*mounted
	ring   ring
	ctx    context.Context //nolint:containedctx // of the one call that it belongs to
	notice *prompt.Notice  // nil until they were told
}

// tell shows the notice, unless it is there.
func (b *bell) tell() {
	if b.notice != nil {
		return
	}
	b.challenge()
	b.method = b.ring.notice.Method
	b.record(audit.Prompt, 0)
	b.answered = true // if Vault accepts it: on the phone
	p := b.fill(b.ring.notice)
	p.Kind, p.Deadline = prompt.Push, time.Now().Add(maxPush)
	b.notice = b.config.Asker.Tell(b.ctx, p)
}

// show puts the number in the place of what the person was told before. A denial of
// that counts.
func (b *bell) show(number string) {
	if number == "" {
		return
	}
	b.ring.notice.Number, b.ring.notice.Message = number, tapNumber(number)
	if b.notice != nil {
		b.notice.Done(pushHasNumber)
		if b.notice.Err() != nil {
			return // denied just now: that ends the call
		}
		b.notice = nil
	}
	b.tell()
}

func (b *bell) denied() <-chan struct{} {
	if b.notice == nil {
		return nil
	}
	return b.notice.Denied()
}

func (b *bell) over(message string) {
	if b.notice != nil {
		b.notice.Done(message)
	}
}
