package stepup

import (
	"context"
	"net/http"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/prompt"
)

const duo = "duo" // the method and its type, for the person

// legacy asks for a code or a push before the login is sent: Vault up to 1.10 never
// says that it wants one, it pushes.
func (m *mountLogin) legacy(ctx context.Context) (mfa.Verdict, error) {
	m.challenge()
	method := mfa.Method{ID: m.request.Path, Name: duo, Type: duo, UsesPasscode: true, OrPush: true}
	reason := ""
	for attempt := 1; attempt <= m.attempts; attempt++ {
		codes, again, err := m.passcodes(ctx, []mfa.Method{method}, question{attempt: attempt, reason: reason})
		if err != nil {
			v := verdict(m.app, err)
			if v.NoPrompt && m.last == nil && !m.config.ConfirmPush {
				return m.unasked()
			}
			return v, nil
		}
		if again != "" {
			reason = again
			continue
		}
		if v, over, err := m.ringing(m.duo(codes[id(method)])); over {
			return v, err
		}
		if m.last.StatusCode/100 == 2 {
			return mfa.Verdict{Outcome: mfa.Approved}, nil
		}
		f := mfa.LegacyFailure(m.failure())
		if f.Kind != mfa.WrongCode {
			return legacyRefusal(f), nil
		}
		reason = wrongCode
	}
	return mfa.Verdict{Outcome: mfa.Rejected, Message: appRejected}, nil
}

// duo sends the login with the code, or for a push when it is empty.
func (m *mountLogin) duo(code string) call {
	if code != "" {
		resp, err := m.send(m.app, m.Body.With("passcode", code))
		return call{resp: resp, err: err}
	}
	return m.ring(ring{notice: prompt.Request{Method: duo, MethodType: duo}, after: tellAfter, read: mfa.LegacyFailure},
		func(ctx context.Context) (*http.Response, error) { return m.send(ctx, m.Body.With("method", pushWord)) })
}

// unasked sends the login as it came, because nobody can be asked. Vault then pushes
// by itself, so that there is still a way in; that is said, here and to the app.
func (m *mountLogin) unasked() (mfa.Verdict, error) {
	m.config.Log.Warn("no way to ask about a login, vault pushes by itself", "vault", m.config.VaultName, "path", m.request.Path)
	c := m.ring(ring{notice: prompt.Request{Method: duo, MethodType: duo}, after: tellAfter, read: mfa.LegacyFailure},
		func(ctx context.Context) (*http.Response, error) { return m.send(ctx, m.Body) })
	if v, over, err := m.ringing(c); over {
		return v, err
	}
	return mfa.Verdict{Outcome: mfa.Unavailable, Message: appLegacyUnasked, NoPrompt: true}, nil
}

// legacyRefusal is what a refusal means that another code would not change; none when
// it is not about the factor.
func legacyRefusal(f mfa.Failure) mfa.Verdict {
	switch f.Kind {
	case mfa.PushDenied:
		return mfa.Verdict{Outcome: mfa.Denied, Message: appPushRefused}
	case mfa.PushTimeout:
		return mfa.Verdict{Outcome: mfa.Timeout, Message: appPushRefused}
	case mfa.NotEnrolled:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: enrolAt(mfa.EnrolURL(f.Reason))}
	case mfa.Unreachable:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: providerDown(f.Reason)}
	case mfa.Misconfigured:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appDuoMisconfigured}
	case mfa.Locked:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appDuoLocked}
	}
	return mfa.Verdict{}
}
