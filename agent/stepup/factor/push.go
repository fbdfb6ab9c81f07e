package factor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

const (
	// NotifyAfter is how long Vault may take before it is taken to wait for a phone: the
	// person is told within a second.
	NotifyAfter = 700 * time.Millisecond
	// maxPush is what the person sees as the end of a push; Vault's own limit is 90 s.
	maxPush = 90 * time.Second
)

const (
	deniedHere   = "denied here; the push on the phone may be ignored"
	wantsANumber = "okta asks for a number"
)

// A Push is what the person is told while Vault waits for a phone.
type Push struct {
	Label, Type string // of the method
	Message     string
	// At once: the person is told before anything is sent, and not after NotifyAfter.
	AtOnce bool
	// Number blocks until the number that must be tapped on the phone is known, or
	// returns "" when ctx ends. nil: there is none.
	Number func(ctx context.Context) string
	// Read reads an answer that is a refusal; nil means mfa.ReadFailure of a 403.
	Read func(body []byte) mfa.Failure

	number string // that Number returned
}

// PushOf is the push by a method.
func PushOf(m mfa.Method) Push { return Push{Label: m.Label(), Type: m.Type} }

// A PushAttempt is a call of Vault that may wait for a phone. It owns the goroutine of the
// call; End waits for it.
type PushAttempt struct {
	Done    chan struct{} // closed when the reply is there
	cancel  context.CancelFunc
	started time.Time
	reply   Reply
}

// StartPush begins the call. prepare, if not nil, is called with the reply before Done is
// closed, because the reply belongs to the waiting goroutine after that; the function that it
// returns is called then.
func StartPush(ctx context.Context, do Call, prepare func(Reply) (after func())) *PushAttempt {
	ctx, cancel := context.WithCancel(ctx)
	p := &PushAttempt{Done: make(chan struct{}), cancel: cancel, started: time.Now()}
	go func() {
		resp, err := do(ctx)
		p.reply = Reply{Response: resp, Err: err, Took: time.Since(p.started)}
		after := func() {}
		if prepare != nil {
			after = prepare(p.reply)
		}
		close(p.Done) // p.reply must not be used here after this
		after()
	}()
	return p
}

// Reply waits for Vault's answer to the push. notified says whether the person was told.
func (p *PushAttempt) Reply(notified bool) Reply {
	<-p.Done
	r := p.reply
	r.Notified = notified
	return r
}

// End ends the call and waits for that.
func (p *PushAttempt) End() {
	p.cancel()
	<-p.Done
}

// WaitForPush runs do, in which Vault may push to a phone and block. After a moment the
// person is told to look there; a denial here ends the call with prompt.ErrDenied, a lock
// or the agent's end with prompt.ErrCanceled. do is over when WaitForPush returns, and so is
// the search for the number. The body of the answer ends the call.
func (s *StepUp) WaitForPush(app context.Context, push Push, do Call) Reply {
	n := &pushNotice{stepUp: s, push: push}
	if push.AtOnce {
		n.show(app)
	}
	p := StartPush(app, do, nil)
	numbers, stop := n.findNumber(app)
	defer stop()
	timer := time.NewTimer(NotifyAfter)
	defer timer.Stop()
	for {
		select {
		case <-p.Done:
			r := p.Reply(n.notice != nil)
			n.done(PushResult(r, push.Read))
			return r.endingWith(p.cancel)
		case <-timer.C:
			n.show(app)
		case number := <-numbers:
			n.showNumber(app, number)
		case <-n.denied():
			p.End()
			if resp := p.reply.Response; resp != nil {
				_ = resp.Body.Close()
			}
			n.done(deniedHere)
			return Reply{Err: n.notice.Err(), Notified: true, Took: time.Since(p.started)}
		}
	}
}

// MayAskFirst reports whether a question about this request could be explained: Vault knows
// the token, and its policies let it do this. Where Vault cannot be asked, the verdict says
// so, and nothing is sent: that might push before the person was asked.
func (s *StepUp) MayAskFirst(ctx context.Context, token secret.Secret) (mfa.Verdict, bool) {
	if s.Unauthenticated {
		return s.HasCapability(ctx, token)
	}
	capabilities, err := s.Config.Prober.Capabilities(ctx, token, s.Request.Namespace, s.Request.Path)
	status, answered := errors.AsType[*vault.StatusError](err)
	switch {
	case err == nil:
		return mfa.Verdict{}, s.Request.Grants(capabilities)
	case answered && status.Status == http.StatusForbidden:
		return s.Proven(ctx, token) // a live one may want the default policy
	}
	return ProbeFailed(err), false
}

// tellOfPush tells the person of a push that runs already.
func (s *StepUp) tellOfPush(app context.Context, push Push) *prompt.Notice {
	s.Challenge()
	s.Method = push.Label
	s.RecordPrompt(prompt.Push)
	s.Answered = true // if Vault accepts it: on the phone
	return s.Tell(app, prompt.Request{
		Kind: prompt.Push, Method: push.Label, MethodType: push.Type, Message: push.Message, Number: push.number,
		Deadline: time.Now().Add(maxPush),
	})
}

// FollowPush tells the person of p, a push that runs already, and waits for its end or
// their denial.
func (s *StepUp) FollowPush(app context.Context, push Push, p *PushAttempt) Reply {
	notice := s.tellOfPush(app, push)
	select {
	case <-p.Done:
		r := p.Reply(true)
		notice.Done(PushResult(r, push.Read))
		return r
	case <-notice.Denied():
		p.End()
		notice.Done(deniedHere)
		return Reply{Err: notice.Err(), Notified: true}
	}
}

// A pushNotice is what the person sees of a push.
type pushNotice struct {
	stepUp *StepUp
	push   Push
	notice *prompt.Notice // nil until the person was told
}

// show shows the notice, unless it is there.
func (n *pushNotice) show(app context.Context) {
	if n.notice != nil {
		return
	}
	n.notice = n.stepUp.tellOfPush(app, n.push)
}

// findNumber looks for the number that must be tapped. The caller must stop it.
func (n *pushNotice) findNumber(app context.Context) (numbers <-chan string, stop func()) {
	if n.push.Number == nil {
		return nil, func() {}
	}
	found := make(chan string, 1)
	ctx, cancel := context.WithCancel(app)
	var search sync.WaitGroup
	search.Go(func() { found <- n.push.Number(ctx) })
	return found, func() { cancel(); search.Wait() }
}

// showNumber puts the number in the place of what the person was told before. A denial of
// that counts.
func (n *pushNotice) showNumber(app context.Context, number string) {
	if number == "" {
		return
	}
	n.push.number, n.push.Message = number, "tap "+number+" in Okta Verify"
	if n.notice != nil {
		n.notice.Done(wantsANumber)
		if n.notice.Err() != nil {
			return // denied just now: that ends the call
		}
		n.notice = nil
	}
	n.show(app)
}

func (n *pushNotice) denied() <-chan struct{} {
	if n.notice == nil {
		return nil
	}
	return n.notice.Denied()
}

func (n *pushNotice) done(message string) {
	if n.notice != nil {
		n.notice.Done(message)
	}
}

// endingWith ties the end of the call's context to the end of its body.
func (r Reply) endingWith(cancel context.CancelFunc) Reply {
	switch {
	case r.Response == nil:
		cancel()
	case r.Response.StatusCode == http.StatusSwitchingProtocols:
		// The connection now belongs to the app; it ends with the request's context.
		context.AfterFunc(r.Response.Request.Context(), cancel)
	default:
		r.Response.Body = vault.CancelOnClose(r.Response.Body, cancel)
	}
	return r
}

// PushResult is the last line of the notice of a push. read reads its refusals; nil as in
// [Push].
func PushResult(r Reply, read func([]byte) mfa.Failure) string {
	switch {
	case r.DroppedByProxy():
		return "something between here and vault stopped waiting; the push on the phone may be ignored"
	case r.Err != nil:
		return "vault could not be reached"
	case read != nil && !r.OK():
		return loginResult(read(PeekBody(r.Response)))
	}
	if _, ok := r.Outage(); ok {
		return resultOutage
	}
	switch status := r.Response.StatusCode; {
	case status >= http.StatusInternalServerError:
		return fmt.Sprintf("vault answered %d", status)
	case status != http.StatusForbidden:
		return "done"
	}
	switch r.Failure().Kind {
	case mfa.PushDenied:
		return resultDenied
	case mfa.PushTimeout:
		return resultLate
	case mfa.NotEnrolled:
		return "the push could not be sent"
	}
	return "refused, or not answered in time"
}

// ResultApproved is the last line of a push that Vault has accepted.
const ResultApproved = "approved on the phone"

const (
	resultDenied = "refused on the phone"
	resultLate   = "not answered in time"
	resultOutage = "vault could not use the service behind this factor"
)

// loginResult is the last line for a login whose refusal is f.
func loginResult(f mfa.Failure) string {
	switch {
	case f.Kind == mfa.PushDenied:
		return resultDenied
	case f.Kind == mfa.PushTimeout:
		return resultLate
	case f.Kind == mfa.Unreachable:
		return resultOutage
	case f.Reason == "":
		return "vault could not be reached"
	}
	return vaultSays(f.Reason)
}
