package stepup

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/prompt"
)

// tellAfter is how long Vault may take before it is taken to wait for a phone:
// the person is told within a second.
const tellAfter = 700 * time.Millisecond

// quick is the longest time after which a 403 is still an ordinary one. Vault
// checks a passcode at once; what takes longer was a push that somebody refused
// or missed, and asking again would push again.
const quick = 3 * time.Second

// A call is one answer of Vault that may wait for a phone.
type call struct {
	resp *http.Response
	err  error
	told bool          // the person was told to look at the phone
	took time.Duration // from the start to the answer
}

// denied reports whether an answer is a no behind which a factor may stand: a 403,
// or on the path of a login the 400 of a Sentinel policy.
func (c call) denied() bool {
	switch {
	case c.resp == nil:
		return false
	case c.resp.StatusCode == http.StatusBadRequest:
		return mfa.ReadFailure(keepBody(c.resp)).Kind == mfa.PolicyDenied
	}
	return c.resp.StatusCode == http.StatusForbidden
}

// late reports whether a no came too late to be an ordinary one.
func (c call) late() bool { return c.took >= quick && c.denied() }

// cut reports whether something between us and Vault ended the wait for a phone:
// the connection broke, or a gateway answered for itself. Vault's own errors,
// those of a sealed one say, have their list.
func (c call) cut() bool {
	if !c.told || c.took < quick {
		return false
	}
	if c.err != nil {
		return !errors.Is(c.err, context.Canceled) && !errors.Is(c.err, prompt.ErrDenied) && !errors.Is(c.err, prompt.ErrCanceled)
	}
	switch c.resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, cloudflareTimeout:
		return mfa.Errors(keepBody(c.resp)) == nil
	}
	return false
}

// broken is the verdict on a call that has no answer.
func (c call) broken(app context.Context) mfa.Verdict {
	if c.cut() {
		return mfa.Verdict{Outcome: mfa.Timeout, Message: appCut}
	}
	return verdict(app, c.err)
}

// cloudflareTimeout is their word for an origin that does not answer in time.
const cloudflareTimeout = 524

// refusedPush reports whether a phone said no, or nothing.
func (c call) refusedPush() bool { return c.told && c.late() }

// timed runs do where no push is expected, and measures from the moment in which
// Vault had the whole request: a slow way there is not a phone that nobody takes.
func timed(ctx context.Context, do func(context.Context) (*http.Response, error)) call {
	var asked atomic.Pointer[time.Time]
	since := func() { now := time.Now(); asked.Store(&now) }
	since()
	resp, err := do(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { since() },
	}))
	return call{resp: resp, err: err, took: time.Since(*asked.Load())}
}

// watch runs do, in which Vault may push m to a phone and block. After a moment
// the person is told to look there; a denial here ends the call with
// prompt.ErrDenied, a lock or the agent's end with prompt.ErrCanceled. do is over
// when watch returns.
func (s *stepUp) watch(ctx context.Context, m mfa.Method, do func(context.Context) (*http.Response, error)) call {
	ctx, cancel := context.WithCancel(ctx)
	started := time.Now()
	done := make(chan call, 1)
	go func() {
		resp, err := do(ctx)
		done <- call{resp: resp, err: err}
	}()
	timer := time.NewTimer(tellAfter)
	defer timer.Stop()
	select {
	case c := <-done:
		return c.finish(started, false, cancel)
	case <-timer.C:
	}
	s.method = m.Label()
	s.record(audit.Prompt, 0)
	notice := s.config.Asker.Tell(ctx, s.pushNotice(m))
	s.answered = true // if Vault accepts it: on the phone
	select {
	case c := <-done:
		notice.Done(pushResult(c))
		return c.finish(started, true, cancel)
	case <-notice.Denied():
		cancel()
		if c := <-done; c.resp != nil {
			_ = c.resp.Body.Close()
		}
		notice.Done(pushDeniedHere)
		return call{err: notice.Err(), told: true, took: time.Since(started)}
	}
}

// pushNotice is what the person is told of a push by m.
func (s *stepUp) pushNotice(m mfa.Method) prompt.Request {
	push := s.fill(prompt.Request{Kind: prompt.Push, Method: m.Label(), MethodType: m.Type})
	push.Deadline = time.Now().Add(maxPush)
	return push
}

// maxPush is what the person sees as the end of a push; Vault's own limit is 90 s.
const maxPush = 90 * time.Second

// finish ties the end of the call's context to the end of its body.
func (c call) finish(started time.Time, told bool, cancel context.CancelFunc) call {
	c.told, c.took = told, time.Since(started)
	switch {
	case c.resp == nil:
		cancel()
	case c.resp.StatusCode == http.StatusSwitchingProtocols:
		// The connection now belongs to the app; it ends with the request's context.
		context.AfterFunc(c.resp.Request.Context(), cancel)
	default:
		c.resp.Body = &cancelBody{ReadCloser: c.resp.Body, cancel: cancel}
	}
	return c
}

type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *cancelBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
