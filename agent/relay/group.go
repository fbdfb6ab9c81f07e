package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/secret"
)

// An Approver waits for other people where Vault answers with a control group. Its
// methods block while it waits, end when ctx ends, and are called by many
// requests at once. *stepup.Resolver is one.
type Approver interface {
	// Resume goes on waiting where an earlier request like this one gave up. A
	// verdict without an outcome means that there is nothing to wait for.
	Resume(ctx context.Context, m rule.Match, token secret.Secret) (*http.Response, mfa.Verdict)
	// Await takes Vault's answer, whose body is in memory, and returns the one of
	// the approved request, or held again. A verdict without an outcome means that
	// held is no control group after all.
	Await(ctx context.Context, m rule.Match, token secret.Secret, held *http.Response) (*http.Response, mfa.Verdict)
}

// waitsForOthers reports whether the answer to a may be one to wait for. An app
// that asked for a wrapped answer gets what it asked for: whether a control group
// stands behind it cannot be told, and opening it is not ours.
func (t *Transport) waitsForOthers(a *attempt) bool {
	return t.config.Approver != nil && a.token != "" && a.match.Rule.ControlGroup.Timeout > 0 && a.request.Header.Get(wrapTTL) == ""
}

// grouped is the way of a request whose rule waits for approvals.
func (t *Transport) grouped(a *attempt) (*http.Response, error) {
	ctx := a.request.Context()
	a.match.Fingerprint = a.print()
	if resp, v := t.config.Approver.Resume(ctx, a.match, a.token); v.Outcome != "" {
		return a.waited(resp, v), nil
	}
	resp, err := t.guarded(a)
	if err != nil || !a.controlGroup(resp) {
		return resp, err
	}
	resp, v := t.config.Approver.Await(ctx, a.match, a.token, resp)
	if v.Outcome == "" {
		return resp, nil
	}
	return a.waited(resp, v), nil
}

// print is what tells this request from others of the same caller: a retry is the
// same to the letter, and an approval never serves a request with another body.
func (a *attempt) print() string {
	if !a.whole {
		return ""
	}
	h := sha256.New()
	for _, part := range []string{a.request.Method, a.request.URL.Opaque, a.request.URL.RequestURI()} {
		_, _ = io.WriteString(h, strconv.Itoa(len(part))+" "+part)
	}
	a.body.hash(h)
	return hex.EncodeToString(h.Sum(nil))
}

// controlGroup reports whether resp stands for an answer that other people must
// approve first. If so, its body is in memory, unpacked.
func (a *attempt) controlGroup(resp *http.Response) bool {
	if resp.StatusCode != http.StatusOK || resp.ContentLength > mfa.MaxHeldAnswer || !mayHoldChallenge(resp) {
		return false
	}
	encoded := resp.Header.Get("Content-Encoding") != ""
	held := hold(resp.Body, false)
	resp.Body = held
	body, _ := held.body(a.request.Context())
	if body == nil {
		return false
	}
	plain := decode(body, encoded)
	g, ok := mfa.ParseControlGroup(plain)
	if !ok || !g.Answers(a.asked.Namespace, a.asked.Path) {
		return false
	}
	_ = held.Close()
	replaceBody(resp, plain)
	return true
}

// replaceBody puts plain bytes in the place of a body that the caller has closed.
func replaceBody(resp *http.Response, body []byte) {
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	resp.TransferEncoding = nil
	resp.Header.Del("Content-Encoding")
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
}

// waited is the answer after a wait: that of the approved request, or Vault's own
// with one more warning. It stays a 200: the app can use its wrapping token.
func (a *attempt) waited(resp *http.Response, v mfa.Verdict) *http.Response {
	resp.Request = a.request
	if v.OK() {
		resp.Header.Set(Outcome, string(v.Outcome))
		return resp
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, mfa.MaxHeldAnswer)) // from memory
	_ = resp.Body.Close()
	return withBody(resp, mfa.AppendWarning(body, v.Message), v)
}
