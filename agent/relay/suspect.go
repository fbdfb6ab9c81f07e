package relay

import (
	"io"
	"net/http"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache"
)

// A Witness hears of refusals behind which a factor may stand, on paths that no
// rule names. Refused is called when the app has the answer, and returns at once.
type Witness interface {
	Refused(q rule.Request, token cache.Secret)
}

// maxBareDenial is more than the body of such a refusal has.
const maxBareDenial = 512

// witness lets the config's witness know when x was refused as by a missing
// factor. The answer goes by as it is; only the beginning of a short 403 is kept.
func (t *Transport) witness(x *exchange, token cache.Secret, resp *http.Response) {
	if t.config.Witness == nil || token == "" || resp.StatusCode != http.StatusForbidden || resp.ContentLength > maxBareDenial || resp.Body == nil {
		return
	}
	resp.Body = &witnessed{ReadCloser: resp.Body, packed: resp.Header.Get("Content-Encoding") == "gzip", heard: func() {
		t.config.Witness.Refused(x.asked, token)
	}}
}

// A witnessed body remembers its beginning until it is closed.
type witnessed struct {
	io.ReadCloser
	packed bool
	heard  func() // nil once it was called, or cannot be any more
	start  []byte
}

func (w *witnessed) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if len(w.start)+n > maxBareDenial {
		w.heard, w.start = nil, nil
	}
	if w.heard != nil {
		w.start = append(w.start, p[:n]...)
	}
	return n, err
}

// Close ends the body; by then the app has it.
func (w *witnessed) Close() error {
	err := w.ReadCloser.Close()
	if w.heard != nil && mfa.BareDenial(decode(w.start, w.packed)) {
		w.heard()
	}
	w.heard = nil
	return err
}
