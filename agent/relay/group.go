package relay

import (
	"bytes"
	"io"
	"net/http"
	"strconv"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/stepup"
)

// mayNeedApproval reports whether the answer to a may be one to wait for. An app
// that asked for a wrapped answer gets what it asked for: whether a control group
// stands behind it cannot be told, and opening it is not ours.
func (a *attempt) mayNeedApproval() bool {
	return a.token != "" && a.match.Rule.ControlGroup.Timeout > 0 && a.request.Header.Get(wrapTTL) == ""
}

// controlGroup reports whether resp stands for an answer that other people must
// approve first. If so, its body is in memory, unpacked.
func (a *attempt) controlGroup(resp *http.Response) bool {
	if resp.StatusCode != http.StatusOK || resp.ContentLength > mfa.MaxHeldAnswer || !mayHoldChallenge(resp) {
		return false
	}
	text, _ := readAhead(a.request.Context(), resp, false)
	g, ok := mfa.ParseControlGroup(text)
	if !ok || !g.Answers(a.asked.Namespace, a.asked.Path) {
		return false
	}
	_ = resp.Body.Close()
	replaceBody(resp, text)
	return true
}

// replaceBody puts bytes in the place of a body that the caller has closed.
func replaceBody(resp *http.Response, body []byte) {
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	resp.TransferEncoding = nil
	resp.Header.Del("Content-Encoding")
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
}

// afterApproval is the answer after a wait: that of the approved request, or Vault's own
// with one more warning. It stays a 200: the app can use its wrapping token.
func (a *attempt) afterApproval(d stepup.Decision) *http.Response {
	switch d := d.(type) {
	case stepup.Answered:
		d.Response.Request = a.request
		return marked(d)
	case stepup.Refused:
		d.Response.Request = a.request
		body, _ := io.ReadAll(io.LimitReader(d.Response.Body, mfa.MaxHeldAnswer)) // from memory
		_ = d.Response.Body.Close()
		return withBody(d.Response, mfa.AppendWarning(body, d.Verdict.Message), d.Verdict)
	}
	return d.(stepup.PassThrough).Response
}
