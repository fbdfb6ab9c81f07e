package relay

import (
	"context"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync/atomic"

	"github.com/vault-stepup/stepup/agent/express"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A Transport sends requests to Vault and completes the step-up that an answer
// asks for. It bends the word of http.RoundTripper, which says not to handle
// authentication: that is what it is for. It is used under [New] only, which
// makes the requests that it expects.
type Transport struct {
	config Config
	rules  *rule.Set

	undecodable atomic.Bool // an answer that cannot be unpacked was logged
}

var _ http.RoundTripper = (*Transport)(nil)

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = clone(r.Context(), r) // the caller's stays as it is
	body := newReplayableBody(r, t.config.MaxKept, t.config.Budget)
	defer body.done()
	resp, err := t.roundTrip(r, body)
	if err == nil && resp.StatusCode/100 == 2 {
		reportRevocation(t.config.Resolver, r, body)
	}
	return resp, err
}

func (t *Transport) roundTrip(r *http.Request, body *replayableBody) (*http.Response, error) {
	switch {
	case len(r.Header["X-Vault-Mfa"]) > 0:
		return t.roundTripFollowing(r, body, anyRedirect) // the client supplied its own X-Vault-MFA
	case r.Header.Get(inlinePath) != "":
		return t.inline(&exchange{request: r, body: body})
	}
	asked, derived := t.derive(r)
	token := callerToken(r)
	x := &exchange{request: r, body: body, asked: asked}
	if derived {
		if m, ok := t.match(asked); ok && (token != "" || needsNoToken(m)) {
			m.Unauthenticated = token == ""
			return t.underRule(&attempt{exchange: x, match: m, token: token})
		}
	}
	if kind, mount := t.bodyFactorLogin(x); mount != "" {
		return t.completeBodyFactorLogin(x, kind, mount)
	}
	if login, ok := x.asLogin(); ok && t.config.Resolver.Covers(login) {
		return t.single(x)
	}
	if subject := t.renewed(x); subject != "" {
		return t.renew(x, subject)
	}
	return t.passThrough(x)
}

// passThrough sends a request that needs nothing before it; its answer may.
func (t *Transport) passThrough(x *exchange) (*http.Response, error) {
	resp, err := t.roundTripFollowing(x.request, x.body, anyRedirect)
	if err != nil {
		return nil, err
	}
	if x.asked.Operation != "" {
		observeDenial(t.config.DenialObserver, x, resp)
	}
	return t.login(x, resp), nil
}

// match finds the rule of a request, or of the path that a preflight is about.
func (t *Transport) match(asked rule.Request) (rule.Match, bool) {
	if m, ok := t.rules.Match(asked); ok {
		return m, true
	}
	return t.rules.MatchPreflight(asked)
}

// needsNoToken reports whether a request without a token is stepped up: a login that a
// rule names, because a Sentinel policy may guard it. Only a header grant does that; the
// others give out tokens, and there is no caller yet to give one to.
func needsNoToken(m rule.Match) bool {
	return m.Rule.Grant.Kind == rule.HeaderGrant && isLogin(m.Request)
}

// An exchange is one request of an app.
type exchange struct {
	request    *http.Request
	body       *replayableBody
	asked      rule.Request // its path as sent; zero when no rule and no login can be read from it
	factorSent bool         // a code or a push went into it: it is not done again for a wrapped answer
}

// login is x in the namespace in which it logs in, which may stand in its path.
func (x *exchange) login() rule.Request {
	if x.asked == (rule.Request{}) {
		// A namespace that only the server can read: its own spelling goes back to it.
		return rule.Request{Namespace: rule.Namespace(x.request.Header.Get("X-Vault-Namespace"))}
	}
	q, _ := x.asked.Login()
	return q
}

// asLogin is x as a login that is looked at before it is sent. A request with a token
// below something that may be a mount is none: kv/data/auth/x/login/y is a secret.
func (x *exchange) asLogin() (q rule.Request, ok bool) {
	q, ok = x.asked.Login()
	return q, ok && (q == x.asked || callerToken(x.request) == "")
}

// clone copies r but for its trailer, which the server fills in when the body ends.
func clone(ctx context.Context, r *http.Request) *http.Request {
	c := r.Clone(ctx)
	c.Trailer = r.Trailer
	return c
}

// callerToken is the caller's own token, from either header that Vault takes
// (http/handler.go, getTokenFromReq): the same one in either is the same caller.
// A request without one is never elevated.
func callerToken(r *http.Request) secret.Secret {
	return tokenOf(r.Header.Get("X-Vault-Token"), r.Header["Authorization"])
}

// tokenOf is the token in these headers.
func tokenOf(token string, authorization []string) secret.Secret {
	if token != "" {
		return secret.Secret(token)
	}
	for _, value := range authorization {
		if token, ok := strings.CutPrefix(value, "Bearer "); ok {
			return secret.Secret(strings.TrimSpace(token))
		}
	}
	return ""
}

// derive tells what Vault makes of r, which goes out as it stands. Where the address has
// a path, something in front of Vault takes that off, and may clean the rest before or
// after: a path that comes out differently is none.
func (t *Transport) derive(r *http.Request) (rule.Request, bool) {
	return t.deriveSent(r.Method, r.URL, r.Header.Get("X-Vault-Namespace"))
}

// deriveSent is derive of a request with this method, URL and namespace.
func (t *Transport) deriveSent(method string, sent *url.URL, namespace string) (rule.Request, bool) {
	base := t.config.prefix()
	if base != "" {
		full := sent.Opaque
		if full == "" {
			full = sent.EscapedPath()
		}
		raw := strings.TrimPrefix(full, base)
		if path.Clean(base+raw) != path.Clean(base)+path.Clean(raw) {
			return rule.Request{}, false
		}
		sent = &url.URL{Opaque: raw, RawQuery: sent.RawQuery}
	}
	return rule.Derive(method, sent, namespace)
}

// An attempt is one request on a rule's path.
type attempt struct {
	*exchange
	match        rule.Match
	token        secret.Secret
	bodyBuffered bool // all of the body is kept
}

// underRule buffers the body of a request on a rule's path and goes the rule's way.
func (t *Transport) underRule(a *attempt) (resp *http.Response, err error) {
	if a.bodyBuffered, err = a.body.buffer(); err != nil {
		return nil, err
	}
	if a.mayNeedApproval() {
		return t.grouped(a)
	}
	return t.guarded(a)
}

// grouped sends a request whose rule waits for approvals.
func (t *Transport) grouped(a *attempt) (*http.Response, error) {
	ctx := a.request.Context()
	a.match.Fingerprint = a.fingerprint()
	d := t.config.Resolver.Resume(ctx, a.match, a.token)
	if _, none := d.(stepup.PassThrough); !none {
		return a.afterApproval(d), nil
	}
	resp, err := t.guarded(a)
	if err != nil || !a.controlGroup(resp) {
		return resp, err
	}
	return a.afterApproval(t.config.Resolver.Await(ctx, a.match, a.token, resp)), nil
}

// guarded sends a request on a rule's path and steps up when Vault refuses it.
func (t *Transport) guarded(a *attempt) (*http.Response, error) {
	ctx := a.request.Context()
	switch {
	case a.match.Rule.Grant.Kind == rule.NoGrant, !a.bodyBuffered && (a.token == "" || len(a.match.Kept) > 0):
		// In the second case there is no reason to ask before Vault's denial.
		resp, err := t.sender(a.exchange)(ctx, nil, cache.Token{})
		if err != nil {
			return nil, err
		}
		return t.login(a.exchange, resp), nil
	case !a.bodyBuffered:
		return t.askFirst(a)
	}
	a.match.ShareKey = a.shareKey()
	a.body.shared = a.match.ShareKey != ""
	d, err := t.first(a)
	a.body.shared = a.match.ShareKey != "" && ctx.Err() != nil
	if err != nil {
		return nil, err
	}
	pass, ok := d.(stepup.PassThrough)
	if !ok {
		return t.decided(a.exchange, d), nil
	}
	first := pass.Response
	if len(a.match.Kept) > 0 || !a.refusal(first) {
		return t.login(a.exchange, first), nil
	}
	switch d := t.config.Resolver.StepUp(ctx, a.match, a.token, t.sender(a.exchange)).(type) {
	case stepup.Answered:
		_ = first.Body.Close()
		return t.decided(a.exchange, d), nil
	case stepup.Refused:
		return refused(a.request, lastResponse(d, first)), nil
	}
	return first, nil
}

// first sends a request for the first time, unless an express lane has sent it with a
// step-up token.
func (t *Transport) first(a *attempt) (stepup.Decision, error) {
	if use, ok := express.Ticket(a.request.Context()).(*stepup.TokenUse); ok {
		return use.First(a.request.Context(), a.match, t.sender(a.exchange))
	}
	return t.config.Resolver.First(a.request.Context(), a.match, a.token, t.sender(a.exchange))
}

// askFirst has the person asked before a body is sent that is too large to be kept: it
// can be sent only once.
func (t *Transport) askFirst(a *attempt) (*http.Response, error) {
	a.match.NoReplay = true
	d := t.config.Resolver.StepUp(a.request.Context(), a.match, a.token, t.sender(a.exchange))
	if _, none := d.(stepup.PassThrough); none {
		return t.roundTripFollowing(a.request, a.body, anyRedirect)
	}
	return t.decided(a.exchange, d), nil
}

// decided is the answer for the app where a step-up took place.
func (t *Transport) decided(x *exchange, d stepup.Decision) *http.Response {
	if refusal, ok := d.(stepup.Refused); ok {
		return refused(x.request, refusal)
	}
	answer := d.(stepup.Answered)
	return t.approved(x, answer.Response, answer.Outcome)
}

// sender sends the request of x, each call once.
func (t *Transport) sender(x *exchange) stepup.Send {
	return func(ctx context.Context, credentials []mfa.Credential, token cache.Token) (*http.Response, error) {
		r, body := clone(ctx, x.request), x.body
		if token.Secret != "" {
			setToken(r.Header, token)
		}
		if token.Secret == "" || token.Uses > 0 || len(credentials) > 0 {
			// Vault may push at this request, or count it as a use. With another step-up token
			// it is repeated as any request, where a kept connection breaks.
			body = disableRetry(r, body)
		}
		for _, c := range credentials {
			// One line for each: Vault does not split at commas.
			r.Header["X-Vault-Mfa"] = append(r.Header["X-Vault-Mfa"], c.Header())
		}
		if token.Secret == "" && len(credentials) == 0 {
			return t.roundTripFollowing(r, body, anyRedirect)
		}
		return t.roundTripFollowing(r, body, t.sameRequestAs(x))
	}
}

// setToken puts a step-up token in the place of the caller's own. A standby that
// has not heard of the token yet is asked to wait for the state in which it was
// made (X-Vault-Index).
func setToken(h http.Header, token cache.Token) {
	h.Del("Authorization") // the other header that Vault takes a token from
	h.Set("X-Vault-Token", token.Secret.Reveal())
	if token.Index != "" {
		h.Add("X-Vault-Index", token.Index)
	}
}

// approved marks the answer that an app wanted. It may be a login that Vault holds.
func (t *Transport) approved(x *exchange, resp *http.Response, outcome mfa.Outcome) *http.Response {
	resp.Header.Del(Outcome)
	resp = t.login(x, resp)
	if resp.Header.Get(Outcome) == "" { // else it was held, and Login has decided
		resp.Header.Set(Outcome, string(outcome))
	}
	return resp
}
