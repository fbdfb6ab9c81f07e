package relay

import (
	"io"
	"net/http"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A DenialObserver gets the denials that a missing factor may have caused, on paths
// without a rule. Denied is called when the app has the answer, and does not block.
type DenialObserver interface {
	Denied(q rule.Request, token secret.Secret)
}

// maxBareDenial is longer than the body of such a denial.
const maxBareDenial = 512

// observeDenial reports to the observer if x was denied as by a missing factor. The
// answer passes unchanged; only the beginning of a short 403 is kept.
func observeDenial(to DenialObserver, x *exchange, resp *http.Response) {
	token := callerToken(x.request)
	if token == "" || resp.StatusCode != http.StatusForbidden || resp.ContentLength > maxBareDenial || resp.Body == nil {
		return
	}
	resp.Body = &observedBody{ReadCloser: resp.Body, packed: codings(resp.Header), denied: func() { to.Denied(x.asked, token) }}
}

// An observedBody keeps its beginning until it is closed.
type observedBody struct {
	io.ReadCloser
	packed []string
	denied func() // nil once it was called, or when it never will be
	start  []byte
}

func (b *observedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if len(b.start)+n > maxBareDenial {
		b.denied, b.start = nil, nil
	}
	if b.denied != nil {
		b.start = append(b.start, p[:n]...)
	}
	return n, err
}

// Close ends the body; by then the app has it.
func (b *observedBody) Close() error {
	err := b.ReadCloser.Close()
	if b.denied != nil && mfa.BareDenial(decode(b.start, b.packed)) {
		b.denied()
	}
	b.denied = nil
	return err
}
