package stepup

import (
	"context"
	"crypto/rand"
	"net/http"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/prompt"
)

const okta = "okta" // the method and its type, for the person

const (
	// firstLook at the number comes before the person is told, so that most are told
	// once; the others follow every nextLook, as in Vault's own client.
	firstLook = 500 * time.Millisecond
	nextLook  = time.Second
)

// okta logs in with a nonce of ours, so that Vault may be asked for the number that
// Okta shows. Where Vault wants a code instead, it goes on with that.
func (m *mountLogin) okta(ctx context.Context) (mfa.Verdict, error) {
	if err := m.confirm(ctx, loginPushes); err != nil {
		return verdict(m.app, err), nil
	}
	nonce := newNonce()
	c := m.ring(ring{
		notice: prompt.Request{Method: okta, MethodType: okta},
		after:  tellAfter,
		number: func(ctx context.Context) string { return m.number(ctx, nonce) },
		read:   mfa.OktaFailure,
	}, func(ctx context.Context) (*http.Response, error) { return m.send(ctx, m.Body.With("nonce", nonce)) })
	if v, over, err := m.ringing(c); over {
		return v, err
	}
	m.remember()
	if c.resp.StatusCode/100 == 2 {
		return approvedIf(m.challenged), nil
	}
	f := mfa.OktaFailure(m.failure())
	if f.Kind == mfa.NeedsCode {
		return m.oktaCode(ctx)
	}
	return oktaRefusal(f), nil
}

func approvedIf(took bool) mfa.Verdict {
	if took {
		return mfa.Verdict{Outcome: mfa.Approved}
	}
	return mfa.Verdict{}
}

// oktaRefusal is what a refusal means that no code could change; none when it is not
// about the factor, a wrong password for one.
func oktaRefusal(f mfa.Failure) mfa.Verdict {
	switch f.Kind {
	case mfa.PushDenied:
		return mfa.Verdict{Outcome: mfa.Denied, Message: appPushRefused}
	case mfa.PushTimeout:
		return mfa.Verdict{Outcome: mfa.Timeout, Message: appPushRefused}
	case mfa.Unreachable:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: providerDown(f.Reason)}
	case mfa.NotEnrolled:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appOktaNotEnrolled}
	}
	return mfa.Verdict{}
}

// oktaCode asks for codes and logs in with them. Vault has taken the password before,
// so that what it refuses now is the code.
func (m *mountLogin) oktaCode(ctx context.Context) (mfa.Verdict, error) {
	m.challenge()
	method := mfa.Method{ID: m.request.Path, Name: okta, Type: okta, UsesPasscode: true}
	reason := oktaWantsCode
	for attempt := 1; attempt <= m.attempts; attempt++ {
		codes, again, err := m.passcodes(ctx, []mfa.Method{method}, question{attempt: attempt, reason: reason})
		if err != nil {
			return verdict(m.app, err), nil
		}
		if again != "" {
			reason = again
			continue
		}
		resp, err := m.send(m.app, m.Body.With("totp", codes[id(method)]))
		if v, over, err := m.ringing(call{resp: resp, err: err}); over {
			return v, err
		}
		m.remember()
		if resp.StatusCode/100 == 2 {
			return mfa.Verdict{Outcome: mfa.Approved}, nil
		}
		if f := mfa.OktaFailure(m.failure()); f.Kind != mfa.WrongCode {
			return oktaRefusal(f), nil
		}
		reason = wrongCode
	}
	return mfa.Verdict{Outcome: mfa.Rejected, Message: appRejected}, nil
}

// number asks Vault for the number until it is known or the login is over.
func (m *mountLogin) number(ctx context.Context, nonce string) string {
	if m.config.Numbers == nil {
		return ""
	}
	timer := time.NewTimer(firstLook)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ""
		case <-timer.C:
		}
		number, known, err := m.config.Numbers.OktaNumber(ctx, vault.NumberRequest{
			Mount: m.Mount, Nonce: nonce, Namespace: m.request.Namespace, Node: m.Node(),
		})
		if known {
			return number
		}
		if err != nil && ctx.Err() == nil {
			m.config.Log.Debug("number of an Okta login is not to be had yet", "vault", m.config.VaultName, "error", err)
		}
		timer.Reset(nextLook)
	}
}

// newNonce is 20 letters and digits, as from Vault's own client: whoever guesses it
// sees the number, which is what keeps a stranger's push from being approved.
func newNonce() string { return rand.Text()[:20] }

// remember notes that the token of this login, if it got one, is Okta's: to renew it
// is to push again.
func (m *mountLogin) remember() {
	if m.Kind != mfa.OktaMount || m.last.StatusCode/100 != 2 {
		return
	}
	auth, err := vault.ParseAuth(keepBody(m.last))
	if err != nil {
		return // held for another factor, or wrapped
	}
	m.config.Ledger.remember(m.config.Identify(auth.Token), m.Mount)
	if auth.Accessor != "" {
		m.config.Ledger.remember(m.config.Identify(accessorSecret(auth.Accessor)), m.Mount)
	}
}
