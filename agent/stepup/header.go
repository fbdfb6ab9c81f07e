package stepup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
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

// StepUp implements relay.Resolver.
func (r *Resolver) StepUp(ctx context.Context, m rule.Match, token secret.Secret, send send) (*http.Response, mfa.Verdict) {
	if m.Rule.Grant.Kind == rule.HeaderGrant {
		return r.withHeader(ctx, m, token, send)
	}
	return r.toToken(ctx, m, token, send)
}

// withHeader sends the same request again, with a line of X-Vault-MFA for every
// method that the refusal calls for.
func (r *Resolver) withHeader(ctx context.Context, m rule.Match, token secret.Secret, send send) (*http.Response, mfa.Verdict) {
	names := m.Rule.Wants(m.DeniedBy)
	asked, rings := r.pushes(m.Rule)
	if m.NoReplay && len(asked) == 0 && rings.Name != "" {
		names = rule.Join(m.Rule.Groups()...)
	}
	methods, _ := r.methods(names)
	switch {
	case m.NoReplay && len(asked) > 0:
		methods = asked
	case m.NoReplay:
	case len(asked) > 0, !usePasscode(methods):
		return nil, mfa.Verdict{} // what Vault wanted went with the first request, or no factor of ours helps
	}
	s := r.begin(ctx, m.Request, m.Rule.Name, token)
	s.quiet, s.open, s.unproven = m.Rule.Silent, m.Unauthenticated, m.Unauthenticated && token == ""
	if v, granted := s.granted(ctx, token); !granted {
		return nil, v
	}
	if v, ok := s.silent(); ok {
		return nil, v
	}
	h := &headerGrant{stepUp: s, app: ctx, rule: m.Rule, methods: methods, rings: rings, send: send, once: m.NoReplay}
	v := s.inTurn(ctx, h.run)
	return h.last, v
}

// granted asks Vault whether the caller's token may do this at all. If not, the
// 403 is an ordinary one, and a prompt for it could not be explained.
// sys/capabilities-self neither shows nor wants a second factor (vault/acl.go).
func (s *stepUp) granted(ctx context.Context, token secret.Secret) (mfa.Verdict, bool) {
	if s.open {
		// Capabilities say nothing here; that the caller is alive has to do.
		if token == "" {
			return mfa.Verdict{}, true
		}
		return s.proven(ctx, token)
	}
	capabilities, err := s.config.Vault.Capabilities(ctx, token, s.request.Namespace, s.request.Path)
	status, answered := errors.AsType[*vault.StatusError](err)
	switch {
	case answered && mfa.DeniedByPolicy(status.Errors):
		return mfa.Verdict{}, true // a role governing policy is about every request, this one too
	case answered && status.Status == http.StatusForbidden && !deniedAlive(status.Errors):
		// A dead token, or one of a child namespace, of which OpenBao says the same.
		if v, ok := s.proven(ctx, token); !ok {
			return v, false
		}
	}
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
	rule    *rule.Rule
	methods []mfa.Method
	rings   mfa.Method // what Vault may push under this rule; the zero one for nothing
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
		sent, again, err := h.ask(ctx, question{attempt: attempt, reason: reason})
		if err != nil {
			return verdict(h.app, err)
		}
		if again != "" {
			reason = again
			continue
		}
		// The answer may take longer than a prompt: from here only the app ends it.
		c := h.repeat(h.app, sent)
		if c.err != nil {
			return c.broken(h.app)
		}
		h.replace(c.resp)
		v := mfa.Verdict{}
		if v, reason = h.judge(c, sent); v.Outcome != "" {
			return v
		}
	}
	return mfa.Verdict{Outcome: mfa.Rejected, Message: appRejected}
}

// judge reads Vault's answer to the factors: the verdict, or without one the
// reason to ask again.
func (h *headerGrant) judge(c call, sent factors) (v mfa.Verdict, reason string) {
	if v, ok := outage(c.resp); ok {
		return v, ""
	}
	failure := mfa.Failure{}
	if c.denied() {
		failure = mfa.ReadFailure(keepBody(c.resp))
	}
	switch {
	case c.cut():
		return mfa.Verdict{Outcome: mfa.Timeout, Message: appCut}, ""
	case !c.denied():
		// A rate limit or a sealed Vault answers before a code is looked at.
		h.answered = h.answered && (c.ok() || c.resp.StatusCode == http.StatusNotFound)
		return mfa.Verdict{Outcome: mfa.Approved}, ""
	case c.refusedPush():
		return mfa.Verdict{Outcome: mfa.Denied, Message: appPushRefused}, ""
	case c.late():
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appTooLate}, ""
	case h.once, failure.Kind == mfa.InvalidToken:
		return mfa.Verdict{Outcome: mfa.Rejected, Message: appRejected}, ""
	}
	wants := h.rule.Wants(denied(failure))
	switch more := h.without(wants); {
	case len(wants) == 0:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: otherPolicy(failure.Reason)}, ""
	case len(more) > 0:
		// Vault looks at one policy after the other.
		h.methods = append(slices.Clip(h.methods), more...)
		return mfa.Verdict{}, oneMore
	case !sent.typed():
		// A push that was refused at once. Asking again would push again.
		return mfa.Verdict{Outcome: mfa.Denied, Message: appPushRefused}, ""
	}
	return mfa.Verdict{}, wrongCode
}

// without are the methods among names that were not asked about yet.
func (h *headerGrant) without(names []string) []mfa.Method {
	methods, _ := h.Resolver.methods(names)
	return slices.DeleteFunc(methods, func(m mfa.Method) bool {
		return slices.ContainsFunc(h.methods, func(have mfa.Method) bool { return id(have) == id(m) })
	})
}

// denied are the policies of a Sentinel denial as [rule.Match] has them.
func denied(f mfa.Failure) []string {
	if f.Kind == mfa.PolicyDenied && len(f.Policies) == 0 {
		return []string{""}
	}
	return f.Policies
}

// repeat sends the request with credentials; where Vault may push meanwhile, the
// person is told to look at the phone.
func (h *headerGrant) repeat(ctx context.Context, sent factors) call {
	do := func(ctx context.Context) (*http.Response, error) { return h.send(ctx, sent.credentials, cache.Token{}) }
	if sent.rings.Name == "" {
		return timed(ctx, do)
	}
	return h.watch(ctx, sent.rings, do)
}

// factors are what is sent to Vault at once.
type factors struct {
	credentials []mfa.Credential
	rings       mfa.Method // what pushes then; the zero one for nothing
}

// typed reports whether a passcode is among them.
func (f factors) typed() bool {
	return slices.ContainsFunc(f.credentials, func(c mfa.Credential) bool { return c.Passcode != "" })
}

// ask gets a credential for each method; again is the reason to ask anew.
func (h *headerGrant) ask(ctx context.Context, q question) (all factors, again string, err error) {
	return h.factors(ctx, h.methods, h.rings, q)
}

// factors asks whether to push, and for the codes, of all methods. rings is what
// Vault may push besides.
func (s *stepUp) factors(ctx context.Context, methods []mfa.Method, rings mfa.Method, q question) (all factors, again string, err error) {
	for _, m := range methods {
		if !m.UsesPasscode {
			rings = m
		}
	}
	if err := s.confirmPush(ctx, rings); err != nil {
		return factors{}, "", err
	}
	if rings.UsesPasscode {
		rings = mfa.Method{} // until the person has chosen
	}
	codes, again, err := s.passcodes(ctx, methods, q)
	if err != nil || again != "" {
		return factors{}, again, err
	}
	for _, m := range methods {
		if codes[id(m)] == "" {
			rings = m
		}
	}
	return factors{credentials: credentials(methods, codes), rings: rings}, "", nil
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
