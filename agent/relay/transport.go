package relay

import (
	"context"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A Transport sends requests to Vault and completes the step-up that an answer
// asks for. It bends the word of http.RoundTripper, which says not to handle
// authentication: that is what it is for. It is used under [New] only, which
// makes the requests that it expects.
type Transport struct{ config Config }

var _ http.RoundTripper = (*Transport)(nil)

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = clone(r.Context(), r) // the caller's stays as it is
	body := newKeptBody(r, t.config.MaxKept, t.config.Budget)
	defer body.done()
	resp, err := t.roundTrip(r, body)
	t.revoked(r, body, resp)
	return resp, err
}

func (t *Transport) roundTrip(r *http.Request, body *keptBody) (*http.Response, error) {
	switch {
	case len(r.Header["X-Vault-Mfa"]) > 0:
		return t.follow(r, body) // it knows what it does
	case r.Header.Get(inlinePath) != "":
		return t.inline(&exchange{request: r, body: body})
	}
	asked, derived := t.derive(r)
	token := callerToken(r)
	x := &exchange{request: r, body: body, asked: asked}
	if derived {
		if m, ok := t.match(asked); ok && (token != "" || openTo(m)) {
			m.Unauthenticated = token == ""
			return t.underRule(&attempt{exchange: *x, match: m, token: token})
		}
	}
	if kind, mount := t.mountLogin(x); mount != "" {
		return t.atMount(x, kind, mount)
	}
	if login, ok := x.asLogin(); ok && t.covered(login) {
		return t.single(x)
	}
	if subject := t.renewed(x); subject != "" {
		return t.renew(x, subject)
	}
	return t.plain(x)
}

// match finds the rule of a request, or of the path that a preflight is about.
func (t *Transport) match(asked rule.Request) (rule.Match, bool) {
	if m, ok := t.config.Rules.Match(asked); ok {
		return m, true
	}
	return t.config.Rules.MatchPreflight(asked)
}

// openTo reports whether a request without a token is stepped up: a login that a
// rule names, because a Sentinel policy may guard it. Only a header grant does
// that; the others give out tokens, and there is nobody yet to give one to.
func openTo(m rule.Match) bool {
	return m.Rule.Grant.Kind == rule.HeaderGrant && isLogin(m.Request)
}

// An exchange is one request of an app.
type exchange struct {
	request *http.Request
	body    *keptBody
	asked   rule.Request // its path as sent; zero when no rule and no login can be read from it
	spent   bool         // a code or a push went into it: it is not done again for a wrapped answer
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

// clone copies r but for its trailer, which the server fills in when the body
// ends.
func clone(ctx context.Context, r *http.Request) *http.Request {
	c := r.Clone(ctx)
	c.Trailer = r.Trailer
	return c
}

// callerToken is the caller's own token, from either header that Vault takes
// (http/handler.go, getTokenFromReq): the same one in either is the same caller.
// Without one nobody is elevated.
func callerToken(r *http.Request) secret.Secret {
	if token := r.Header.Get("X-Vault-Token"); token != "" {
		return secret.Secret(token)
	}
	for _, value := range r.Header["Authorization"] {
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
	sent, base := r.URL, strings.TrimSuffix(t.config.Address.EscapedPath(), "/")
	if base != "" {
		whole := sent.Opaque
		if whole == "" {
			whole = sent.EscapedPath()
		}
		raw := strings.TrimPrefix(whole, base)
		if path.Clean(base+raw) != path.Clean(base)+path.Clean(raw) {
			return rule.Request{}, false
		}
		sent = &url.URL{Opaque: raw, RawQuery: sent.RawQuery}
	}
	return rule.Derive(r.Method, sent, r.Header.Get("X-Vault-Namespace"))
}

// An attempt is one request on a rule's path.
type attempt struct {
	exchange
	match rule.Match
	token secret.Secret
	whole bool // all of the body is kept
}

// underRule reads the body of a request on a rule's path and goes the rule's way.
func (t *Transport) underRule(a *attempt) (resp *http.Response, err error) {
	if a.whole, err = a.body.fill(); err != nil {
		return nil, err
	}
	if t.waitsForOthers(a) {
		return t.grouped(a)
	}
	return t.guarded(a)
}

// guarded sends a request on a rule's path and steps up when Vault refuses it.
func (t *Transport) guarded(a *attempt) (*http.Response, error) {
	ctx := a.request.Context()
	switch {
	case a.match.Rule.Grant.Kind == rule.NoGrant, !a.whole && (a.token == "" || len(a.match.Kept) > 0):
		// In the second case there is nobody yet to ask for, before Vault's denial.
		resp, err := t.sender(a)(ctx, nil, cache.Token{})
		if err != nil {
			return nil, err
		}
		return t.login(&a.exchange, resp), nil
	case !a.whole:
		return t.askFirst(a)
	}
	a.match.ShareKey = a.same()
	a.body.share(a.match.ShareKey != "")
	first, verdict, err := t.config.Resolver.First(ctx, a.match, a.token, t.sender(a))
	a.body.share(a.match.ShareKey != "" && ctx.Err() != nil)
	switch {
	case err != nil:
		return nil, err
	case !verdict.OK():
		return refused(a.request, first, verdict), nil
	case verdict.Outcome != "":
		return t.approved(&a.exchange, first, verdict), nil
	}
	if len(a.match.Kept) > 0 || !a.refusal(first) {
		return t.login(&a.exchange, first), nil
	}
	resp, verdict := t.config.Resolver.StepUp(ctx, a.match, a.token, t.sender(a))
	switch {
	case verdict.Outcome == "":
		return first, nil
	case verdict.OK():
		_ = first.Body.Close()
		return t.approved(&a.exchange, resp, verdict), nil
	case resp == nil:
		return refused(a.request, first, verdict), nil
	}
	_ = first.Body.Close()
	return refused(a.request, resp, verdict), nil
}

// askFirst is the way of a body that is too large to be kept: the person is
// asked before it is sent, because it can be sent only once.
func (t *Transport) askFirst(a *attempt) (*http.Response, error) {
	a.match.NoReplay = true
	resp, verdict := t.config.Resolver.StepUp(a.request.Context(), a.match, a.token, t.sender(a))
	switch {
	case verdict.Outcome == "":
		return t.follow(a.request, a.body)
	case verdict.OK():
		return t.approved(&a.exchange, resp, verdict), nil
	}
	return refused(a.request, resp, verdict), nil
}

// sender sends the request of a, each call once. net/http would repeat a GET by
// itself when a kept connection breaks before the answer: that is a second push,
// or a code that arrives twice.
func (t *Transport) sender(a *attempt) Send {
	return func(ctx context.Context, credentials []mfa.Credential, token cache.Token) (*http.Response, error) {
		r := clone(ctx, a.request)
		keepOnce(r.Header)
		if token.Secret != "" {
			present(r.Header, token)
		}
		for _, c := range credentials {
			// One line for each: Vault does not split at commas.
			r.Header["X-Vault-Mfa"] = append(r.Header["X-Vault-Mfa"], c.Header())
		}
		body := a.body
		if r.Method == http.MethodGet {
			body = body.once()
		}
		if token.Secret == "" && len(credentials) == 0 {
			return t.follow(r, body)
		}
		return t.followTo(r, body, t.sameAs(&a.exchange))
	}
}

// present puts a step-up token in the place of the caller's own. A standby that
// has not heard of the token yet is asked to wait for the state in which it was
// made (X-Vault-Index).
func present(h http.Header, token cache.Token) {
	h.Del("Authorization") // the other header that Vault takes a token from
	h.Set("X-Vault-Token", token.Secret.Reveal())
	if token.Index != "" {
		h.Add("X-Vault-Index", token.Index)
	}
}

func (t *Transport) approved(x *exchange, resp *http.Response, v mfa.Verdict) *http.Response {
	resp.Header.Del(Outcome)
	resp = t.login(x, resp)
	if resp.Header.Get(Outcome) == "" { // else it was held, and Login has decided
		resp.Header.Set(Outcome, string(v.Outcome))
	}
	return resp
}
