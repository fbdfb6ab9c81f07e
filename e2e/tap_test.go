package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// A tap is a relay to a server that takes note of the logins which wait for a
// second factor.
type tap struct {
	addr string

	mu  sync.Mutex
	ids []string
}

func newTap(t *testing.T, srv *server) *tap {
	t.Helper()
	p := &tap{}
	p.addr = serve(t, watchedProxy(t, srv, p.note)).URL
	return p
}

// watchedProxy relays to the server; watch sees each answer.
func watchedProxy(t *testing.T, srv *server, watch func(*http.Response) error) http.Handler {
	t.Helper()
	upstream, err := url.Parse(srv.addr)
	check(t, err)
	return &httputil.ReverseProxy{
		Transport:      http.DefaultTransport.(*http.Transport).Clone(),
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		ModifyResponse: watch,
		ErrorLog:       log.New(io.Discard, "", 0), // a client that leaves is no error
	}
}

func (p *tap) note(r *http.Response) error {
	if !strings.Contains(r.Request.URL.Path, "/login/") {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var answer any
	if json.Unmarshal(body, &answer) != nil {
		return nil
	}
	if id, ok := dig(answer, "auth", "mfa_requirement", "mfa_request_id").(string); ok {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ids = append(p.ids, id)
	}
	return nil
}

// requestID is that of the first login.
func (p *tap) requestID(t *testing.T) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ids) == 0 {
		t.Fatal("no login waited for a second factor")
	}
	return p.ids[0]
}
