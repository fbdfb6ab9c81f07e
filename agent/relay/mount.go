package relay

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/secret"
)

// maxLogin is more than any login sends; a larger body is not looked into.
const maxLogin = 64 << 10

// Mounts are auth methods whose logins carry their factor in their own body, as
// paths without slashes at their ends ("auth/okta").
type Mounts struct {
	Okta   []string
	Legacy []string
}

// A SendLogin sends a login with another body, each call once. The caller closes the
// body of the answer.
type SendLogin = func(ctx context.Context, body mfa.LoginBody) (*http.Response, error)

// A MountResolver takes part in the logins of [Mounts]. Its methods block while a
// person is asked or a phone rings, and end when ctx ends. A verdict without an
// outcome means that there was nothing to do, and that the answer is handed on as it
// is; an error, that Vault was not reached.
type MountResolver interface {
	// AtMount sends a login, as often as the person's answers ask for it. The answer is
	// nil when nothing was sent.
	AtMount(ctx context.Context, l mfa.MountLogin, r rule.Request, send SendLogin) (*http.Response, mfa.Verdict, error)
	// Renew sends, once, a request that renews a token: a token or accessor, by the
	// path of r. Okta pushes at that, too.
	Renew(ctx context.Context, subject secret.Secret, r rule.Request, send func(context.Context) (*http.Response, error)) (*http.Response, mfa.Verdict, error)
}

// mountLogin finds the mount that x logs in at.
func (t *Transport) mountLogin(x *exchange) (kind mfa.MountKind, mount string) {
	if x.asked.Operation != rule.Update || t.config.Mounted == nil {
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

// atMount sends a login at one of the mounts.
func (t *Transport) atMount(x *exchange, kind mfa.MountKind, mount string) (*http.Response, error) {
	body, err := t.readLogin(x)
	if err != nil {
		if _, broken := errors.AsType[*bodyError](err); broken {
			return nil, err
		}
		t.config.Log.Warn("login is relayed as it is", "vault", t.config.Vault, "path", x.asked.Path, "error", err)
		return t.plain(x)
	}
	x.spent = true
	var node atomic.Pointer[string]
	l := mfa.MountLogin{Kind: kind, Mount: mount, Body: body, Node: func() string {
		if n := node.Load(); n != nil {
			return *n
		}
		return ""
	}}
	resp, verdict, err := t.config.Mounted.AtMount(x.request.Context(), l, x.login(),
		func(ctx context.Context, body mfa.LoginBody) (*http.Response, error) {
			r := clone(ctx, x.request)
			keepOnce(r.Header)
			r.ContentLength, r.TransferEncoding = int64(len(body.Bytes())), nil
			same := t.sameAs(x)
			return t.followTo(r, newBody(body.Bytes()), func(r *http.Request) error {
				base := r.URL.Scheme + "://" + r.URL.Host
				node.Store(&base)
				return same(r)
			})
		})
	switch {
	case err != nil:
		return nil, err
	case verdict.Outcome == "":
		return t.login(x, resp), nil
	case verdict.OK():
		return t.approved(x, resp, verdict), nil
	case verdict.NoPrompt && resp != nil:
		return t.alone(x, resp, verdict), nil
	}
	return refusedLogin(x.request, resp, verdict), nil
}

var errLargeLogin = errors.New("body is larger than a login's")

// readLogin reads the fields of a login. After an error the login can still be sent
// as it came.
func (t *Transport) readLogin(x *exchange) (mfa.LoginBody, error) {
	var raw []byte
	if x.body != nil {
		x.body.limit = max(x.body.limit, maxLogin)
		whole, err := x.body.fill()
		if err != nil {
			return mfa.LoginBody{}, err
		}
		if !whole || x.body.len() > maxLogin {
			return mfa.LoginBody{}, errLargeLogin
		}
		raw = x.body.bytes()
	}
	return mfa.ReadLoginBody(x.request.Header.Get("Content-Type"), raw)
}

// plain is the way of every other request.
func (t *Transport) plain(x *exchange) (*http.Response, error) {
	resp, err := t.follow(x.request, x.body)
	if err != nil {
		return nil, err
	}
	if x.asked.Operation != "" {
		t.observeDenial(x, callerToken(x.request), resp)
	}
	return t.login(x, resp), nil
}

// alone is Vault's answer to a login that went without us, since there is no way to
// ask: our line goes into its warnings, or into its errors.
func (t *Transport) alone(x *exchange, resp *http.Response, v mfa.Verdict) *http.Response {
	if resp.StatusCode/100 != 2 {
		return refused(x.request, resp, v)
	}
	resp = t.approved(x, resp, v)
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

// renewed is the token or accessor that x renews, "" when it renews none.
func (t *Transport) renewed(x *exchange) secret.Secret {
	if len(t.config.Mounts.Okta) == 0 || t.config.Mounted == nil || x.asked.Operation != rule.Update {
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
	body, err := t.readLogin(x)
	if err != nil {
		return ""
	}
	return secret.Secret(body.Text(field))
}

// renew sends the renewal of a token.
func (t *Transport) renew(x *exchange, subject secret.Secret) (*http.Response, error) {
	resp, verdict, err := t.config.Mounted.Renew(x.request.Context(), subject, x.login(),
		func(ctx context.Context) (*http.Response, error) {
			r := clone(ctx, x.request)
			keepOnce(r.Header)
			return t.follow(r, x.body)
		})
	switch {
	case err != nil:
		return nil, err
	case verdict.Outcome == "":
		return resp, nil
	case verdict.OK():
		resp.Header.Set(Outcome, string(verdict.Outcome))
		return resp, nil
	}
	return refused(x.request, resp, verdict), nil
}
