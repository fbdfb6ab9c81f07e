package relay

import (
	"bytes"
	"compress/gzip"
	"io"
	"mime"
	"net/http"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache"
)

const wrapTTL = "X-Vault-Wrap-Ttl"

// login looks for a challenge in an answer, on whatever path it came, and
// returns the final answer of the login instead. Every other answer comes back
// as it was.
func (t *Transport) login(r *http.Request, resp *http.Response, asked rule.Request) *http.Response {
	if !t.config.LoginMFA || !mayHoldChallenge(resp) {
		return resp
	}
	ctx := r.Context()
	encoded := resp.Header.Get("Content-Encoding") != ""
	held := hold(resp.Body, !encoded && r.Header.Get(wrapTTL) == "")
	resp.Body = held
	body, truncated := held.body(ctx)
	if truncated {
		t.config.Log.Warn("challenge is malformed, relayed as it is", "vault", t.config.Vault, "error", "incomplete or too large")
		return resp
	}
	if body == nil {
		return resp
	}
	c, original, ok := t.challenge(r, decode(body, encoded))
	if !ok {
		return resp
	}
	c.Namespace = r.Header.Get("X-Vault-Namespace")
	c.Node = node(r, resp)
	final, verdict := t.config.Resolver.Login(ctx, c, asked)
	if verdict.OK() {
		_ = held.Close()
		final.Request = r
		final.Header.Set(Outcome, string(verdict.Outcome))
		return final
	}
	if final == nil && verdict.Outcome == mfa.Unavailable {
		// Nobody can be asked: the app may know what to do with the challenge.
		_ = held.Close()
		return withBody(resp, mfa.AppendWarning(original, verdict.Message), verdict)
	}
	_ = held.Close()
	return refusedLogin(r, final, verdict)
}

// mayHoldChallenge says whether an answer is worth a look.
func mayHoldChallenge(resp *http.Response) bool {
	if resp.StatusCode/100 != 2 || resp.Body == nil || resp.Body == http.NoBody || resp.ContentLength > mfa.MaxBody {
		return false
	}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return false
	}
	encoding := resp.Header.Get("Content-Encoding")
	return encoding == "" || encoding == "gzip"
}

// challenge reads the challenge out of an answer; original is the answer that
// holds it in the clear. Where the app asked for a wrapped answer, Vault wraps
// the challenge, too, and only a warning shows it.
func (t *Transport) challenge(r *http.Request, body []byte) (c mfa.Challenge, original []byte, ok bool) {
	ttl := r.Header.Get(wrapTTL)
	if ttl != "" {
		if token, held := mfa.ParseWrapped(body); held {
			opened, err := t.config.Unwrapper.Unwrap(r.Context(), cache.Secret(token), r.Header.Get("X-Vault-Namespace"))
			if err != nil {
				t.config.Log.Warn("wrapped challenge could not be opened, relayed as it is", "vault", t.config.Vault, "error", err)
				return mfa.Challenge{}, nil, false
			}
			body = opened
		}
	}
	c, ok, err := mfa.Parse(body)
	if err != nil && bytes.Contains(body, []byte(`"mfa_requirement"`)) {
		t.config.Log.Warn("challenge is malformed, relayed as it is", "vault", t.config.Vault, "error", err)
	}
	c.WrapTTL = ttl
	return c, body, ok
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
