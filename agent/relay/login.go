package relay

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/secret"
)

const wrapTTL = "X-Vault-Wrap-Ttl"

// login looks for a challenge in the answer to x, on whatever path of Vault's API it
// came, and returns the final answer of the login instead. Every other answer comes
// back as it was.
func (t *Transport) login(x *exchange, resp *http.Response) *http.Response {
	if !t.config.LoginMFA || x.asked.Path == "" || !mayHoldChallenge(resp) {
		return resp
	}
	wrapped := x.wrappedLogin()
	encoded := resp.Header.Get("Content-Encoding") != ""
	held := hold(resp.Body, !encoded && !wrapped)
	resp.Body = held
	body, truncated := held.body(x.request.Context())
	if truncated {
		t.malformed(errors.New("incomplete or too large"))
		return resp
	}
	if body == nil {
		return resp
	}
	plain := decode(body, encoded)
	if wrapped {
		opened, again := t.open(x, plain)
		if again != nil {
			_ = held.Close()
			return again
		}
		plain = opened
	}
	c, ok, err := mfa.Parse(plain)
	if err != nil && bytes.Contains(plain, []byte(`"mfa_requirement"`)) {
		t.malformed(err)
	}
	if !ok {
		return resp
	}
	_ = held.Close()
	login := x.login()
	c.Namespace, c.WrapTTL, c.Node = login.Namespace, x.request.Header.Get(wrapTTL), node(x.request, resp)
	final, verdict := t.config.Resolver.Login(x.request.Context(), c, login)
	switch {
	case verdict.OK():
		final.Request = x.request
		final.Header.Set(Outcome, string(verdict.Outcome))
		return final
	case final == nil && verdict.NoPrompt:
		// Nobody can be asked: the app may know what to do with the challenge.
		return withBody(resp, mfa.AppendWarning(plain, verdict.Message), verdict)
	}
	return refusedLogin(x.request, final, verdict)
}

// malformed says once what was wrong with a challenge that is handed on.
func (t *Transport) malformed(err error) {
	t.config.Log.Warn("challenge is malformed, relayed as it is", "vault", t.config.Vault, "error", err)
}

// mayHoldChallenge says whether an answer is worth a look.
func mayHoldChallenge(resp *http.Response) bool {
	if resp.StatusCode/100 != 2 || resp.Body == nil || resp.Body == http.NoBody {
		return false
	}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return false
	}
	encoding := resp.Header.Get("Content-Encoding")
	return encoding == "" || encoding == "gzip"
}

// wrappedLogin reports whether x is a login that asked for a wrapped answer. A
// request with a token is none, although it may be below auth/: its wrapped
// answer, such as a secret ID, must not be opened.
func (x *exchange) wrappedLogin() bool {
	if x.request.Header.Get(wrapTTL) == "" || callerToken(x.request) != "" || x.spent {
		return false
	}
	return isLogin(x.asked)
}

// isLogin reports whether q is for a path at which people log in.
func isLogin(q rule.Request) bool {
	q, ok := q.Login()
	segments := strings.Split(q.Path, "/")
	return ok && (slices.Contains(segments, "login") || slices.Contains(segments, "callback"))
}

// open looks into the wrapped answer of a login, in which Vault has wrapped the
// challenge, too. Opening uses the wrapping token up, so where there was none (a
// batch token, which has no accessor either) the login is done again: again is
// the answer for the app then.
func (t *Transport) open(x *exchange, body []byte) (opened []byte, again *http.Response) {
	token, maybe := mfa.ParseWrapped(body)
	if !maybe || !x.body.whole() {
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
	again, err = t.follow(clone(x.request.Context(), x.request), x.body)
	if err != nil {
		return nil, newRefusal(x.request, []string{unreachable(t.config.Vault, err)}, mfa.Verdict{Outcome: mfa.Unavailable})
	}
	return nil, again
}

// decode undoes gzip, by which a load balancer may have packed Vault's answer.
// What cannot be unpacked within the limit is no challenge of Vault's.
func decode(body []byte, encoded bool) []byte {
	if !encoded {
		return body
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil
	}
	plain, err := io.ReadAll(io.LimitReader(z, mfa.MaxBody+1))
	if err != nil {
		return nil
	}
	return plain
}

// node is the server that holds the login: the one a redirect led to. Another
// one may not know the request ID (openbao/openbao#3208).
func node(r *http.Request, resp *http.Response) string {
	if resp.Request == nil || resp.Request.URL == nil || resp.Request.URL.Host == r.URL.Host {
		return ""
	}
	return resp.Request.URL.Scheme + "://" + resp.Request.URL.Host
}
