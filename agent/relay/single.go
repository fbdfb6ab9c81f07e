package relay

import (
	"context"
	"net/http"
	"path"
	"strings"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
)

// A SinglePhase knows the logins whose second factor goes with the login itself, in
// X-Vault-MFA, instead of with a call after it.
type SinglePhase interface {
	// Covers reports whether r is one of them.
	Covers(r rule.Request) bool
	// LoginWith asks for the factors of the login r and sends it with them. It
	// blocks while a person is asked or a phone rings, and returns Vault's newest
	// answer, nil when nothing was sent. With once, it sends no more than once.
	LoginWith(ctx context.Context, r rule.Request, once bool, send Send) (*http.Response, mfa.Verdict)
}

// inlinePath is where a request of OpenBao's clients logs in on its way.
const inlinePath = "X-Vault-Inline-Auth-Path"

// covered reports whether the login r is asked about before it is sent.
func (t *Transport) covered(r rule.Request) bool {
	return t.config.SinglePhase != nil && t.config.SinglePhase.Covers(r)
}

// single asks about a login and sends it with its factors.
func (t *Transport) single(x *exchange) (*http.Response, error) {
	whole, err := x.body.fill()
	if err != nil {
		return nil, err
	}
	resp, verdict := t.config.SinglePhase.LoginWith(x.request.Context(), x.login(), !whole, t.sender(&attempt{exchange: *x}))
	switch {
	case resp == nil && verdict.NoPrompt:
		// Vault may hold the login, and the app know how to finish it.
		return t.plain(x)
	case !verdict.OK():
		return refusedLogin(x.request, resp, verdict), nil
	}
	resp.Header.Set(Outcome, string(verdict.Outcome))
	if x.request.Header.Get(wrapTTL) != "" {
		return resp, nil // whatever is in it, it is no challenge: that is not to be opened
	}
	t.unused(x, resp)
	return t.login(x, resp), nil
}

// unused says in the log that a person was asked for nothing.
func (t *Transport) unused(x *exchange, resp *http.Response) {
	if !mayHoldChallenge(resp) {
		return
	}
	text, body := readRefusal(resp)
	resp.Body = body
	if mfa.FactorUnused(text) {
		t.config.Log.Warn(factorUnused, "vault", t.config.Vault, "path", x.asked.Path)
	}
}

// inline relays a request that logs in on its way (OpenBao). It asks only after
// OpenBao said that this login needs a factor: each such request logs in anew, and
// a person who were asked first would be asked about every one. The login failed
// before anything else was done, so that the request can be sent again.
func (t *Transport) inline(x *exchange) (*http.Response, error) {
	resp, err := t.follow(x.request, x.body)
	if err != nil || resp.StatusCode < http.StatusBadRequest {
		return resp, err
	}
	login := inlineLogin(x.request.Header)
	if !t.covered(login) {
		return resp, nil
	}
	text, body := readRefusal(resp)
	resp.Body = body
	if !mfa.WantsInlineFactor(text) {
		return resp, nil
	}
	if !x.body.whole() {
		return refusedLogin(x.request, resp, mfa.Verdict{Outcome: mfa.Unavailable, Message: inlineTooLarge}), nil
	}
	final, verdict := t.config.SinglePhase.LoginWith(x.request.Context(), login, false, t.sender(&attempt{exchange: *x}))
	if final == nil {
		return refusedLogin(x.request, resp, verdict), nil
	}
	_ = resp.Body.Close()
	if !verdict.OK() {
		return refusedLogin(x.request, final, verdict), nil
	}
	final.Header.Set(Outcome, string(verdict.Outcome))
	return final, nil
}

// inlineLogin is the login inside a request. It is in the namespace of the request's
// header, unless it says otherwise, or in one below that in its own path; never in one in
// the path of the request (OpenBao, handleInlineAuth).
func inlineLogin(h http.Header) rule.Request {
	namespace := h.Get("X-Vault-Namespace")
	if own, ok := h["X-Vault-Inline-Auth-Namespace"]; ok && len(own) > 0 {
		namespace = own[0]
	}
	in := strings.TrimPrefix(strings.Trim(h.Get(inlinePath), "/"), "v1/")
	if path.Clean("/"+in) != "/"+in || !rule.ReadAlike(namespace) {
		return rule.Request{}
	}
	q, _ := rule.Request{Namespace: rule.Namespace(namespace), Path: in, Operation: rule.Update}.Login()
	return q
}
