package stepup

import (
	"context"
	"net/http"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
)

// mint asks for the factors and creates a token on the guarded path of a token
// grant, with the caller's own token. The factors go with the request, so a push
// blocks it.
func (g *tokenGrant) mint(ctx context.Context) (cache.Token, mfa.Verdict) {
	methods, _ := g.methods(g.rule.Methods)
	reason := ""
	for attempt := 1; attempt <= g.attempts; attempt++ {
		sent, again, err := g.factors(ctx, methods, mfa.Method{}, question{attempt: attempt, reason: reason})
		if err != nil {
			return cache.Token{}, verdict(g.flight, err)
		}
		if again != "" {
			reason = again
			continue
		}
		c := g.mintOnce(sent)
		switch {
		case c.err != nil:
			return cache.Token{}, c.broken(g.flight)
		case c.resp.StatusCode/100 == 2:
			return g.token(c.resp)
		}
		v, final := g.refusedMint(c, sent)
		_ = c.resp.Body.Close()
		if final {
			return cache.Token{}, v
		}
		reason = wrongCode
	}
	return cache.Token{}, mfa.Verdict{Outcome: mfa.Rejected, Message: appRejected}
}

func (g *tokenGrant) mintOnce(sent factors) call {
	do := func(ctx context.Context) (*http.Response, error) {
		return g.config.Vault.Mint(ctx, vault.MintRequest{
			Path: g.rule.Grant.Path, Namespace: g.key.Namespace, Token: g.own, Credentials: sent.credentials,
			Policies: g.rule.Grant.Policies, TTL: g.rule.Grant.TTL, NumUses: g.rule.Grant.NumUses, NoParent: g.rule.Grant.NoParent,
		})
	}
	if sent.rings.Name == "" {
		resp, err := do(g.flight)
		return call{resp: resp, err: err}
	}
	return g.watch(g.flight, sent.rings, do)
}

// refusedMint says whether another code could help. As on any guarded path,
// Vault gives no reason; that the token may not mint here at all can be asked.
func (g *tokenGrant) refusedMint(c call, sent factors) (v mfa.Verdict, final bool) {
	path := g.rule.Grant.Path
	failure := mfa.ReadFailure(keepBody(c.resp))
	switch {
	case failure.Kind == mfa.Unreachable:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: providerDown(failure.Brief())}, true
	case c.cut():
		return mfa.Verdict{Outcome: mfa.Timeout, Message: appCut}, true
	case c.refusedPush(), c.denied() && (c.told || !sent.typed()):
		// Minting again would push again.
		return mfa.Verdict{Outcome: mfa.Denied, Message: appPushRefused}, true
	case c.resp.StatusCode != http.StatusForbidden || failure.Kind == mfa.InvalidToken:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: mintRefused(path, failure.Reason)}, true
	}
	capabilities, err := g.config.Vault.Capabilities(g.flight, g.own, g.key.Namespace, path)
	minting := rule.Request{Operation: rule.Update}
	if err == nil && !minting.Grants(capabilities) {
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: mayNotMint(path)}, true
	}
	return mfa.Verdict{}, false
}

// credentials are one for each method: its code, or its bare name for a push.
func credentials(methods []mfa.Method, codes map[string]string) []mfa.Credential {
	all := make([]mfa.Credential, 0, len(methods))
	for _, m := range methods {
		all = append(all, m.Credential(codes[id(m)]))
	}
	return all
}
