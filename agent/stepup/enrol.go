package stepup

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/prompt"
)

const (
	// enrolFor is how long a person may take, from the login on: Vault forgets that after
	// 300 s (vault/core.go), and the last code needs a moment to get there.
	enrolFor = 285 * time.Second
	// revokeFor bounds the end of a token: a lock and the agent's end wait for it.
	revokeFor = 5 * time.Second
)

// enrol sets up an authenticator where Vault offers that (Enterprise 1.21), which it does for
// the only method of a login's only enforcement. done means that the login is decided by
// that; otherwise codes are asked for as ever.
//
// A person takes longer for it than apps wait. So it goes on without the app, as the
// acquisition of a token does: the app is told to try again, and the token that comes of it
// is revoked.
func (l *heldLogin) enrol(ctx context.Context) (v mfa.Verdict, done bool) {
	methods := l.exchange.Methods
	if len(methods) != 1 || !methods[0].SelfEnrollment || !methods[0].UsesPasscode {
		return mfa.Verdict{}, false
	}
	m := methods[0]
	if running := l.Config.State.Acquisitions.Find(l.enrolKey()); running != nil {
		return l.enrolledBy(ctx, running)
	}
	_, err := l.Ask(ctx, prompt.Request{
		Kind: prompt.Confirm, Method: m.Label(), MethodType: m.Type,
		Message: "vault has no secret of yours for this method yet, and offers to set one up: have an authenticator at hand",
	})
	if err != nil {
		v := factor.VerdictOf(ctx, err)
		if errors.Is(err, prompt.ErrDenied) && v.Outcome == mfa.Denied {
			v.Message = "stepup: you have no secret for this method yet and did not want to set one up; run it again to be asked, or ask for it to be enrolled in vault"
		}
		return v, true
	}
	e := l.newEnrolment(m)
	running, started := l.Config.State.Acquisitions.Join(l.enrolKey(), e.acquire)
	if !started {
		return l.enrolledBy(ctx, running)
	}
	waiting, cancel := l.UntilDeadline(ctx)
	defer cancel()
	select {
	case d := <-e.decided:
		if d.resp != nil {
			l.exchange.Keep(d.resp)
		}
		return d.verdict, !d.before
	case <-waiting.Done():
		close(e.left)
		return l.leftEnrolling(ctx), true
	}
}

// enrolledBy waits for an enrolment that another login of this person has begun. A code is
// then asked for as of any person who has an authenticator.
func (l *heldLogin) enrolledBy(ctx context.Context, running *state.Acquisition) (v mfa.Verdict, done bool) {
	waiting, cancel := l.UntilDeadline(ctx)
	defer cancel()
	select {
	case <-running.Done:
		return running.Verdict, !running.Verdict.OK()
	case <-waiting.Done():
		return l.leftEnrolling(ctx), true
	}
}

// leftEnrolling is the verdict for an app that waits no longer.
func (l *heldLogin) leftEnrolling(ctx context.Context) mfa.Verdict {
	if ctx.Err() != nil {
		return factor.Canceled()
	}
	return factor.StillEnrolling()
}

// enrolKey names an enrolment among the acquisitions: those of tokens have no path.
func (l *heldLogin) enrolKey() state.Key {
	key := cache.Key{Vault: l.Key.Vault, Namespace: l.Key.Namespace, Rule: l.Rule}
	return state.Key{Key: key, Path: cmp.Or(l.TurnKey().Path, "login of the rule")}
}

// An enrolment is an acquisition of its own, with a copy of the login that it began in.
type enrolment struct {
	login   *heldLogin
	method  mfa.Method
	decided chan enrolled // has no buffer: its receiver has the answer
	left    chan struct{} // closed when the login waits no longer
}

// enrolled is how an enrolment ended.
type enrolled struct {
	verdict mfa.Verdict
	resp    *http.Response // Vault's last answer; nil where there is none
	before  bool           // the person had a secret before: nothing is decided
}

func (l *heldLogin) newEnrolment(m mfa.Method) *enrolment {
	s := *l.StepUp
	s.Deadline, s.OutlivesApp = s.Started.Add(enrolFor), true
	return &enrolment{
		login:  newHeldLogin(l.config, &s, l.challenge),
		method: m, decided: make(chan enrolled), left: make(chan struct{}),
	}
}

// acquire runs the enrolment and hands its end to the login, or concludes by itself.
func (e *enrolment) acquire(ctx context.Context, _ *state.Acquisition) mfa.Verdict {
	asking, cancel := e.login.UntilDeadline(ctx)
	defer cancel()
	d := e.run(ctx, asking)
	if ctx.Err() != nil && !d.verdict.OK() {
		d.verdict = state.Canceled()
	}
	d.buffer()
	select {
	case e.decided <- d:
		return d.verdict
	case <-e.left:
	}
	if d.resp != nil {
		e.revoke(ctx, d.resp)
	}
	if d.before {
		return d.verdict
	}
	return e.login.Conclude(ctx, d.verdict)
}

// buffer takes the answer into memory: it is read after this acquisition has ended, which the
// connection may not outlive.
func (d *enrolled) buffer() {
	if d.resp == nil {
		return
	}
	var err error
	if d.resp, err = factor.BufferBody(d.resp, nil); err != nil && d.verdict.OK() {
		d.verdict = factor.Unreached(err)
	}
}

// run gets the secret, and asks for its first code until Vault takes it. A wrong one is asked
// for again with the same secret, which Vault keeps with the login.
func (e *enrolment) run(ctx, asking context.Context) enrolled {
	made, err := e.login.config.Vault.SelfEnrol(asking, e.login.challenge, e.method.ID)
	switch {
	case errors.Is(err, vault.ErrEnrolled):
		return enrolled{before: true}
	case err != nil:
		return enrolled{verdict: factor.Unavailablef("stepup: vault did not set up an authenticator for you: %v; ask for it to be enrolled in vault", err)}
	}
	m := e.method
	m.Digits = made.Digits
	first := factor.Question{Reason: "your new secret: a first code of it finishes the login"}
	v, ok := e.login.Try(first, func(q factor.Question) (mfa.Verdict, string) {
		code, again, err := e.login.Sendable(m, q, func(q factor.Question) (string, error) { return e.firstCode(ctx, made, q) })
		if err != nil {
			return factor.VerdictOf(ctx, err), ""
		}
		if again = cmp.Or(again, e.login.MarkUsed(m, code)); again != "" {
			return mfa.Verdict{}, again
		}
		select {
		case <-e.left:
			e.login.challenge.WrapTTL = "" // the app does not unwrap it, and we must revoke it
		default:
		}
		return e.login.exchange.Deliver(ctx, factor.Factors{Methods: []mfa.Method{e.method}, Codes: map[string]string{e.method.ID: code}})
	})
	if !ok {
		v = factor.RejectedCodes()
	}
	if v.Outcome == mfa.Approved {
		e.login.Record(audit.Enrolled, time.Since(e.login.Started))
	}
	return enrolled{verdict: v, resp: e.login.exchange.Last}
}

func (e *enrolment) firstCode(ctx context.Context, made vault.Enrolment, q factor.Question) (string, error) {
	return e.login.Ask(ctx, prompt.Request{
		Kind: prompt.Passcode, Method: e.method.Label(), MethodType: e.method.Type, Digits: made.Digits,
		Attempt: q.Attempt, Message: q.Reason,
		Enrolment: &prompt.Enrolment{
			Secret: made.Secret, Issuer: made.Issuer, Account: made.Account,
			Algorithm: made.Algorithm, Digits: made.Digits, Period: made.Period,
		},
	})
}

// revoke ends the token of a login whose app has left. One that cannot be read ends by itself.
func (e *enrolment) revoke(ctx context.Context, resp *http.Response) {
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode/100 != 2 {
		return
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, mfa.MaxBody))
	if err == nil {
		var auth vault.Auth
		if auth, err = vault.ParseAuth(body); err == nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeFor)
			defer cancel()
			err = e.login.config.Vault.RevokeSelf(ctx, auth.Token, e.login.challenge.Namespace)
		}
	}
	if err != nil {
		e.login.Config.Log.Warn("token of a login that no program waits for is not revoked", "vault", e.login.Config.VaultName, "error", err)
		return
	}
	e.login.Record(audit.Revoked, 0)
}
