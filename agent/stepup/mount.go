package stepup

import (
	"context"
	"net/http"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/prompt"
)

type sendLogin = func(ctx context.Context, body mfa.LoginBody) (*http.Response, error)

// A mountLogin is one login at a mount, on its way through prompts and sendings.
type mountLogin struct {
	mounted
	mfa.MountLogin
	send sendLogin
}

// AtMount implements relay.MountResolver. Who brings the factor, or is never asked,
// logs in as if we were not there: Vault pushes by itself, or lets them in without.
func (r *Resolver) AtMount(ctx context.Context, l mfa.MountLogin, q rule.Request, send sendLogin) (*http.Response, mfa.Verdict, error) {
	m := &mountLogin{mounted: mounted{stepUp: r.begin(ctx, q, "", ""), app: ctx}, MountLogin: l, send: send}
	if l.Own() {
		return m.own(ctx)
	}
	m.unproven = l.Kind == mfa.LegacyMount || m.config.ConfirmPush
	if v, ok := m.silent(); ok {
		if v.Outcome == mfa.Cooldown || m.config.ConfirmPush {
			return nil, v, nil // sending is what rings
		}
		err := m.asItIs()
		return m.last, mfa.Verdict{}, err
	}
	if l.Kind == mfa.OktaMount {
		return m.decide(m.okta)
	}
	return m.decide(m.legacy)
}

// own sends a login whose app knows what it does. Where it turns out that it did not
// know about the code of an Okta login, the person is asked for that.
func (m *mountLogin) own(ctx context.Context) (*http.Response, mfa.Verdict, error) {
	if err := m.asItIs(); err != nil {
		return nil, mfa.Verdict{}, err
	}
	if m.Kind != mfa.OktaMount || mfa.OktaFailure(m.failure()).Kind != mfa.NeedsCode {
		return m.last, mfa.Verdict{}, nil
	}
	if v, ok := m.silent(); ok {
		if v.Outcome == mfa.Cooldown {
			return m.last, v, nil
		}
		return m.last, mfa.Verdict{}, nil
	}
	return m.decide(m.oktaCode)
}

// decide runs step when it is this login's turn. Where step finds that no factor was
// wanted, there is nothing to conclude.
func (m *mountLogin) decide(step func(context.Context) (mfa.Verdict, error)) (*http.Response, mfa.Verdict, error) {
	ctx, cancel := context.WithDeadline(m.app, m.deadline)
	defer cancel()
	leave, v := m.enter(m.app, ctx)
	if leave == nil {
		return m.last, v, nil
	}
	defer leave()
	v, err := step(ctx)
	if err != nil {
		m.replace(nil)
		return nil, mfa.Verdict{}, err
	}
	if v.Outcome != "" {
		v = m.conclude(m.app, v)
	}
	return m.last, v, nil
}

// asItIs sends the login without a change.
func (m *mountLogin) asItIs() error {
	resp, err := m.send(m.app, m.Body)
	if err != nil {
		return err
	}
	m.replace(resp)
	m.remember()
	return nil
}

// failure is the body of the last answer when it is a refusal, else nil.
func (m *mountLogin) failure() []byte {
	if m.last.StatusCode/100 == 2 {
		return nil
	}
	return keepBody(m.last)
}

// broken says what an error of a sending means. One that came after the person was
// asked or told must not have the app repeat the login, which clients do after a 502:
// it would ring again.
func (m *mounted) broken(c call) (mfa.Verdict, error) {
	switch {
	case m.app.Err() != nil || !m.challenged:
		return mfa.Verdict{}, c.err
	case c.cut():
		return mfa.Verdict{Outcome: mfa.Timeout, Message: appCut}, nil
	}
	return verdict(m.app, c.err), nil
}

// failed reports whether an answer that came after the person was asked or told is
// no word about the factor: a gateway's, or that of a Vault that cannot. Clients
// repeat a 5xx by themselves, too.
func (m *mounted) failed(c call) (mfa.Verdict, bool) {
	switch {
	case !m.challenged:
		return mfa.Verdict{}, false
	case c.cut():
		return mfa.Verdict{Outcome: mfa.Timeout, Message: appCut}, true
	case c.resp.StatusCode >= http.StatusInternalServerError:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: vaultAnswered(c.resp.StatusCode)}, true
	}
	return mfa.Verdict{}, false
}

// confirm asks before anything is sent that may ring, where the configuration wants
// that. The error is the person's no, or that nobody can be asked.
func (m *mounted) confirm(ctx context.Context, message string) error {
	if !m.config.ConfirmPush {
		return nil
	}
	m.challenge()
	_, err := m.ask(ctx, prompt.Request{Kind: prompt.Confirm, Method: okta, MethodType: okta, Message: message})
	return err
}

// ringing says how a ring ended, unless Vault's answer decides that: then it is kept.
func (m *mounted) ringing(c call) (v mfa.Verdict, over bool, err error) {
	if c.err != nil {
		v, err = m.broken(c)
		return v, true, err
	}
	m.replace(c.resp)
	v, over = m.failed(c)
	return v, over, nil
}
