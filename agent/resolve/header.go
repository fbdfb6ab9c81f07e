package resolve

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache"
)

type send = func(ctx context.Context, credentials []mfa.Credential, token cache.Token) (*http.Response, error)

// methods are those of a rule. The configuration was checked: all are declared.
func (r *Resolver) methods(names []string) (all []mfa.Method, push mfa.Method) {
	for _, name := range names {
		m := r.config.Methods[name]
		all = append(all, m)
		if !m.UsesPasscode && push.Name == "" {
			push = m
		}
	}
	return all, push
}

// usePasscode reports whether a code is asked for by any of methods.
func usePasscode(methods []mfa.Method) bool {
	return slices.ContainsFunc(methods, func(m mfa.Method) bool { return m.UsesPasscode })
}

// First implements relay.Resolver. Under a rule without a push method it only
// sends. With one, Vault pushes at once where the policy wants it and blocks;
// what it says after that is final.
func (r *Resolver) First(ctx context.Context, m rule.Match, token cache.Secret, send send) (*http.Response, mfa.Verdict, error) {
	if m.Rule.Grant.Kind != rule.HeaderGrant {
		return r.withToken(ctx, m, token, send)
	}
	_, push := r.methods(m.Rule.Methods)
	s := r.begin(ctx, m.Request, m.Rule.Name, token)
	if push.Name == "" {
		c := timed(ctx, func(ctx context.Context) (*http.Response, error) { return send(ctx, nil, cache.Token{}) })
		return c.resp, s.tooLate(ctx, c, token), c.err
	}
	if v, ok := r.config.Ledger.cooled(s.turn(), s.started); ok {
		// Sending would push again, to a person who has just said no.
		return nil, v, nil
	}
	c := s.watch(ctx, push, func(ctx context.Context) (*http.Response, error) { return send(ctx, nil, cache.Token{}) })
	switch {
	case c.told && c.err != nil && ctx.Err() == nil && verdict(ctx, c.err).Outcome == mfa.Denied:
		return nil, s.conclude(ctx, verdict(ctx, c.err)), nil
	case c.err != nil:
		return nil, mfa.Verdict{}, c.err
	case c.refusedPush() || s.refusedQuickly(ctx, c, m, token):
		return c.resp, s.conclude(ctx, mfa.Verdict{Outcome: mfa.Denied, Message: appPushRefused}), nil
	case c.told && c.resp.StatusCode < http.StatusBadRequest:
		return c.resp, s.conclude(ctx, mfa.Verdict{Outcome: mfa.Approved}), nil
	}
	return c.resp, mfa.Verdict{}, nil
}

// tooLate ends a step-up whose 403 came after a long wait: Vault may have pushed
// by a method that the rule does not name, and sending again would push again.
func (s *stepUp) tooLate(ctx context.Context, c call, token cache.Secret) mfa.Verdict {
	if !c.late() || !mfa.MayNeedFactor(keepBody(c.resp)) {
		return mfa.Verdict{}
	}
	if _, granted := s.granted(ctx, token); !granted {
		return mfa.Verdict{} // an ordinary denial, by a slow Vault
	}
	return s.conclude(ctx, mfa.Verdict{Outcome: mfa.Unavailable, Message: appTooLate})
}

// refusedQuickly reports whether a 403 that came soon after the person was told
// was their no. Where the rule has a passcode as well, that may be what Vault
// missed; where the token may not do it anyway, nobody was asked.
func (s *stepUp) refusedQuickly(ctx context.Context, c call, m rule.Match, token cache.Secret) bool {
	if !c.told || c.resp.StatusCode != http.StatusForbidden {
		return false
	}
	if methods, _ := s.methods(m.Rule.Methods); usePasscode(methods) {
		return false
	}
	_, granted := s.granted(ctx, token)
	return granted
}

// StepUp implements relay.Resolver.
func (r *Resolver) StepUp(ctx context.Context, m rule.Match, token cache.Secret, send send) (*http.Response, mfa.Verdict) {
	if m.Rule.Grant.Kind == rule.HeaderGrant {
		return r.withHeader(ctx, m, token, send)
	}
	return r.toToken(ctx, m, token, send)
}

// withHeader sends the same request again, with a line of X-Vault-MFA for every
// method of the rule.
func (r *Resolver) withHeader(ctx context.Context, m rule.Match, token cache.Secret, send send) (*http.Response, mfa.Verdict) {
	methods, push := r.methods(m.Rule.Methods)
	if !usePasscode(methods) && !m.Once {
		return nil, mfa.Verdict{} // a push that Vault wanted was sent with the first request
	}
	s := r.begin(ctx, m.Request, m.Rule.Name, token)
	s.quiet = m.Rule.Silent
	if v, granted := s.granted(ctx, token); !granted {
		return nil, v
	}
	if v, ok := s.silent(); ok {
		return nil, v
	}
	h := &headerGrant{stepUp: s, app: ctx, methods: methods, push: push, send: send, once: m.Once}
	v := s.inTurn(ctx, h.run)
	return h.last, v
}

// granted asks Vault whether the caller's token may do this at all. If not, the
// 403 is an ordinary one, and a prompt for it could not be explained.
// sys/capabilities-self neither shows nor wants a second factor (vault/acl.go).
func (s *stepUp) granted(ctx context.Context, token cache.Secret) (mfa.Verdict, bool) {
	capabilities, err := s.config.Vault.Capabilities(ctx, token, s.request.Namespace, s.request.Path)
	if err != nil {
		s.config.Log.Warn("capability probe failed", "vault", s.config.VaultName, "path", s.request.Path, "error", err)
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: probeFailed(err)}, false
	}
	return mfa.Verdict{}, s.request.Grants(capabilities)
}

// A headerGrant is one request on its way through prompts and repetitions.
type headerGrant struct {
	*stepUp
	app     context.Context // of the request, without the prompt's deadline
	methods []mfa.Method
	push    mfa.Method // one of methods, or empty
	send    send
	once    bool // the request can be sent only once
	newest
}

// newest keeps Vault's newest answer, nil before the first.
type newest struct{ last *http.Response }

// replace closes the answer before and keeps the new one.
func (n *newest) replace(resp *http.Response) {
	if n.last != nil {
		_ = n.last.Body.Close()
	}
	n.last = resp
}

func (h *headerGrant) run(ctx context.Context) mfa.Verdict {
	reason := ""
	for attempt := 1; attempt <= h.attempts; attempt++ {
		credentials, again, err := h.ask(ctx, question{attempt: attempt, reason: reason})
		if err != nil {
			return verdict(h.app, err)
		}
		if again != "" {
			reason = again
			continue
		}
		// The answer may take longer than a prompt: from here only the app ends it.
		c := h.repeat(h.app, credentials)
		if c.err != nil {
			return verdict(h.app, c.err)
		}
		h.replace(c.resp)
		switch {
		case c.refusedPush():
			return mfa.Verdict{Outcome: mfa.Denied, Message: appPushRefused}
		case c.late():
			return mfa.Verdict{Outcome: mfa.Unavailable, Message: appTooLate}
		case c.resp.StatusCode != http.StatusForbidden:
			return mfa.Verdict{Outcome: mfa.Approved}
		case h.once, mfa.ReadFailure(keepBody(c.resp)).Kind == mfa.InvalidToken:
			return mfa.Verdict{Outcome: mfa.Rejected, Message: appRejected}
		}
		reason = wrongCode
	}
	return mfa.Verdict{Outcome: mfa.Rejected, Message: appRejected}
}

// repeat sends the request with credentials; where one of them is a push, the
// person is told to look at the phone.
func (h *headerGrant) repeat(ctx context.Context, credentials []mfa.Credential) call {
	do := func(ctx context.Context) (*http.Response, error) { return h.send(ctx, credentials, cache.Token{}) }
	if h.push.Name == "" {
		return timed(ctx, do)
	}
	return h.watch(ctx, h.push, do)
}

// ask gets a credential for each method; again is the reason to ask anew.
func (h *headerGrant) ask(ctx context.Context, q question) (all []mfa.Credential, again string, err error) {
	codes, again, err := h.passcodes(ctx, h.methods, q)
	return credentials(h.methods, codes), again, err
}

// keepBody reads the beginning of a body and puts it back.
func keepBody(resp *http.Response) []byte {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxFailure))
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(data), resp.Body), resp.Body}
	return data
}

// maxFailure is more than any text of Vault's about a factor.
const maxFailure = 64 << 10
