package relay

import (
	"bytes"
	"context"
	"errors"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache/secret"
)

const (
	wrapTTL    = "X-Vault-Wrap-Ttl"
	inlinePath = "X-Vault-Inline-Auth-Path" // where a request of OpenBao's clients logs in on its way
	maxLogin   = 64 << 10                   // more than any login sends; a larger body is not looked into
)

// Mounts are auth methods whose logins carry their factor in their own body, as
// paths without slashes at their ends ("auth/okta").
type Mounts struct {
	Okta   []string
	Legacy []string
}

// login looks for a challenge in the answer to x, on whatever path of Vault's API it
// came, and returns the final answer of the login instead. Every other answer comes
// back as it was.
func (t *Transport) login(x *exchange, resp *http.Response) *http.Response {
	if !t.config.LoginMFA || x.asked.Path == "" || !mayHoldChallenge(resp) {
		return resp
	}
	if names := codings(resp.Header); !canDecode(names) {
		if t.undecodable.CompareAndSwap(false, true) {
			t.config.Log.Warn("an answer is packed in a way that is not known: a second factor that it may ask for is not noticed",
				"vault", t.config.Vault, "path", x.asked.Path, "encoding", strings.Join(names, ", "))
		}
		return resp
	}
	wrapped := x.wrappedLogin()
	text, truncated := readAhead(x.request.Context(), resp, !wrapped)
	if truncated {
		t.warnMalformed(errors.New("incomplete or too large"))
	}
	if text == nil {
		return resp
	}
	if wrapped {
		opened, again := t.openWrapped(x, text)
		if again != nil {
			_ = resp.Body.Close()
			return again
		}
		text = opened
	}
	c, ok, err := mfa.Parse(text)
	if err != nil && bytes.Contains(text, []byte(`"mfa_requirement"`)) {
		t.warnMalformed(err)
	}
	if !ok {
		return resp
	}
	_ = resp.Body.Close()
	login := x.login()
	c.Namespace, c.WrapTTL, c.Node = login.Namespace, x.request.Header.Get(wrapTTL), node(x.request, resp)
	switch d := t.config.Resolver.Login(x.request.Context(), c, login).(type) {
	case stepup.Answered:
		d.Response.Request = x.request
		return marked(d)
	case stepup.Refused:
		if d.Response == nil && d.Verdict.NoPrompt {
			// There is no way to ask: the app may know what to do with the challenge.
			return withBody(resp, mfa.AppendWarning(text, d.Verdict.Message), d.Verdict)
		}
		return refusedLogin(x.request, d)
	}
	return resp
}

// warnMalformed logs what is wrong with a challenge that is handed on.
func (t *Transport) warnMalformed(err error) {
	t.config.Log.Warn("challenge is malformed, relayed as it is", "vault", t.config.Vault, "error", err)
}

// mayHoldChallenge reports whether an answer is worth a look.
func mayHoldChallenge(resp *http.Response) bool {
	if resp.StatusCode/100 != 2 || resp.Body == nil || resp.Body == http.NoBody {
		return false
	}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return false
	}
	return true
}

// wrappedLogin reports whether x is a login that asked for a wrapped answer. A
// request with a token is none, although it may be below auth/: its wrapped
// answer, such as a secret ID, must not be opened.
func (x *exchange) wrappedLogin() bool {
	return x.request.Header.Get(wrapTTL) != "" && callerToken(x.request) == "" && !x.factorSent && isLogin(x.asked)
}

// isLogin reports whether q is for a path at which people log in.
func isLogin(q rule.Request) bool {
	q, ok := q.Login()
	segments := strings.Split(q.Path, "/")
	return ok && (slices.Contains(segments, "login") || slices.Contains(segments, "callback"))
}

// openWrapped looks into the wrapped answer of a login, in which Vault has wrapped the
// challenge, too. Opening uses the wrapping token up, so where there was no challenge (a
// batch token, which has no accessor either) the login is done again: again is
// the answer for the app then.
func (t *Transport) openWrapped(x *exchange, body []byte) (opened []byte, again *http.Response) {
	token, maybe := mfa.ParseWrapped(body)
	if !maybe || !x.body.fullyBuffered() {
		return body, nil
	}
	opened, err := t.config.Unwrapper.Unwrap(x.request.Context(), secret.Secret(token), x.login().Namespace)
	if err != nil {
		t.config.Log.Warn("wrapped answer of a login could not be opened, relayed as it is", "vault", t.config.Vault, "error", err)
		return body, nil
	}
	if _, held, err := mfa.Parse(opened); held || err != nil {
		return opened, nil
	}
	again, err = t.roundTripFollowing(clone(x.request.Context(), x.request), x.body, anyRedirect)
	if err != nil {
		return nil, newRefusal(x.request, mfa.Verdict{Outcome: mfa.Unavailable}, unreachable(t.config.Vault, err))
	}
	return nil, again
}

// node is the server that holds the login: the one a redirect led to. Another
// one may not know the request ID (openbao/openbao#3208).
func node(r *http.Request, resp *http.Response) string {
	if resp.Request == nil || resp.Request.URL == nil || resp.Request.URL.Host == r.URL.Host {
		return ""
	}
	return resp.Request.URL.Scheme + "://" + resp.Request.URL.Host
}

// single asks about a login and sends it with its factors.
func (t *Transport) single(x *exchange) (*http.Response, error) {
	complete, err := x.body.buffer()
	if err != nil {
		return nil, err
	}
	d := t.config.Resolver.LoginWith(x.request.Context(), x.login(), !complete, t.sender(x))
	if refusal, ok := d.(stepup.Refused); ok {
		if refusal.Response == nil && refusal.Verdict.NoPrompt {
			// Vault may hold the login, and the app know how to finish it.
			return t.passThrough(x)
		}
		return refusedLogin(x.request, refusal), nil
	}
	resp := marked(d.(stepup.Answered))
	if x.request.Header.Get(wrapTTL) != "" {
		return resp, nil // a wrapped answer is no challenge: it is not to be opened
	}
	t.warnFactorUnused(x, resp)
	return t.login(x, resp), nil
}

// warnFactorUnused logs that a person was asked for nothing.
func (t *Transport) warnFactorUnused(x *exchange, resp *http.Response) {
	if !mayHoldChallenge(resp) {
		return
	}
	text, body := readRefusal(resp)
	resp.Body = body
	if mfa.FactorUnused(text) {
		t.config.Log.Warn("a login was asked about for nothing: no enforcement of vault wants a second factor there; limit single_phase_mounts",
			"vault", t.config.Vault, "path", x.asked.Path)
	}
}

// inline relays a request that logs in on its way (OpenBao). It asks only after
// OpenBao said that this login needs a factor: each such request logs in anew, so that
// asking first would ask about every one. The login failed before anything else was
// done, so that the request can be sent again.
func (t *Transport) inline(x *exchange) (*http.Response, error) {
	resp, err := t.roundTripFollowing(x.request, x.body, anyRedirect)
	if err != nil || resp.StatusCode < http.StatusBadRequest {
		return resp, err
	}
	login := inlineLogin(x.request.Header)
	covered := t.config.Resolver.Covers(login)
	if !covered && resp.StatusCode != http.StatusInternalServerError { // which OpenBao says it with
		return resp, nil
	}
	text, body := readRefusal(resp)
	resp.Body = body
	if !mfa.WantsInlineFactor(text) {
		return resp, nil
	}
	if !covered {
		// The program gets the answer as it is; only the log says that there is a way.
		t.config.Log.Warn("openbao wants a second factor for a login inside a request (inline authentication): single_phase in login_mfa asks for it",
			"vault", t.config.Vault, "path", login.Path)
		return resp, nil
	}
	if !x.body.fullyBuffered() {
		return refusedLogin(x.request, stepup.Refused{Response: resp, Verdict: mfa.Verdict{
			Outcome: mfa.Unavailable,
			Message: "stepup: the request is too large to be sent again with a second factor; send X-Vault-MFA with it",
		}}), nil
	}
	d := t.config.Resolver.LoginWith(x.request.Context(), login, false, t.sender(x))
	if refusal, ok := d.(stepup.Refused); ok {
		return refusedLogin(x.request, lastResponse(refusal, resp)), nil
	}
	_ = resp.Body.Close()
	return marked(d.(stepup.Answered)), nil
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

// bodyFactorLogin finds the mount that x logs in at, if that is one of [Mounts].
func (t *Transport) bodyFactorLogin(x *exchange) (kind mfa.MountKind, mount string) {
	if x.asked.Operation != rule.Update {
		return 0, ""
	}
	for _, m := range t.config.Mounts.Okta {
		if user, ok := x.loginAt(m); ok && user != "" {
			return mfa.OktaMount, m
		}
	}
	for _, m := range t.config.Mounts.Legacy {
		if _, ok := x.loginAt(m); ok {
			return mfa.LegacyMount, m
		}
	}
	return 0, ""
}

// loginAt reports whether x is a login at mount, and as whom: "" where the name is in
// the body. In a path with a namespace the mount stands further back; with a token
// that might as well be the name of a secret, into which nothing must be written.
func (x *exchange) loginAt(mount string) (user string, ok bool) {
	q, ok := x.asLogin()
	if !ok || strings.HasSuffix(q.Path, "/") {
		return "", false
	}
	user, ok = strings.CutPrefix(q.Path, mount+"/login")
	return strings.TrimPrefix(user, "/"), ok && (user == "" || user[0] == '/')
}

// completeBodyFactorLogin sends a login at one of the mounts.
func (t *Transport) completeBodyFactorLogin(x *exchange, kind mfa.MountKind, mount string) (*http.Response, error) {
	body, err := x.readFields()
	if err != nil {
		if _, broken := errors.AsType[*bodyError](err); broken {
			return nil, err
		}
		t.config.Log.Warn("login is relayed as it is", "vault", t.config.Vault, "path", x.asked.Path, "error", err)
		return t.passThrough(x)
	}
	x.factorSent = true
	var node atomic.Pointer[string]
	node.Store(new(string))
	l := mfa.MountLogin{Kind: kind, Mount: mount, Body: body, Node: func() string { return *node.Load() }}
	d, err := t.config.Resolver.BodyLogin(x.request.Context(), l, x.login(),
		func(ctx context.Context, body mfa.LoginBody) (*http.Response, error) {
			r := clone(ctx, x.request)
			send := disableRetry(r, newBody(body.Bytes()))
			r.ContentLength, r.TransferEncoding = int64(len(body.Bytes())), nil
			same := t.sameRequestAs(x)
			return t.roundTripFollowing(r, send, func(r *http.Request) error {
				base := r.URL.Scheme + "://" + r.URL.Host
				node.Store(&base)
				return same(r)
			})
		})
	if err != nil {
		return nil, err
	}
	switch d := d.(type) {
	case stepup.Answered:
		return t.approved(x, d.Response, d.Outcome), nil
	case stepup.Refused:
		if d.Verdict.NoPrompt && d.Response != nil {
			return t.withWarning(x, d), nil
		}
		return refusedLogin(x.request, d), nil
	}
	return t.login(x, d.(stepup.PassThrough).Response), nil
}

// withWarning is Vault's answer to a login that went without us, since there is no way to
// ask: our line goes into its warnings, or into its errors.
func (t *Transport) withWarning(x *exchange, d stepup.Refused) *http.Response {
	v := d.Verdict
	if d.Response.StatusCode/100 != 2 {
		return refused(x.request, d)
	}
	resp := t.approved(x, d.Response, v.Outcome)
	if resp.Header.Get(Outcome) != string(v.Outcome) || !mayHoldChallenge(resp) {
		return resp
	}
	text, body := readRefusal(resp)
	if resp.Body = body; text == nil {
		return resp
	}
	_ = body.Close()
	return withBody(resp, mfa.AppendWarning(text, v.Message), v)
}

// readFields reads the fields of a login. After an error the login can still be sent
// as it came.
func (x *exchange) readFields() (mfa.LoginBody, error) {
	x.body.limit = max(x.body.limit, maxLogin)
	complete, err := x.body.buffer()
	if err != nil {
		return mfa.LoginBody{}, err
	}
	if !complete || x.body.kept.len() > maxLogin {
		return mfa.LoginBody{}, errors.New("body is larger than a login's")
	}
	return mfa.ReadLoginBody(x.request.Header.Get("Content-Type"), x.body.bytes())
}

// renewed is the token or accessor that x renews, "" when it renews none.
func (t *Transport) renewed(x *exchange) secret.Secret {
	if len(t.config.Mounts.Okta) == 0 || x.asked.Operation != rule.Update {
		return ""
	}
	q, _ := x.asked.Login()
	field := ""
	switch q.Path {
	case "auth/token/renew-self":
		return callerToken(x.request)
	case "auth/token/renew":
		field = "token"
	case "auth/token/renew-accessor":
		field = "accessor"
	}
	if field == "" || q != x.asked { // as in loginAt: behind a prefix it may be a secret
		return ""
	}
	body, err := x.readFields()
	if err != nil {
		return ""
	}
	return secret.Secret(body.Text(field))
}

// renew sends the renewal of a token.
func (t *Transport) renew(x *exchange, subject secret.Secret) (*http.Response, error) {
	d, err := t.config.Resolver.Renew(x.request.Context(), subject, x.login(),
		func(ctx context.Context) (*http.Response, error) {
			r := clone(ctx, x.request)
			return t.roundTripFollowing(r, disableRetry(r, x.body), anyRedirect)
		})
	if err != nil {
		return nil, err
	}
	switch d := d.(type) {
	case stepup.Answered:
		return marked(d), nil
	case stepup.Refused:
		return refused(x.request, d), nil
	}
	return d.(stepup.PassThrough).Response, nil
}
