package factor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/prompt"
)

// longDenial is the time after which a 403 is no ordinary one. Vault checks a passcode at
// once; what takes longer was a push that was refused or missed, and asking again would
// push again.
const longDenial = 3 * time.Second

// maxFailure is more than any text of Vault's about a factor.
const maxFailure = 64 << 10

// A Reply is one answer of Vault that may have waited for a phone, or the error in its
// place.
type Reply struct {
	Response *http.Response
	Err      error
	Notified bool          // the person was told to look at the phone
	Took     time.Duration // from the start to the answer
}

// OK reports whether Vault said yes.
func (r Reply) OK() bool { return r.Response != nil && r.Response.StatusCode/100 == 2 }

// Failure is what Vault has against the factor; of the kind Unknown where it gave no
// answer.
func (r Reply) Failure() mfa.Failure {
	if r.Response == nil {
		return mfa.Failure{}
	}
	return mfa.ReadFailure(PeekBody(r.Response))
}

// Denied reports whether an answer is a refusal behind which a factor may stand: a 403, or
// on the path of a login the 400 of a Sentinel policy.
func (r Reply) Denied() bool {
	switch {
	case r.Response == nil:
		return false
	case r.Response.StatusCode == http.StatusBadRequest:
		return r.Failure().Kind == mfa.PolicyDenied
	}
	return r.Response.StatusCode == http.StatusForbidden
}

// AnsweredLate reports whether a refusal came too late to be an ordinary one.
func (r Reply) AnsweredLate() bool { return r.Took >= longDenial && r.Denied() }

// RefusedPush reports whether a push was refused on the phone, or not answered.
func (r Reply) RefusedPush() bool { return r.Notified && r.AnsweredLate() }

// cloudflareTimeout is the status of Cloudflare for an origin that does not answer in time.
const cloudflareTimeout = 524

// DroppedByProxy reports whether something between us and Vault ended the wait for a
// phone: the connection broke, or a gateway answered for itself. Vault's own errors, those
// of a sealed one say, have their list.
func (r Reply) DroppedByProxy() bool {
	if !r.Notified || r.Took < longDenial {
		return false
	}
	if r.Err != nil {
		return !errors.Is(r.Err, context.Canceled) && !errors.Is(r.Err, prompt.ErrDenied) && !errors.Is(r.Err, prompt.ErrCanceled)
	}
	switch r.Response.StatusCode {
	case http.StatusRequestTimeout, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, cloudflareTimeout:
		return mfa.Errors(PeekBody(r.Response)) == nil
	}
	return false
}

// Outage returns the verdict on an answer that is about the service behind a factor. A 403
// is the word of an enforcement; any other error must say itself whose it is, because
// behind a rule's path is a backend with outages of its own.
func (r Reply) Outage() (mfa.Verdict, bool) {
	if r.Response == nil || r.Response.StatusCode < http.StatusBadRequest {
		return mfa.Verdict{}, false
	}
	failure := r.Failure()
	if failure.Kind != mfa.Unreachable || r.Response.StatusCode != http.StatusForbidden && !failure.FromProvider() {
		return mfa.Verdict{}, false
	}
	return providerDown(failure), true
}

// PeekBody reads the beginning of a body and puts it back.
func PeekBody(resp *http.Response) []byte {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxFailure))
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(data), resp.Body), resp.Body}
	return data
}

// BufferBody reads all of an answer, so that the end of its call takes nothing from it.
func BufferBody(resp *http.Response, err error) (*http.Response, error) {
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, mfa.MaxBody))
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(data))
	return resp, nil
}

// A Call sends something to Vault.
type Call = func(context.Context) (*http.Response, error)

// Timed runs do where no push is expected, and measures from the moment in which Vault had
// the whole request: a slow way there is not a phone that is not answered.
func Timed(ctx context.Context, do Call) Reply {
	var written atomic.Pointer[time.Time]
	restart := func() { now := time.Now(); written.Store(&now) }
	restart()
	resp, err := do(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { restart() },
	}))
	return Reply{Response: resp, Err: err, Took: time.Since(*written.Load())}
}
