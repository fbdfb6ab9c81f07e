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
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// An Enroller sets up the authenticator of a person who has none. *vault.Client
// is one.
type Enroller interface {
	// SelfEnrol makes a secret for a held login; Vault keeps it when the login is
	// validated by a code of it. vault.ErrEnrolled means that there is one.
	SelfEnrol(ctx context.Context, c mfa.Challenge, method string) (vault.Enrolment, error)
	// RevokeSelf ends a token that nobody waits for any more.
	RevokeSelf(ctx context.Context, token secret.Secret, namespace string) error
}

const (
	// enrolFor is how long a person may take, from the login on: Vault forgets that
	// after 300 s (vault/core.go), and the last code needs a moment to get there.
	enrolFor = 285 * time.Second
	// revokeFor bounds the end of a token: a lock and the agent's end wait for it.
	revokeFor = 5 * time.Second
)

// enrol sets up an authenticator where Vault offers that (Enterprise 1.21), which
// it does for the only method of a login's only enforcement. done means that the
// login is decided by that; otherwise codes are asked for as ever.
//
// A person takes longer for it than apps wait. So it goes on without the app, as
// a step-up to a token does: the app is told to try again, and the token that
// comes of it is revoked.
func (l *login) enrol(ctx context.Context) (v mfa.Verdict, done bool) {
	if l.config.Enroller == nil || len(l.methods) != 1 || !l.methods[0].SelfEnrollment || !l.methods[0].UsesPasscode {
		return mfa.Verdict{}, false
	}
	m := l.methods[0]
	if f := l.config.Ledger.flight(l.enrolKey()); f != nil {
		return l.enrolledBy(ctx, f)
	}
	_, err := l.ask(ctx, prompt.Request{Kind: prompt.Confirm, Method: m.Label(), MethodType: m.Type, Message: confirmEnrol})
	if err != nil {
		v := verdict(l.app, err)
		if errors.Is(err, prompt.ErrDenied) && v.Outcome == mfa.Denied {
			v.Message = appNotSetUp
		}
		return v, true
	}
	e := l.newEnrolment(m)
	f, ours := l.config.Ledger.launch(l.enrolKey(), e.fly)
	if !ours {
		return l.enrolledBy(ctx, f)
	}
	select {
	case d := <-e.decided:
		if d.resp != nil {
			l.replace(d.resp)
		}
		return d.verdict, !d.enrolled
	case <-ctx.Done():
		close(e.left)
		return l.enrolsOn(ctx), true
	}
}

// enrolledBy waits for an enrolment that another login of this person has begun. A
// code is then asked for like that of anybody who has an authenticator.
func (l *login) enrolledBy(ctx context.Context, f *flight) (v mfa.Verdict, done bool) {
	select {
	case <-f.done:
		return f.verdict, !f.verdict.OK()
	case <-ctx.Done():
		return l.enrolsOn(ctx), true
	}
}

// enrolsOn is the verdict for an app that waits no longer.
func (l *login) enrolsOn(ctx context.Context) mfa.Verdict {
	v := verdict(l.app, ctx.Err())
	if v.Outcome == mfa.Timeout {
		v.Message = appEnrolling
	}
	return v
}

// enrolKey names an enrolment among the flights: those of tokens have no path.
func (l *login) enrolKey() turnKey {
	key := cache.Key{Vault: l.key.Vault, Namespace: l.key.Namespace, Rule: l.rule}
	return turnKey{Key: key, Path: cmp.Or(l.turn().Path, "login of the rule")}
}

// An enrolment is a flight of its own, with a copy of the login that it began in.
type enrolment struct {
	login
	method  mfa.Method
	decided chan enrolled // has no buffer: who takes from it has the answer
	left    chan struct{} // closed when the login waits no longer
}

// enrolled is how an enrolment ended.
type enrolled struct {
	verdict  mfa.Verdict
	resp     *http.Response // Vault's last answer; nil where there is none
	enrolled bool           // the person had a secret before: nothing is decided
}

func (l *login) newEnrolment(m mfa.Method) *enrolment {
	step := *l.stepUp
	step.deadline = step.started.Add(enrolFor)
	return &enrolment{
		login:  login{stepUp: &step, challenge: l.challenge, methods: l.methods},
		method: m, decided: make(chan enrolled), left: make(chan struct{}),
	}
}

// fly runs the enrolment and hands its end to the login, or concludes by itself.
func (e *enrolment) fly(flight context.Context) mfa.Verdict {
	ctx, cancel := context.WithDeadline(flight, e.deadline)
	defer cancel()
	e.app = flight
	d := e.run(ctx)
	if flight.Err() != nil && !d.verdict.OK() {
		d.verdict = mfa.Verdict{Outcome: mfa.Denied, Message: appCanceled}
	}
	d.keep()
	select {
	case e.decided <- d:
		return d.verdict
	case <-e.left:
	}
	if d.resp != nil {
		e.revoke(flight, d.resp)
	}
	if d.enrolled {
		return d.verdict
	}
	return e.conclude(flight, d.verdict)
}

// keep takes the answer into memory: it is read after this flight has ended, which
// the connection may not outlive.
func (d *enrolled) keep() {
	if d.resp == nil {
		return
	}
	c := whole(d.resp, nil)
	d.resp = c.resp
	if c.err != nil && d.verdict.OK() {
		d.verdict = mfa.Verdict{Outcome: mfa.Unavailable, Message: vaultFailed(c.err)}
	}
}

// run gets the secret, and asks for its first code until Vault takes it. A wrong
// one is asked for again with the same secret, which Vault keeps with the login.
func (e *enrolment) run(ctx context.Context) enrolled {
	made, err := e.config.Enroller.SelfEnrol(ctx, e.challenge, e.method.ID)
	switch {
	case errors.Is(err, vault.ErrEnrolled):
		return enrolled{enrolled: true}
	case err != nil:
		return enrolled{verdict: mfa.Verdict{Outcome: mfa.Unavailable, Message: enrolFailed(err)}}
	}
	reason := firstCode
	for attempt := 1; attempt <= e.attempts; attempt++ {
		code, err := e.firstCode(ctx, made, question{attempt: attempt, reason: reason})
		if err != nil {
			return enrolled{verdict: verdict(e.app, err), resp: e.last}
		}
		switch {
		case !isDigits(code, made.Digits):
			reason = wrongDigits(made.Digits)
			continue
		case !e.config.Ledger.spend(map[string]string{e.spentAs(e.method): code}):
			reason = codeSentBefore
			continue
		}
		select {
		case <-e.left:
			e.challenge.WrapTTL = "" // nobody unwraps it, and we must revoke it
		default:
		}
		var v mfa.Verdict
		if v, reason = e.send(map[string]string{e.method.ID: code}); v.Outcome == mfa.Approved {
			e.record(audit.Enrolled, time.Since(e.started))
		}
		if v.Outcome != "" {
			return enrolled{verdict: v, resp: e.last}
		}
	}
	return enrolled{verdict: mfa.Verdict{Outcome: mfa.Rejected, Message: appRejected}, resp: e.last}
}

func (e *enrolment) firstCode(ctx context.Context, made vault.Enrolment, q question) (string, error) {
	return e.ask(ctx, prompt.Request{
		Kind: prompt.Passcode, Method: e.method.Label(), MethodType: e.method.Type, Digits: made.Digits,
		Attempt: q.attempt, Message: q.reason,
		Enrolment: &prompt.Enrolment{
			Secret: prompt.Seed(made.Secret.Reveal()), Issuer: made.Issuer, Account: made.Account,
			Algorithm: made.Algorithm, Digits: made.Digits, Period: made.Period,
		},
	})
}

// revoke ends the token of a login that nobody waits for. One that cannot be read
// ends by itself.
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
			err = e.config.Enroller.RevokeSelf(ctx, auth.Token, e.challenge.Namespace)
		}
	}
	if err != nil {
		e.config.Log.Warn("token of a login that nobody waits for is not revoked", "vault", e.config.VaultName, "error", err)
		return
	}
	e.record(audit.Revoked, 0)
}
