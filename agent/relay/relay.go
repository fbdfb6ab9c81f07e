// Package relay is the data path: an http.Handler that hands requests to Vault
// and answers to the app as they are, byte for byte, and a RoundTripper under it
// that notices when Vault wants a second factor.
//
// Nothing is buffered but the bodies of requests on a rule's path (up to a limit),
// the bodies of 403s there, short answers that may be those of a control group, and
// the beginning of JSON answers until it is clear that they are no challenge.
package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// Outcome is the header of every answer that took part in a step-up.
const Outcome = "Stepup-Outcome"

// A Send sends a request once more: with one line of X-Vault-MFA for each
// credential, and with a step-up token in the place of the caller's own; the
// zero token leaves that. The caller closes the body of the answer.
type Send = func(ctx context.Context, credentials []mfa.Credential, token cache.Token) (*http.Response, error)

// A Resolver turns Vault's wish for a second factor into an answer. Its methods
// block while a person is asked, end when ctx ends, and are called by many
// requests at once.
type Resolver interface {
	// First sends a request on a rule's path for the first time and watches over
	// it: where the rule has a push method, Vault asks the phone at once. A verdict
	// that is not OK ends the step-up; the answer may be nil then. An error means
	// that Vault was not reached.
	First(ctx context.Context, m rule.Match, token secret.Secret, send Send) (*http.Response, mfa.Verdict, error)
	// StepUp is called after a 403, or before anything was sent when m.NoReplay. It
	// returns Vault's newest answer, nil when there is none newer than the 403.
	// A verdict without an outcome means that no second factor would help.
	StepUp(ctx context.Context, m rule.Match, token secret.Secret, send Send) (*http.Response, mfa.Verdict)
	// Login meets the challenge of a login to r and returns the answer of
	// sys/mfa/validate: the final one when the verdict is OK, otherwise Vault's
	// last refusal, nil when there was none.
	Login(ctx context.Context, c mfa.Challenge, r rule.Request) (*http.Response, mfa.Verdict)
}

// An Unwrapper opens a wrapping token: Vault wraps the challenge of a login that
// asked for a wrapped answer.
type Unwrapper interface {
	Unwrap(ctx context.Context, token secret.Secret, namespace string) (body []byte, err error)
}

// Config is what a relay needs. It is not changed after New.
type Config struct {
	Vault          string            // name of the vault block, for messages
	Address        *url.URL          // scheme, host and an optional base path
	Namespace      string            // sent as X-Vault-Namespace when a request has none; "" sends none
	Base           http.RoundTripper // the way to Vault; must not add headers nor follow redirects
	Rules          rule.Rules        // of this vault; none means that only logins are looked at
	LoginMFA       bool              // complete logins that Vault answers with a challenge
	Mounts         Mounts            // logins with the factor in their own body
	MaxKept        int64             // bytes of a body kept for repetition; 0 means 1 MiB, less means none
	Budget         *Budget           // of all kept bodies; nil has no limit
	Resolver       Resolver
	SinglePhase    SinglePhase
	BodyFactor     MountResolver // for Mounts
	Unwrapper      Unwrapper
	Approver       Approver
	DenialObserver DenialObserver
	Revocations    Revocations
	Log            *slog.Logger
}

// New returns the handler for the requests of one vault.
func New(c Config) http.Handler {
	if c.MaxKept == 0 {
		c.MaxKept = 1 << 20
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:      c.rewrite,
		Transport:    &Transport{config: c},
		ErrorHandler: c.fail,
		ErrorLog:     slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
		BufferPool:   &bufferPool{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { proxy.ServeHTTP(&plainWriter{w}, r) })
}

// plainWriter keeps the HTTP server from adding what Vault did not send: a
// guessed Content-Type and a Date.
type plainWriter struct{ http.ResponseWriter }

func (w *plainWriter) WriteHeader(code int) {
	if code >= 200 || code == http.StatusSwitchingProtocols {
		for _, name := range []string{"Content-Type", "Date"} {
			if _, ok := w.Header()[name]; !ok {
				w.Header()[name] = nil
			}
		}
	}
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController flush and hijack.
func (w *plainWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// rewrite points a request at Vault and undoes what ReverseProxy does to it on
// the way: it drops queries that Go cannot parse and the X-Forwarded headers.
func (c *Config) rewrite(p *httputil.ProxyRequest) {
	out, in := p.Out, p.In
	out.URL = c.target(in)
	out.Host = ""
	out.Trailer = in.Trailer // shared: the server fills it when the body ends
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, ok := in.Header[name]; ok {
			out.Header[name] = values
		}
	}
	if c.Namespace != "" && len(out.Header["X-Vault-Namespace"]) == 0 {
		out.Header.Set("X-Vault-Namespace", c.Namespace)
	}
}

// target is in's URL at Vault. The path goes in as Opaque, which net/http sends
// as it stands: url.URL would escape it anew and lose the caller's spelling.
func (c *Config) target(in *http.Request) *url.URL {
	u := &url.URL{Scheme: c.Address.Scheme, Host: c.Address.Host}
	u.Path, u.RawPath = in.URL.Path, in.URL.RawPath
	u.RawQuery, u.ForceQuery = in.URL.RawQuery, in.URL.ForceQuery
	base := strings.TrimSuffix(c.Address.EscapedPath(), "/")
	raw, query, _ := strings.Cut(in.RequestURI, "?")
	if raw == "" || raw[0] != '/' {
		raw = in.URL.EscapedPath()
	} else {
		u.RawQuery = query
	}
	if base += raw; strings.HasPrefix(base, "//") {
		return u // net/http takes such an Opaque for a whole URL
	}
	u.Opaque = base
	return u
}

// fail answers for a Vault that could not be reached, and for a body that could
// not be read. The request of an app that left ends here, too; its answer goes nowhere.
func (c *Config) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, text := http.StatusBadGateway, unreachable(c.Vault, err)
	var network net.Error
	var redirect *redirectError
	var body *bodyError
	switch {
	case r.Context().Err() != nil:
		c.Log.Debug("app left before the answer", "vault", c.Vault)
	case errors.As(err, &body):
		// Not a 502, after which a client would send the same once more.
		status, text = http.StatusBadRequest, fmt.Sprintf("stepup: the body of the request cannot be read: %v", body)
		c.Log.Debug("body of a request cannot be read", "vault", c.Vault, "error", err)
	case errors.As(err, &redirect):
		text = fmt.Sprintf("stepup: vault %q redirects to %s, which was not followed: %s", c.Vault, redirect.target, redirect.reason)
	case errors.As(err, &network) && network.Timeout() && !dialing(err):
		status, text = http.StatusGatewayTimeout, fmt.Sprintf("stepup: vault %q did not answer in time", c.Vault)
	}
	if r.Context().Err() == nil && body == nil {
		c.Log.Warn("no answer from vault", "vault", c.Vault, "error", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(errorBody(text))
}

func unreachable(vault string, err error) string {
	return fmt.Sprintf("stepup: vault %q cannot be reached: %v", vault, err)
}

// errorBody is how Vault says errors.
func errorBody(errors ...string) []byte {
	body, _ := json.Marshal(map[string][]string{"errors": errors}) // texts always marshal
	return append(body, '\n')
}

// dialing tells a connection that was never made from an answer that never came.
func dialing(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// bufferPool lets streams share their copy buffers: 1 GiB passes through 32 KiB.
type bufferPool struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (p *bufferPool) Get() []byte { return *p.pool.Get().(*[]byte) }

// Put implements httputil.BufferPool.
func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }
