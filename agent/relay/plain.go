package relay

import (
	"context"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/vault-stepup/stepup/agent/express"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache"
)

// Decide tells an express lane how to send a request: as it stands where no rule names its
// path, with a step-up token where one is there. ok is false for everything that needs more,
// and for what is a login, or the end of a token. A write to auth/ or sys/ may be one of
// these, wherever that stands: what is before it may be a namespace.
func (r *Relay) Decide(ctx context.Context, q express.Request) (pass express.Pass, ok bool) {
	u, err := url.ParseRequestURI(q.Target)
	if err != nil {
		return express.Pass{}, false
	}
	t := r.transport
	if !q.Reads() {
		at := path.Clean("/"+u.Path) + "/"
		if strings.Contains(at, "/auth/") || strings.Contains(at, "/sys/") {
			return express.Pass{}, false
		}
	}
	in := &http.Request{Method: q.Method, URL: u, RequestURI: q.Target}
	asked, derived := t.deriveSent(q.Method, t.config.target(in), q.Namespace)
	if !derived {
		return express.Pass{}, true
	}
	m, ruled := t.match(asked)
	if !ruled {
		return express.Pass{}, true
	}
	return r.cached(ctx, m, q)
}

// cached is how a request on a rule's path is sent, if all it needs is the step-up token
// that is there. A body might have to be sent again.
func (r *Relay) cached(ctx context.Context, m rule.Match, q express.Request) (express.Pass, bool) {
	token := tokenOf(q.Token, []string{q.Authorization})
	if token == "" || q.Body > 0 || !m.Rule.Grant.Mints() || m.Rule.Confirm || len(m.Kept) > 0 || m.Rule.ControlGroup.Timeout > 0 {
		return express.Pass{}, false
	}
	use, ok := r.transport.config.Resolver.Cached(ctx, m, token)
	if !ok {
		return express.Pass{}, false
	}
	lines, ok := tokenLines(use.Token)
	if !ok {
		return express.Pass{}, false
	}
	return express.Pass{Token: lines, Mark: cachedMark, Served: use.Served, Ticket: use}, true
}

// cachedMark is the line of an answer with a step-up token that was there.
const cachedMark = Outcome + ": " + string(mfa.Cached) + "\r\n"

// tokenLines are what [setToken] sets, as lines. A token with a character that ends a line
// could carry lines of its own; net/http refuses it in its own way.
func tokenLines(token cache.Token) (lines []byte, ok bool) {
	value := token.Secret.Reveal()
	for _, s := range []string{value, token.Index} {
		if strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return nil, false
		}
	}
	lines = append(lines, "X-Vault-Token: "+value+"\r\n"...)
	if token.Index != "" {
		lines = append(lines, "X-Vault-Index: "+token.Index+"\r\n"...)
	}
	return lines, true
}
