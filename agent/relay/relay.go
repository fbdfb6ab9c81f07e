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
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache/secret"
)

// Outcome is the header of every answer that took part in a step-up.
const Outcome = "Stepup-Outcome"

// A Resolver turns Vault's wish for a second factor into an answer. Its methods block while a
// person is asked, a phone is waited for, or an approval, end when ctx ends, and are called by
// many requests at once. An error means that Vault was not reached. *stepup.Resolver is one.
type Resolver interface {
	StepUps
	TokenUses
	SinglePhase
	BodyFactors
	Approvals
	Revocations
}

// StepUps are for requests on a rule's path, and for logins that Vault holds.
type StepUps interface {
	// First sends a request on a rule's path for the first time and watches over it: where
	// the rule has a push method, Vault pushes at once.
	First(ctx context.Context, m rule.Match, token secret.Secret, send stepup.Send) (stepup.Decision, error)
	// StepUp is called after a 403, or before anything was sent when m.NoReplay.
	StepUp(ctx context.Context, m rule.Match, token secret.Secret, send stepup.Send) stepup.Decision
	// Login meets the challenge of a login to r.
	Login(ctx context.Context, c mfa.Challenge, r rule.Request) stepup.Decision
}

// TokenUses is for requests that an express lane sends with a step-up token.
type TokenUses interface {
	// Cached returns the use of a token that is there; ok is false where First has to look
	// further.
	Cached(ctx context.Context, m rule.Match, token secret.Secret) (use *stepup.TokenUse, ok bool)
}

// SinglePhase is for logins whose second factor goes with the login itself, in X-Vault-MFA,
// instead of with a call after it.
type SinglePhase interface {
	// Covers reports whether r is one of them.
	Covers(r rule.Request) bool
	// LoginWith asks for the factors of the login r and sends it with them; with noReplay
	// no more than once.
	LoginWith(ctx context.Context, r rule.Request, noReplay bool, send stepup.Send) stepup.Decision
}

// BodyFactors is for the logins of [Mounts].
type BodyFactors interface {
	// BodyLogin sends a login, as often as the person's answers ask for it.
	BodyLogin(ctx context.Context, l mfa.MountLogin, r rule.Request, send stepup.SendLogin) (stepup.Decision, error)
	// Renew sends, once, a request that renews a token: a token or accessor, by the path of
	// r. Okta pushes at that, too.
	Renew(ctx context.Context, subject secret.Secret, r rule.Request, send func(context.Context) (*http.Response, error)) (stepup.Decision, error)
}

// Approvals is for requests that Vault answers with a control group.
type Approvals interface {
	// Resume goes on waiting where an earlier request like this one gave up.
	Resume(ctx context.Context, m rule.Match, token secret.Secret) stepup.Decision
	// Await takes Vault's answer, whose body is in memory, and returns the one of the
	// approved request, or held again.
	Await(ctx context.Context, m rule.Match, token secret.Secret, held *http.Response) stepup.Decision
}

// Revocations hears which tokens Vault has revoked for an app.
type Revocations interface {
	// Revoked is called before the app has Vault's answer. Both are "" when the request
	// does not tell which token it was, or may have ended many. It returns at once.
	Revoked(token secret.Secret, accessor string)
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
	Unwrapper      Unwrapper
	DenialObserver DenialObserver
	Log            *slog.Logger
}

// A Relay handles the requests of one vault.
type Relay struct {
	proxy     *httputil.ReverseProxy
	transport *Transport
}

var _ http.Handler = (*Relay)(nil)

// New returns a relay.
func New(c Config) *Relay {
	if c.MaxKept == 0 {
		c.MaxKept = 1 << 20
	}
	t := &Transport{config: c, rules: rule.NewSet(c.Rules)}
	return &Relay{transport: t, proxy: &httputil.ReverseProxy{
		Rewrite:      c.rewrite,
		Transport:    t,
		ErrorHandler: c.fail,
		ErrorLog:     slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
		BufferPool:   &bufferPool{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}},
	}}
}

// ServeHTTP implements http.Handler.
func (r *Relay) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	ignoreUpgrade(in.Header)
	r.proxy.ServeHTTP(&plainWriter{w}, in)
}

// ignoreUpgrade takes out an offer to change the protocol, unless it is the one that Vault
// takes: clients in Java offer h2c with each request, and an offer may be ignored (RFC 9110,
// 7.8). HTTP/2 to Vault knows no such header.
func ignoreUpgrade(h http.Header) {
	if offer := h.Get("Upgrade"); offer != "" && !strings.EqualFold(offer, "websocket") {
		h.Del("Upgrade")
		h.Del("Http2-Settings")
	}
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
	base := c.prefix()
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

// prefix is the path of the address, which stands before that of each request.
func (c *Config) prefix() string { return strings.TrimSuffix(c.Address.EscapedPath(), "/") }

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
