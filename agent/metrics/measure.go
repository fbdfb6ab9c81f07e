package metrics

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// statusLeft stands for an app that left before its answer, as in the logs of
// other proxies. It is never sent.
const statusLeft = 499

// Measure counts the requests that next answers, and the time that they spend in
// the agent: until the header of the answer, without what a [Transport] or
// [Pause] saw of waiting. vault returns the name of the vault of each request; a
// request with "" is not measured.
func (m *Metrics) Measure(vault func() string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := vault()
		if name == "" {
			next.ServeHTTP(w, r)
			return
		}
		watch := &stopwatch{started: time.Now()}
		r = r.WithContext(context.WithValue(r.Context(), stopwatchKey{}, watch))
		if r.Body != nil && r.Body != http.NoBody {
			// An app that sends slowly keeps itself waiting.
			r.Body = &waitingBody{r.Body, watch}
		}
		counted := &countedWriter{ResponseWriter: w, metrics: m, vault: name, watch: watch, ctx: r.Context()}
		defer counted.begun(http.StatusOK) // what net/http sends for a handler that wrote nothing
		next.ServeHTTP(counted, r)
	})
}

// Request counts an answer, and the time that was spent on it in the agent. The code 0 is an
// app that left before its answer.
func (m *Metrics) Request(vault string, code int, spent time.Duration) {
	if code == 0 {
		code = statusLeft
	}
	m.overhead.Observe(spent.Seconds())
	m.requests.WithLabelValues(vault, strconv.Itoa(code)).Inc()
	m.file.touch()
}

// A countedWriter notices when the header of an answer is written.
type countedWriter struct {
	http.ResponseWriter
	metrics *Metrics
	vault   string
	watch   *stopwatch
	ctx     context.Context //nolint:containedctx // lives as long as the request
	counted bool
}

// begun counts the answer, once. It comes before the app can see a byte of it,
// so an answer that has been read is counted.
func (w *countedWriter) begun(code int) {
	if w.counted {
		return
	}
	w.counted = true
	if w.ctx.Err() != nil {
		code = 0
	}
	w.metrics.Request(w.vault, code, w.watch.stop())
}

// WriteHeader implements http.ResponseWriter.
func (w *countedWriter) WriteHeader(code int) {
	if code >= 200 || code == http.StatusSwitchingProtocols {
		w.begun(code)
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write implements io.Writer.
func (w *countedWriter) Write(p []byte) (int, error) {
	w.begun(http.StatusOK)
	return w.ResponseWriter.Write(p)
}

// Hijack implements http.Hijacker: ReverseProxy takes the connection for an
// upgrade without writing a header to us.
func (w *countedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.begun(http.StatusSwitchingProtocols)
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap lets http.ResponseController flush.
func (w *countedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// A Transport leads to Vault: the time spent in it is not the agent's.
type Transport struct{ Base http.RoundTripper }

var _ http.RoundTripper = Transport{}

// RoundTrip implements http.RoundTripper.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	watch := watchOf(r.Context())
	if watch == nil {
		return t.Base.RoundTrip(r)
	}
	watch.pause()
	resp, err := t.Base.RoundTrip(r)
	watch.resume()
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols && resp.Body != http.NoBody {
		resp.Body = &waitingBody{resp.Body, watch}
	}
	return resp, err
}

// A waitingBody is a body whose other end may let us wait.
type waitingBody struct {
	io.ReadCloser
	watch *stopwatch
}

// Read implements io.Reader.
func (b *waitingBody) Read(p []byte) (int, error) {
	if b.watch.stopped() {
		return b.ReadCloser.Read(p)
	}
	b.watch.pause()
	defer b.watch.resume()
	return b.ReadCloser.Read(p)
}
