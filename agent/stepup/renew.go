package stepup

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// Renew implements relay.MountResolver: Vault logs in with Okta once more when it
// renews a token of such a login (pathLoginRenew), which rings the phone. The person
// hears of it before that, and is not rung again after a no.
func (r *Resolver) Renew(ctx context.Context, subject secret.Secret, q rule.Request, send func(context.Context) (*http.Response, error)) (*http.Response, mfa.Verdict, error) {
	m := &mounted{stepUp: r.begin(ctx, q, "", subject), app: ctx}
	v, silent := mfa.Verdict{}, !m.pushes(ctx, subject)
	if !silent {
		v, silent = m.silent()
	}
	switch {
	case silent && v.Outcome == mfa.Cooldown, silent && v.Outcome != "" && m.config.ConfirmPush:
		return nil, v, nil
	case silent:
		resp, err := send(ctx)
		return resp, mfa.Verdict{}, err
	}
	waiting, cancel := context.WithDeadline(ctx, m.deadline)
	defer cancel()
	leave, v := m.enter(ctx, waiting)
	if leave == nil {
		return nil, v, nil
	}
	defer leave()
	v, err := m.renewOnce(waiting, send)
	if v.Outcome != "" {
		v = m.conclude(ctx, v)
	}
	return m.last, v, err
}

// renewOnce tells of the push and renews.
func (m *mounted) renewOnce(ctx context.Context, send func(context.Context) (*http.Response, error)) (mfa.Verdict, error) {
	if err := m.confirm(ctx, renewalPushes); err != nil {
		return verdict(m.app, err), nil
	}
	c := m.ring(ring{
		notice: prompt.Request{Method: okta, MethodType: okta, Message: renewalPushes}, read: mfa.OktaFailure,
	}, send)
	if v, over, err := m.ringing(c); over {
		return v, err
	}
	return m.renewed(c), nil
}

// renewed says what Vault's answer to a renewal means.
func (m *mounted) renewed(c call) mfa.Verdict {
	if c.resp.StatusCode/100 == 2 {
		return approvedIf(c.took >= tellAfter) // at once: Okta wanted no push
	}
	f := mfa.OktaFailure(keepBody(c.resp))
	switch f.Kind {
	case mfa.NeedsNumber:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appRenewalNumber}
	case mfa.NeedsCode:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appRenewalCode}
	}
	return oktaRefusal(f)
}

// pushes reports whether to renew a token is to push. Of those that did not come
// through us, Vault is asked once, with the token itself.
func (m *mounted) pushes(ctx context.Context, subject secret.Secret) bool {
	byAccessor := strings.HasSuffix(m.request.Path, "/renew-accessor")
	if byAccessor {
		subject = accessorSecret(subject.Reveal())
	}
	identity := m.config.Identify(subject)
	if mount, ok := m.config.Ledger.origin(identity); ok || byAccessor {
		return mount != ""
	}
	info, err := m.config.Vault.LookupSelf(ctx, subject, m.request.Namespace)
	if _, answered := errors.AsType[*vault.StatusError](err); err != nil && !answered {
		return false
	}
	mount := m.mountOf(info.Path)
	m.config.Ledger.remember(identity, mount)
	return mount != ""
}

// mountOf is the Okta mount that a token was made at, "" for any other path.
func (m *mounted) mountOf(path string) string {
	for _, mount := range m.config.Okta {
		if strings.HasPrefix(path, mount+"/login/") {
			return mount
		}
	}
	return ""
}

// accessorSecret keeps accessors and tokens apart where both are known by their HMAC.
func accessorSecret(accessor string) secret.Secret { return secret.Secret("accessor " + accessor) }
