package stepup

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// First implements relay.Resolver. Under a rule that cannot push it only sends.
// Where Vault pushes it does so at once and blocks; what it says after that is
// final. So whatever the person has to say to a push is asked before anything is
// sent, and requests that are the same share one try.
func (r *Resolver) First(ctx context.Context, m rule.Match, token secret.Secret, send send) (*http.Response, mfa.Verdict, error) {
	if m.Rule.Grant.Mints() {
		return r.withToken(ctx, m, token, send)
	}
	f := &firstTry{stepUp: r.begin(ctx, m.Request, m.Rule.Name, token), match: m, token: token, send: send}
	f.quiet, f.open, f.unproven = m.Rule.Silent, m.Unauthenticated, m.Unauthenticated && token == ""
	f.asked, f.rings = r.pushes(m.Rule)
	if f.rings.Name == "" {
		return f.plain(ctx)
	}
	if v, ok := r.config.Ledger.cooled(f.turn(), f.started); ok {
		// Sending would push again, to a person who has just said no.
		return nil, v, nil
	}
	defer r.waiting(ctx)() // for a phone, or for who is asked before it rings
	if m.ShareKey == "" {
		return f.run(ctx)
	}
	return r.config.Ledger.share(ctx, sameKey{f.turn(), m.ShareKey}, f.run)
}

// pushes says what may ring when a request under a rule is sent: rings is the
// method that the person is told of, zero when none. asked are the methods which
// the person is asked about before: Vault does not wait for a code that comes
// together with a push, nor for the choice between the two.
func (r *Resolver) pushes(ru *rule.Rule) (asked []mfa.Method, rings mfa.Method) {
	var pushing [][]string
	ask := false
	for _, group := range ru.Groups() {
		methods, push := r.methods(group)
		i := slices.IndexFunc(methods, func(m mfa.Method) bool { return m.OrPush })
		switch {
		case push.Name != "":
			ask = ask || usePasscode(methods)
		case i >= 0:
			ask, push = true, methods[i]
		default:
			continue // codes only: Vault refuses at once where one is missing
		}
		pushing = append(pushing, group)
		if rings.Name == "" {
			rings = push
		}
	}
	if ask {
		asked, _ = r.methods(rule.Join(pushing...))
	}
	return asked, rings
}

// A firstTry is a request on a rule's path that was not sent yet.
type firstTry struct {
	*stepUp
	match rule.Match
	token secret.Secret
	send  send
	asked []mfa.Method
	rings mfa.Method
}

// plain sends where no push is expected.
func (f *firstTry) plain(ctx context.Context) (*http.Response, mfa.Verdict, error) {
	c := timed(ctx, f.once)
	if c.err != nil {
		return nil, mfa.Verdict{}, c.err
	}
	if v, ok := outage(c.resp); ok {
		return c.resp, f.conclude(ctx, v), nil
	}
	return c.resp, f.tooLate(ctx, c), nil
}

func (f *firstTry) once(ctx context.Context) (*http.Response, error) {
	return f.send(ctx, nil, cache.Token{})
}

// run asks what has to be asked before, and sends. The request is decided when it
// returns, whoever waits for it.
func (f *firstTry) run(ctx context.Context) (*http.Response, mfa.Verdict, error) {
	if len(f.asked) == 0 && !f.config.ConfirmPush {
		return f.ring(ctx)
	}
	switch v, live := f.live(ctx); {
	case v.Outcome != "":
		return nil, v, nil
	case !live:
		return f.plain(ctx) // Vault refuses it before it would push
	}
	if v, ok := f.silent(); ok {
		return nil, v, nil
	}
	if len(f.asked) > 0 {
		h := &headerGrant{stepUp: f.stepUp, app: ctx, rule: f.match.Rule, methods: f.asked, rings: f.rings, send: f.send}
		v := f.inTurn(ctx, h.run)
		return h.last, v, nil
	}
	if v := f.confirmed(ctx, f.rings); !v.OK() {
		return nil, v, nil
	}
	return f.ring(ctx)
}

// live reports whether a question about this request could be explained: Vault
// knows the token, and its policies let it do this. Where Vault cannot be asked, the
// verdict says so, and nothing is sent: that might push before the person was asked.
func (f *firstTry) live(ctx context.Context) (mfa.Verdict, bool) {
	if f.open {
		return f.granted(ctx, f.token)
	}
	capabilities, err := f.config.Vault.Capabilities(ctx, f.token, f.request.Namespace, f.request.Path)
	status, answered := errors.AsType[*vault.StatusError](err)
	switch {
	case err == nil:
		return mfa.Verdict{}, f.request.Grants(capabilities)
	case answered && status.Status == http.StatusForbidden:
		return f.proven(ctx, f.token) // a live one may want the default policy
	}
	return mfa.Verdict{Outcome: mfa.Unavailable, Message: probeFailed(err)}, false
}

// ring sends a request that pushes, and judges by how Vault answers after that.
func (f *firstTry) ring(ctx context.Context) (*http.Response, mfa.Verdict, error) {
	c := f.watch(ctx, f.rings, f.once)
	switch {
	case c.told && c.err != nil && ctx.Err() == nil && verdict(ctx, c.err).Outcome == mfa.Denied:
		return nil, f.conclude(ctx, verdict(ctx, c.err)), nil
	case c.err != nil && c.cut():
		// The app gets a 502 or 504, after which many repeat by themselves: that would
		// ring the phone once more for the same thing, so it cools down first.
		f.conclude(ctx, mfa.Verdict{Outcome: mfa.Timeout, Message: appCut})
		return nil, mfa.Verdict{}, c.err
	case c.err != nil:
		return nil, mfa.Verdict{}, c.err
	case c.cut():
		return c.resp, f.conclude(ctx, mfa.Verdict{Outcome: mfa.Timeout, Message: appCut}), nil
	}
	if v, ok := outage(c.resp); ok {
		return c.resp, f.conclude(ctx, v), nil
	}
	switch {
	case c.refusedPush() || f.refusedQuickly(ctx, c):
		return c.resp, f.conclude(ctx, mfa.Verdict{Outcome: mfa.Denied, Message: appPushRefused}), nil
	case c.told && c.resp.StatusCode < http.StatusBadRequest:
		return c.resp, f.conclude(ctx, mfa.Verdict{Outcome: mfa.Approved}), nil
	}
	return c.resp, mfa.Verdict{}, nil
}

// tooLate ends a step-up whose 403 came after a long wait: Vault may have pushed
// by a method that the rule does not name, and sending again would push again.
func (f *firstTry) tooLate(ctx context.Context, c call) mfa.Verdict {
	if !c.late() || !mfa.MayNeedFactor(keepBody(c.resp)) {
		return mfa.Verdict{}
	}
	if _, granted := f.granted(ctx, f.token); !granted {
		return mfa.Verdict{} // an ordinary denial, by a slow Vault
	}
	return f.conclude(ctx, mfa.Verdict{Outcome: mfa.Unavailable, Message: appTooLate})
}

// refusedQuickly reports whether a 403 that came soon after the person was told
// was their no. Where the rule has a passcode as well, that may be what Vault
// missed; where the token may not do it anyway, nobody was asked.
func (f *firstTry) refusedQuickly(ctx context.Context, c call) bool {
	if !c.told || !c.denied() {
		return false
	}
	if methods, _ := f.methods(rule.Join(f.match.Rule.Groups()...)); usePasscode(methods) {
		return false
	}
	_, granted := f.granted(ctx, f.token)
	return granted
}

func isOutage(resp *http.Response) bool {
	_, is := outage(resp)
	return is
}

// outage is the verdict on an answer that is about the service behind a factor.
// A 403 is a gate's word; any other error must say itself whose it is, because
// behind a rule's path is a backend with outages of its own.
func outage(resp *http.Response) (mfa.Verdict, bool) {
	if resp.StatusCode < http.StatusBadRequest {
		return mfa.Verdict{}, false
	}
	failure := mfa.ReadFailure(keepBody(resp))
	if failure.Kind != mfa.Unreachable || resp.StatusCode != http.StatusForbidden && !failure.FromProvider() {
		return mfa.Verdict{}, false
	}
	return mfa.Verdict{Outcome: mfa.Unavailable, Message: providerDown(failure.Brief())}, true
}
