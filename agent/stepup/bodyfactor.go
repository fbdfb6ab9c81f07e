package stepup

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
)

const (
	okta = "okta" // the method and its type, for the person
	duo  = "duo"  // likewise

	// firstLook at the number comes before the person is told, so that most are told once;
	// the others follow every nextLook, as in Vault's own client.
	firstLook = 500 * time.Millisecond
	nextLook  = time.Second

	renewalPushes = "renewing your Okta token sends a push"
)

// A SendLogin sends a login with another body, each call once. The caller closes the body of
// the answer.
type SendLogin = func(ctx context.Context, body mfa.LoginBody) (*http.Response, error)

// A bodyLogin is one login at a mount where the factor is in the login's own body.
type bodyLogin struct {
	*factor.StepUp
	config   *Config
	exchange factor.Exchange
	login    mfa.MountLogin
	send     SendLogin
}

// run sends the login as often as the person's answers ask for it. A login that brings the
// factor, or is never asked about, is sent as if we were not there: Vault pushes by itself, or
// takes it without.
func (b *bodyLogin) run(ctx context.Context) (Decision, error) {
	if b.login.Own() {
		return b.withOwnFactor(ctx)
	}
	b.Unverified = b.login.Kind == mfa.LegacyMount || b.Config.ConfirmPush
	if v, ok := b.Muted(); ok {
		if v.Outcome == mfa.Cooldown || b.Config.ConfirmPush {
			return Refused{nil, v}, nil // sending is what pushes
		}
		resp, err := b.asItIs(ctx)
		return PassThrough{resp}, err
	}
	if b.login.Kind == mfa.OktaMount {
		return b.decide(ctx, b.okta)
	}
	return b.decide(ctx, b.legacy)
}

// withOwnFactor sends a login that brings its factor. Where Okta turns out to want a code
// besides, the person is asked for that.
func (b *bodyLogin) withOwnFactor(ctx context.Context) (Decision, error) {
	resp, err := b.asItIs(ctx)
	if err != nil {
		return nil, err
	}
	if b.login.Kind != mfa.OktaMount || mfa.OktaFailure(refusal(resp)).Kind != mfa.NeedsCode {
		return PassThrough{resp}, nil
	}
	if v, ok := b.Muted(); ok {
		if v.Outcome == mfa.Cooldown {
			return Refused{resp, v}, nil
		}
		return PassThrough{resp}, nil
	}
	b.exchange.Last = resp
	return b.decide(ctx, b.oktaCode)
}

// asItIs sends the login without a change.
func (b *bodyLogin) asItIs(ctx context.Context) (*http.Response, error) {
	resp, err := b.send(ctx, b.login.Body)
	if err == nil {
		b.remember(resp)
	}
	return resp, err
}

// refusal is the body of an answer that is one, else nil.
func refusal(resp *http.Response) []byte {
	if resp.StatusCode/100 == 2 {
		return nil
	}
	return factor.PeekBody(resp)
}

// prepare makes the exchange for a method of the mount. The field of the login that the code
// belongs into is named by field.
func (b *bodyLogin) prepare(m mfa.Method, field string) {
	m.ID, m.UsesPasscode = b.Request.Path, true
	read := failureReader(m.Type)
	b.exchange = factor.Exchange{
		StepUp: b.StepUp, Methods: []mfa.Method{m}, Confirmed: true, Last: b.exchange.Last,
		Send: func(ctx context.Context, f factor.Factors) (*http.Response, error) {
			if code := f.Codes[factor.ID(m)]; code != "" {
				return b.send(ctx, b.login.Body.With(field, code))
			}
			return b.send(ctx, b.login.Body.With("method", factor.PushWord))
		},
		Notice: func(mfa.Method) factor.Push { return factor.Push{Label: m.Name, Type: m.Type, Read: read} },
		Read: func(r factor.Reply, _ factor.Factors) (mfa.Verdict, string) {
			b.remember(r.Response)
			return readBodyFactor(b.StepUp, r, m.Type)
		},
	}
}

// decide runs step when it is this login's turn. Where step finds that no factor was wanted,
// there is nothing to conclude.
func (b *bodyLogin) decide(ctx context.Context, step func(context.Context) mfa.Verdict) (Decision, error) {
	release, v := b.AcquireTurn(ctx)
	if release == nil {
		return Refused{b.exchange.Last, v}, nil
	}
	defer release()
	v = step(ctx)
	if err := cmp.Or(b.exchange.Err, ctx.Err()); err != nil {
		b.exchange.Keep(nil)
		b.RecordEnd(ctx, factor.Unreached(err))
		return nil, err
	}
	if v.Outcome != "" {
		v = b.Conclude(ctx, v)
	}
	return decide(b.exchange.Last, v), nil
}

// failureReader reads the refusals of a type of method.
func failureReader(methodType string) func([]byte) mfa.Failure {
	if methodType == duo {
		return mfa.LegacyFailure
	}
	return mfa.OktaFailure
}

// readBodyFactor reads Vault's answer to a login or renewal. Where the person was asked or told
// nothing, an answer that does not concern the factor needs no verdict. The answer of a gateway,
// or of a Vault in trouble, says nothing of the factor, but clients repeat a 5xx by themselves,
// which would push again.
func readBodyFactor(s *factor.StepUp, r factor.Reply, methodType string) (v mfa.Verdict, again string) {
	switch {
	case s.Challenged && r.Response.StatusCode >= http.StatusInternalServerError:
		return factor.BadStatus(r.Response.StatusCode), ""
	case r.OK() && s.Challenged:
		return factor.Approved(), ""
	case r.OK():
		return mfa.Verdict{}, ""
	}
	f := failureReader(methodType)(factor.PeekBody(r.Response))
	if f.Kind == mfa.NotEnrolled {
		return notEnrolled(f, methodType), ""
	}
	v, again, _ = factor.Classify(f, true, s.Deadline)
	return v, again
}

// notEnrolled says where to enrol, when Vault said so.
func notEnrolled(f mfa.Failure, methodType string) mfa.Verdict {
	if methodType == duo {
		if address := mfa.EnrolURL(f.Reason); address != "" {
			return factor.Unavailable("stepup: you are not enrolled with duo yet; enrol at " + address + ", then run it again")
		}
		return factor.Unavailable("stepup: you are not enrolled with duo yet; ask whoever runs it how to, then run it again")
	}
	return factor.Unavailable("stepup: okta has no factor of yours that vault can use; enrol Okta Verify or Google Authenticator there, then run it again")
}

// okta logs in with a nonce of ours, so that Vault may be asked for the number that Okta shows.
// Where Vault wants a code instead, it goes on with that.
func (b *bodyLogin) okta(ctx context.Context) mfa.Verdict {
	method := mfa.Method{Name: okta, Type: okta}
	if err := b.Confirm(ctx, method, "a yes sends a push to your phone"); err != nil {
		return factor.VerdictOf(ctx, err)
	}
	nonce := newNonce()
	push := factor.Push{Label: okta, Type: okta, Read: mfa.OktaFailure, Number: func(ctx context.Context) string { return b.number(ctx, nonce) }}
	r := b.WaitForPush(ctx, push, func(ctx context.Context) (*http.Response, error) {
		return b.send(ctx, b.login.Body.With("nonce", nonce))
	})
	b.prepare(method, "totp")
	if r.Response != nil && mfa.OktaFailure(refusal(r.Response)).Kind == mfa.NeedsCode {
		b.exchange.Keep(r.Response)
		return b.oktaCode(ctx)
	}
	v, _ := b.exchange.Take(ctx, r, factor.Factors{})
	return v
}

// oktaCode asks for codes and logs in with them. Vault has taken the password before, so that
// what it refuses now is the code.
func (b *bodyLogin) oktaCode(ctx context.Context) mfa.Verdict {
	b.Challenge()
	b.prepare(mfa.Method{Name: okta, Type: okta}, "totp")
	return b.exchange.Run(ctx, factor.Question{Reason: "okta wants a code: type the one from Okta Verify or Google Authenticator"})
}

// number asks Vault for the number until it is known or the login is over.
func (b *bodyLogin) number(ctx context.Context, nonce string) string {
	timer := time.NewTimer(firstLook)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ""
		case <-timer.C:
		}
		number, known, err := b.config.Vault.OktaNumber(ctx, vault.NumberRequest{
			Mount: b.login.Mount, Nonce: nonce, Namespace: b.Request.Namespace, Node: b.login.Node(),
		})
		if known {
			return number
		}
		if err != nil && ctx.Err() == nil {
			b.Config.Log.Debug("number of an Okta login is not to be had yet", "vault", b.Config.VaultName, "error", err)
		}
		timer.Reset(nextLook)
	}
}

// newNonce is 20 letters and digits, as from Vault's own client: a program that guesses it sees
// the number, which is what keeps a stranger's push from being approved.
func newNonce() string { return rand.Text()[:20] }

// remember notes that the token of this login, if it got one, is Okta's: to renew it is to push
// again.
func (b *bodyLogin) remember(resp *http.Response) {
	if b.login.Kind != mfa.OktaMount || resp.StatusCode/100 != 2 {
		return
	}
	auth, err := vault.ParseAuth(factor.PeekBody(resp))
	if err != nil {
		return // held for another factor, or wrapped
	}
	origins := &b.Config.State.Origins
	origins.Set(b.Config.Identify(auth.Token), b.login.Mount)
	if auth.Accessor != "" {
		origins.Set(b.Config.Identify(accessorSecret(auth.Accessor)), b.login.Mount)
	}
}

// legacy asks for a code or a push before the login is sent: Vault up to 1.10 never says that it
// wants one, it pushes.
func (b *bodyLogin) legacy(ctx context.Context) mfa.Verdict {
	b.Challenge()
	b.prepare(mfa.Method{Name: duo, Type: duo, OrPush: true}, "passcode")
	v := b.exchange.Run(ctx, factor.Question{})
	if v.NoPrompt && b.exchange.Last == nil && !b.Config.ConfirmPush {
		return b.unasked(ctx)
	}
	return v
}

// unasked sends the login as it came, because no question can be shown. Vault then pushes by
// itself, so that there is still a way in; that is said, here and to the app.
func (b *bodyLogin) unasked(ctx context.Context) mfa.Verdict {
	b.Config.Log.Warn("no way to ask about a login, vault pushes by itself", "vault", b.Config.VaultName, "path", b.Request.Path)
	b.exchange.Read = func(r factor.Reply, _ factor.Factors) (mfa.Verdict, string) {
		if r.Response.StatusCode >= http.StatusInternalServerError {
			return factor.BadStatus(r.Response.StatusCode), ""
		}
		return mfa.Verdict{
			Outcome: mfa.Unavailable, NoPrompt: true,
			Message: "stepup: there was no way to ask you for a code, so vault decided by itself, by a push where it wants one; run `stepup attach` in a terminal to be asked",
		}, ""
	}
	r := b.WaitForPush(ctx, factor.Push{Label: duo, Type: duo, Read: mfa.LegacyFailure}, func(ctx context.Context) (*http.Response, error) {
		return b.send(ctx, b.login.Body)
	})
	v, _ := b.exchange.Take(ctx, r, factor.Factors{})
	return v
}

// renew sends a renewal by send, and tells of the push before it.
func (b *bodyLogin) renew(ctx context.Context, subject secret.Secret, send factor.Call) (Decision, error) {
	v, unasked := mfa.Verdict{}, !b.pushesOnRenewal(ctx, subject)
	if !unasked {
		v, unasked = b.Muted()
	}
	switch {
	case unasked && (v.Outcome == mfa.Cooldown || v.Outcome != "" && b.Config.ConfirmPush):
		return Refused{nil, v}, nil
	case unasked:
		resp, err := send(ctx)
		return PassThrough{resp}, err
	}
	return b.decide(ctx, func(ctx context.Context) mfa.Verdict { return b.renewOnce(ctx, send) })
}

func (b *bodyLogin) renewOnce(ctx context.Context, send factor.Call) mfa.Verdict {
	if err := b.Confirm(ctx, mfa.Method{Name: okta, Type: okta}, renewalPushes); err != nil {
		return factor.VerdictOf(ctx, err)
	}
	b.exchange = factor.Exchange{StepUp: b.StepUp, Read: func(r factor.Reply, _ factor.Factors) (mfa.Verdict, string) {
		return readRenewal(b.StepUp, r), ""
	}}
	push := factor.Push{Label: okta, Type: okta, Message: renewalPushes, AtOnce: true, Read: mfa.OktaFailure}
	v, _ := b.exchange.Take(ctx, b.WaitForPush(ctx, push, send), factor.Factors{})
	return v
}

func readRenewal(s *factor.StepUp, r factor.Reply) mfa.Verdict {
	switch mfa.OktaFailure(refusal(r.Response)).Kind {
	case mfa.NeedsNumber:
		return factor.Unavailable("stepup: okta wants a number to be tapped for this renewal, and vault cannot say which; log in again instead")
	case mfa.NeedsCode:
		return factor.Unavailable("stepup: okta wants a code for this renewal, which a renewal cannot carry; log in again instead")
	}
	v, _ := readBodyFactor(s, r, okta)
	if v.Outcome == mfa.Approved && r.Took < factor.NotifyAfter {
		return mfa.Verdict{} // at once: Okta wanted no push
	}
	return v
}

// pushesOnRenewal reports whether to renew a token is to push. Of tokens that did not come
// through us, Vault is asked once, with the token itself.
func (b *bodyLogin) pushesOnRenewal(ctx context.Context, subject secret.Secret) bool {
	byAccessor := strings.HasSuffix(b.Request.Path, "/renew-accessor")
	if byAccessor {
		subject = accessorSecret(subject.Reveal())
	}
	identity := b.Config.Identify(subject)
	if mount, ok := b.Config.State.Origins.Find(identity); ok || byAccessor {
		return mount != ""
	}
	info, err := b.Config.Prober.LookupSelf(ctx, subject, b.Request.Namespace)
	if _, answered := errors.AsType[*vault.StatusError](err); err != nil && !answered {
		return false
	}
	mount := b.oktaMount(info.Path)
	b.Config.State.Origins.Set(identity, mount)
	return mount != ""
}

// oktaMount is the Okta mount that a token was made at, "" for any other path.
func (b *bodyLogin) oktaMount(path string) string {
	for _, mount := range b.config.Okta {
		if strings.HasPrefix(path, mount+"/login/") {
			return mount
		}
	}
	return ""
}

// accessorSecret keeps accessors and tokens apart where both are known by their HMAC.
func accessorSecret(accessor string) secret.Secret { return secret.Secret("accessor " + accessor) }
