package relay

import (
	"bytes"
	"fmt"
	"io"
	"net/http"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/stepup"
)

// refusal reports whether a missing factor may stand behind an answer, and notes
// in the match what it says: a 403, and on a path that needs no token the 400 by
// which a Sentinel policy denies (vault/request_handling.go, handleLoginRequest).
func (a *attempt) refusal(resp *http.Response) bool {
	loginRefused := resp.StatusCode == http.StatusBadRequest
	if resp.StatusCode != http.StatusForbidden && !loginRefused {
		return false
	}
	text, rest := readRefusal(resp)
	resp.Body = rest
	failure := mfa.ReadFailure(text)
	byPolicy := failure.Kind == mfa.PolicyDenied
	if !mfa.MayNeedFactor(text) || (loginRefused || a.token == "") && !byPolicy {
		return false
	}
	a.match.Unauthenticated = loginRefused || a.match.Unauthenticated
	// Only of a token's own denial. On a path that needs none, a policy denies junk alike.
	a.match.Proven = !a.match.Unauthenticated && (byPolicy || mfa.BareDenial(text))
	a.match.DeniedBy = failure.DeniedBy()
	return true
}

// marked is the answer that an app wanted, with how the step-up ended.
func marked(d stepup.Answered) *http.Response {
	d.Response.Header.Set(Outcome, string(d.Outcome))
	return d.Response
}

// lastResponse is d with the earlier answer where it has none of its own; otherwise the
// earlier one is closed.
func lastResponse(d stepup.Refused, earlier *http.Response) stepup.Refused {
	if d.Response == nil {
		d.Response = earlier
		return d
	}
	_ = earlier.Body.Close()
	return d
}

// maxRefusal is more than any error of Vault's; a longer 403 comes from something else.
const maxRefusal = 64 << 10

// readRefusal reads the body of a 403 and returns its text, nil when it is not
// one that Vault makes, and a body that starts from the beginning again.
func readRefusal(resp *http.Response) (text []byte, body io.ReadCloser) {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal+1))
	body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(data), resp.Body), resp.Body}
	if err != nil || len(data) > maxRefusal {
		return nil, body
	}
	return decode(data, codings(resp.Header)), body
}

// refused is Vault's own answer with one more string in errors. Where nothing
// was sent to Vault there is none, and a 403 takes its place: a client repeats
// other statuses by itself, and the person would be asked again.
func refused(r *http.Request, d stepup.Refused) *http.Response {
	resp, v := d.Response, d.Verdict
	if resp == nil {
		return newRefusal(r, v, v.Message)
	}
	text, body := readRefusal(resp)
	_ = body.Close()
	if mfa.Errors(text) == nil {
		resp.Header.Set("Content-Type", "application/json") // a load balancer's page gives way
	}
	return withBody(resp, mfa.AppendError(text, v.Message), v)
}

// refusedLogin is the end of a login that was not completed: never Vault's 200,
// which would look like a login, and no other status that a client repeats.
func refusedLogin(r *http.Request, d stepup.Refused) *http.Response {
	resp, v := d.Response, d.Verdict
	if resp == nil {
		return newRefusal(r, v, v.Message)
	}
	text, body := readRefusal(resp)
	_ = body.Close()
	errors := mfa.Errors(text)
	if len(errors) == 0 {
		errors = []string{"permission denied"}
	}
	return newRefusal(r, v, append(errors, v.Message)...)
}

func newRefusal(r *http.Request, v mfa.Verdict, errors ...string) *http.Response {
	resp := &http.Response{
		StatusCode: http.StatusForbidden,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:  http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}},
		Request: r,
	}
	return withBody(resp, errorBody(errors...), v)
}

// withBody gives resp another body, whose old one the caller has closed.
func withBody(resp *http.Response, body []byte, v mfa.Verdict) *http.Response {
	resp.Status = fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	replaceBody(resp, body)
	resp.Header.Set(Outcome, string(v.Outcome))
	return resp
}
