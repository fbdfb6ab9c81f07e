package stepup

import (
	"context"
	"net/http"
	"slices"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/cache"
)

// pushes says what may be pushed when a request under a rule is sent: push is the method
// that the person is told of, zero when none. asked are the methods which the person is
// asked about before: Vault does not wait for a code that comes together with a push, nor
// for the choice between the two.
func (c *Config) pushes(ru *rule.Rule) (asked []mfa.Method, push mfa.Method) {
	var pushing [][]string
	ask := false
	for _, group := range ru.Groups() {
		methods := c.MethodsOf(group)
		i := slices.IndexFunc(methods, func(m mfa.Method) bool { return !m.UsesPasscode })
		if i >= 0 {
			ask = ask || factor.HasPasscode(methods)
		} else if i = slices.IndexFunc(methods, func(m mfa.Method) bool { return m.OrPush }); i >= 0 {
			ask = true
		} else {
			continue // codes only: Vault refuses at once where one is missing
		}
		pushing = append(pushing, group)
		if push.Name == "" {
			push = methods[i]
		}
	}
	if ask {
		asked = c.MethodsOf(rule.Join(pushing...))
	}
	return asked, push
}

// A headerRequest is one request under a rule with a header grant: the request itself
// carries the factors.
type headerRequest struct {
	*factor.StepUp
	request
	exchange factor.Exchange
}

func newHeaderRequest(ctx context.Context, q request) *headerRequest {
	h := &headerRequest{StepUp: q.config.begin(ctx, q.match, q.token), request: q}
	h.Unauthenticated, h.Unverified = q.match.Unauthenticated, q.match.Unauthenticated && q.token == ""
	h.exchange = factor.Exchange{StepUp: h.StepUp, Send: withCredentials(q.send), Read: h.read}
	return h
}

// withCredentials sends a request with its factors in X-Vault-MFA.
func withCredentials(send Send) func(context.Context, factor.Factors) (*http.Response, error) {
	return func(ctx context.Context, f factor.Factors) (*http.Response, error) {
		return send(ctx, f.Credentials(), cache.Token{})
	}
}

// repeatWithHeader sends the same request again, with a line of X-Vault-MFA for every method
// that the refusal calls for.
func (r request) repeatWithHeader(ctx context.Context) Decision {
	m := r.match
	names := m.Rule.Wants(m.DeniedBy)
	asked, push := r.config.pushes(m.Rule)
	if m.NoReplay && len(asked) == 0 && push.Name != "" {
		names = rule.Join(m.Rule.Groups()...)
	}
	methods := r.config.MethodsOf(names)
	switch {
	case m.NoReplay && len(asked) > 0:
		methods = asked
	case m.NoReplay:
	case len(asked) > 0, !factor.HasPasscode(methods):
		return PassThrough{} // what Vault wanted went with the first request, or no factor of ours helps
	}
	h := newHeaderRequest(ctx, r)
	if v, ok := h.HasCapability(ctx, r.token); !ok {
		return decide(nil, v)
	}
	if v, ok := h.Muted(); ok {
		return decide(nil, v)
	}
	h.exchange.Methods, h.exchange.MayPush = methods, push
	return decide(h.inTurn(ctx))
}

// inTurn asks and sends when it is this request's turn.
func (h *headerRequest) inTurn(ctx context.Context) (*http.Response, mfa.Verdict) {
	v := h.InTurn(ctx, func() mfa.Verdict { return h.exchange.Run(ctx, factor.Question{}) })
	return h.exchange.Last, v
}

// read reads Vault's answer to the factors. Most refusals of a guarded path look the same,
// whatever factor was wrong.
func (h *headerRequest) read(r factor.Reply, f factor.Factors) (v mfa.Verdict, again string) {
	if v, ok := r.Outage(); ok {
		return v, ""
	}
	failure := mfa.Failure{}
	if r.Denied() {
		failure = r.Failure()
	}
	switch {
	case !r.Denied():
		// A rate limit or a sealed Vault answers before a code is looked at.
		h.Answered = h.Answered && (r.OK() || r.Response.StatusCode == http.StatusNotFound)
		return factor.Approved(), ""
	case r.RefusedPush():
		return factor.RefusedPush(), ""
	case r.AnsweredLate():
		return factor.AnsweredLate(), ""
	case h.match.NoReplay, failure.Kind == mfa.InvalidToken:
		return factor.RejectedCodes(), ""
	}
	wants := h.match.Rule.Wants(failure.DeniedBy())
	switch more := h.without(wants); {
	case len(wants) == 0:
		return factor.Unavailable("stepup: vault refused it by a policy that this rule has no methods for: " + factor.OneLine(failure.Reason)), ""
	case len(more) > 0:
		// Vault looks at one policy after the other.
		h.exchange.Methods = append(slices.Clip(h.exchange.Methods), more...)
		return mfa.Verdict{}, "vault wants one more factor"
	case !f.Typed():
		// A push that was refused at once. Asking again would push again.
		return factor.RefusedPush(), ""
	}
	return mfa.Verdict{}, factor.WrongCode
}

// without are the methods among names that were not asked about yet.
func (h *headerRequest) without(names []string) []mfa.Method {
	return slices.DeleteFunc(h.Config.MethodsOf(names), func(m mfa.Method) bool {
		return slices.ContainsFunc(h.exchange.Methods, func(have mfa.Method) bool { return factor.ID(have) == factor.ID(m) })
	})
}

// firstWithHeader sends a request under a rule with a header grant for the first time. Under a rule
// that cannot push it only sends. Where Vault pushes it does so at once and blocks; what it
// says after that is final. So whatever the person has to say to a push is asked before
// anything is sent, and requests that are the same share one try.
func (r request) firstWithHeader(ctx context.Context) (*http.Response, mfa.Verdict, error) {
	h := newHeaderRequest(ctx, r)
	h.Challenged = true // the audit log has a challenge only where the person is asked
	asked, push := r.config.pushes(r.match.Rule)
	if push.Name == "" {
		return h.sendPlain(ctx)
	}
	if v, ok := h.Cooldown(); ok {
		return nil, v, nil // sending would push again, to a person who has just denied it
	}
	defer r.config.Meter.Waiting(ctx)() // for a phone, or for the question before
	h.exchange.Methods, h.exchange.MayPush = asked, push
	if r.match.ShareKey == "" {
		return h.firstSend(ctx)
	}
	return h.Config.State.Tries.Share(ctx, state.TryKey{Key: h.TurnKey(), ShareKey: r.match.ShareKey}, h.firstSend)
}

// bare sends the request without any factor.
func (h *headerRequest) bare(ctx context.Context) (*http.Response, error) {
	return h.send(ctx, nil, cache.Token{})
}

// sendPlain sends where no push is expected.
func (h *headerRequest) sendPlain(ctx context.Context) (*http.Response, mfa.Verdict, error) {
	r := factor.Timed(ctx, h.bare)
	if r.Err != nil {
		return nil, mfa.Verdict{}, r.Err
	}
	if v, ok := r.Outage(); ok {
		return r.Response, h.Conclude(ctx, v), nil
	}
	return r.Response, h.tooLate(ctx, r), nil
}

// firstSend asks what has to be asked before, and sends. The request is decided when it
// returns, for every request that waits for it.
func (h *headerRequest) firstSend(ctx context.Context) (*http.Response, mfa.Verdict, error) {
	if len(h.exchange.Methods) == 0 && !h.Config.ConfirmPush {
		return h.sendPushing(ctx)
	}
	switch v, ok := h.MayAskFirst(ctx, h.token); {
	case v.Outcome != "":
		return nil, v, nil
	case !ok:
		return h.sendPlain(ctx) // Vault refuses it before it would push
	}
	if v, ok := h.Muted(); ok {
		return nil, v, nil
	}
	h.Challenged = false
	if len(h.exchange.Methods) > 0 {
		resp, v := h.inTurn(ctx)
		return resp, v, nil
	}
	if v := h.confirmInTurn(ctx); !v.OK() {
		return nil, v, nil
	}
	return h.sendPushing(ctx)
}

// confirmInTurn asks whether to push when it is this request's turn. Only a denial is
// concluded: after a yes, Vault decides.
func (h *headerRequest) confirmInTurn(ctx context.Context) mfa.Verdict {
	h.Challenge()
	release, v := h.AcquireTurn(ctx)
	if release == nil {
		return v
	}
	defer release()
	if err := h.ConfirmPush(ctx, h.exchange.MayPush); err != nil {
		return h.Conclude(ctx, factor.VerdictOf(ctx, err))
	}
	return mfa.Verdict{}
}

// sendPushing sends a request that pushes, and judges by how Vault answers after that.
func (h *headerRequest) sendPushing(ctx context.Context) (*http.Response, mfa.Verdict, error) {
	r := h.WaitForPush(ctx, factor.PushOf(h.exchange.MayPush), h.bare)
	switch {
	case r.Notified && r.Err != nil && ctx.Err() == nil && factor.VerdictOf(ctx, r.Err).Outcome == mfa.Denied:
		return nil, h.Conclude(ctx, factor.VerdictOf(ctx, r.Err)), nil
	case r.DroppedByProxy():
		// After an error the app gets a 502 or 504, after which many repeat by themselves:
		// that would push once more for the same thing, so the cool-down starts first.
		v := h.Conclude(ctx, factor.DroppedByProxy())
		if r.Err != nil {
			return nil, mfa.Verdict{}, r.Err
		}
		return r.Response, v, nil
	case r.Err != nil:
		return nil, mfa.Verdict{}, r.Err
	}
	if v, ok := r.Outage(); ok {
		return r.Response, h.Conclude(ctx, v), nil
	}
	switch {
	case r.RefusedPush() || h.refusedQuickly(ctx, r):
		return r.Response, h.Conclude(ctx, factor.RefusedPush()), nil
	case r.Notified && r.Response.StatusCode < http.StatusBadRequest:
		return r.Response, h.Conclude(ctx, factor.Approved()), nil
	}
	return r.Response, mfa.Verdict{}, nil
}

// tooLate ends a step-up whose 403 came after a long wait: Vault may have pushed by a method
// that the rule does not name, and sending again would push again.
func (h *headerRequest) tooLate(ctx context.Context, r factor.Reply) mfa.Verdict {
	if !r.AnsweredLate() || !mfa.MayNeedFactor(factor.PeekBody(r.Response)) {
		return mfa.Verdict{}
	}
	if _, ok := h.HasCapability(ctx, h.token); !ok {
		return mfa.Verdict{} // an ordinary denial, by a slow Vault
	}
	return h.Conclude(ctx, factor.AnsweredLate())
}

// refusedQuickly reports whether a 403 that came soon after the person was told was their
// denial. Where the rule has a passcode as well, that may be what Vault missed; where the
// token may not do it anyway, nothing was pushed.
func (h *headerRequest) refusedQuickly(ctx context.Context, r factor.Reply) bool {
	if !r.Notified || !r.Denied() || factor.HasPasscode(h.Config.MethodsOf(rule.Join(h.match.Rule.Groups()...))) {
		return false
	}
	_, ok := h.HasCapability(ctx, h.token)
	return ok
}
