package stepup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/prompt"
)

// contest finds the login that one question can meet in two ways, by a code that
// is typed or by a push that is approved: its only constraint offers just one of
// each, and no code is there yet. With a second constraint, the push that gives way
// to a code would burn the other's code or push again, so there the person chooses
// first; so they do where the code is not typed, where Vault does not let go of the
// push, and where no push is wanted without a word of theirs.
func (l *login) contest() (code, push mfa.Method, ok bool) {
	if len(l.challenge.Constraints) != 1 || l.config.ConfirmPush {
		return code, push, false
	}
	methods := l.usable(l.challenge.Constraints[0])
	if _, preferred := l.preferred(methods); preferred || len(methods) != 2 || slices.ContainsFunc(methods, l.early.fits) {
		return code, push, false
	}
	code, push = methods[0], methods[1]
	if push.UsesPasscode {
		code, push = push, code
	}
	typed := code.UsesPasscode && !code.OrPush && !code.SelfEnrollment && !l.config.FromSeed[code.Name] && len(l.config.Commands[code.Name]) == 0
	return code, push, typed && push.CanBeDropped()
}

// A phone is a push that rings while the person may type a code instead. It owns
// the goroutine of its validate: end waits for it.
type phone struct {
	push mfa.Method
	drop context.CancelFunc
	done chan struct{} // closed when call is there
	call call
}

// dial starts the push. settle is called once Vault has answered.
func (l *login) dial(push mfa.Method, settle context.CancelCauseFunc) *phone {
	ctx, drop := context.WithCancel(l.app)
	p := &phone{push: push, drop: drop, done: make(chan struct{})}
	started := time.Now()
	go func() {
		defer drop()
		p.call = whole(l.config.Vault.Validate(ctx, l.challenge, map[string][]string{push.ID: {""}}))
		p.call.told, p.call.took = true, time.Since(started) // the question tells of it
		result := prompt.Decided{Message: pushResult(p.call)}
		if p.call.ok() {
			result.Message = pushYes
		}
		close(p.done) // the call is somebody else's from here
		settle(result)
	}()
	return p
}

// whole is an answer that is all here, so that dropping its call takes nothing
// from it.
func whole(resp *http.Response, err error) call {
	if err != nil {
		return call{err: err}
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, mfa.MaxBody))
	_ = resp.Body.Close()
	if err != nil {
		return call{err: err}
	}
	resp.Body = io.NopCloser(bytes.NewReader(data))
	return call{resp: resp}
}

// answer waits for Vault's answer to the push.
func (p *phone) answer() call {
	<-p.done
	return p.call
}

// end lets the push ring no longer and waits until it is off the line.
func (p *phone) end() {
	p.drop()
	<-p.done
}

// race rings the phone and asks for a code at the same time; the first decides.
// Vault looks at one of them only: it takes a held login out while it validates,
// so the push is dropped before the code is sent.
func (l *login) race(ctx context.Context, push mfa.Method) mfa.Verdict {
	asking, settle := context.WithCancelCause(ctx)
	defer settle(nil)
	p := l.dial(push, settle)
	defer p.end()
	for q := (question{attempt: 1, push: push}); q.attempt <= l.attempts; q.attempt++ {
		codes, again, err := l.passcodes(asking, l.methods, q)
		switch {
		case err == nil && again != "":
			q.reason = again // the phone goes on ringing
		case err == nil:
			p.end()
			if c := p.answer(); c.ok() {
				return l.byPush(c, push) // the thumb was faster than the code
			}
			l.rang = true
			v, reason := l.send(codes)
			if v.Outcome != "" {
				return v
			}
			return l.try(ctx, question{attempt: q.attempt + 1, reason: reason})
		case errors.Is(err, context.Canceled) && errors.As(context.Cause(asking), new(prompt.Decided)):
			return l.rung(ctx, p.answer(), question{attempt: q.attempt, push: push})
		case errors.Is(err, prompt.ErrUnavailable), errors.Is(err, prompt.ErrBusy), errors.Is(err, prompt.ErrDismissed):
			return l.phoneOnly(p)
		default:
			return verdict(l.app, err)
		}
	}
	return mfa.Verdict{Outcome: mfa.Rejected, Message: appRejected}
}

// ok reports whether a validate ended with Vault's yes.
func (c call) ok() bool { return c.resp != nil && c.resp.StatusCode/100 == 2 }

func (l *login) byPush(c call, push mfa.Method) mfa.Verdict {
	l.method, l.answered = push.Label(), true
	l.replace(c.resp)
	return mfa.Verdict{Outcome: mfa.Approved}
}

// rung goes on after Vault's answer to the push: where it is a no, or the phone
// was not reached at all, the code is still a way.
func (l *login) rung(ctx context.Context, c call, q question) mfa.Verdict {
	if c.ok() {
		return l.byPush(c, q.push)
	}
	v, _ := l.read(c)
	switch kind := c.failure(); {
	case c.cut():
		q.reason, l.rang = pushGone, true
	case kind == mfa.Unreachable:
		q.reason = pushDown
	case kind == mfa.NotEnrolled:
		q.reason = pushNoPhone
	case kind == mfa.PushTimeout:
		q.reason = pushMissed
	case c.resp != nil && c.resp.StatusCode == http.StatusForbidden:
		q.reason = pushSaidNo
	default:
		if v.Outcome == "" {
			v = mfa.Verdict{Outcome: mfa.Unavailable, Message: vaultAnswered(c.resp.StatusCode)}
		}
		return v
	}
	q.push = mfa.Method{}
	return l.try(ctx, q)
}

// failure is what Vault has against the factor, Unknown where it gave no answer.
func (c call) failure() mfa.FailureKind {
	if c.resp == nil {
		return mfa.Unknown
	}
	return mfa.ReadFailure(keepBody(c.resp)).Kind
}

// phoneOnly waits for the phone alone, where nobody can type a code or the person
// has closed the question: the phone is then the way to ask them.
func (l *login) phoneOnly(p *phone) mfa.Verdict {
	l.methods = []mfa.Method{p.push}
	l.method = p.push.Label()
	l.answered = true // if Vault accepts it: on the phone
	l.record(audit.Prompt, 0)
	notice := l.config.Asker.Tell(l.app, l.pushNotice(p.push))
	select {
	case <-p.done:
		notice.Done(pushResult(p.call))
	case <-notice.Denied():
		p.end()
		notice.Done(pushDeniedHere)
		return verdict(l.app, notice.Err())
	}
	v, _ := l.read(p.answer()) // without a code there is nothing to ask again
	return v
}

// How long Vault may take to notice that a push was dropped. It looks once a
// second (vault/login_mfa.go, validateOkta), and until then it does not know the
// login.
const (
	firstPause = 25 * time.Millisecond
	lastPause  = time.Second
	graceTime  = 5 * time.Second
)

// whenFree validates when the held login is back in Vault's queue. "invalid
// request ID" comes before Vault looks at any code, so sending the same one again
// uses none up.
func (l *login) whenFree(codes map[string]string) call {
	until := time.Now().Add(graceTime)
	if l.deadline.After(until) {
		until = l.deadline
	}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		c := l.validate(codes)
		if c.failure() != mfa.Expired || time.Now().Add(pause).After(until) {
			return c
		}
		_ = c.resp.Body.Close()
		select {
		case <-time.After(pause):
		case <-l.app.Done():
			return call{err: l.app.Err()}
		}
	}
}
