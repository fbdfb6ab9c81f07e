package resolve

import (
	"context"
	"net/http"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/upstream"
	"github.com/vault-stepup/stepup/cache"
)

// mint asks for the factors and creates a token on the guarded path of a token
// grant, with the caller's own token. The factors go with the request, so a push
// blocks it.
func (g *tokenGrant) mint(ctx context.Context) (cache.Token, mfa.Verdict) {
	methods, push := g.methods(g.rule.Methods)
	reason := ""
	for attempt := 1; attempt <= g.attempts; attempt++ {
		codes, again, err := g.passcodes(ctx, methods, question{attempt: attempt, reason: reason})
		if err != nil {
			return cache.Token{}, verdict(g.flight, err)
		}
		if again != "" {
			reason = again
			continue
		}
		c := g.mintOnce(credentials(methods, codes), push)
		switch {
		case c.err != nil:
			return cache.Token{}, verdict(g.flight, c.err)
		case c.resp.StatusCode/100 == 2:
			return g.token(c.resp)
		}
		v, final := g.refusedMint(c, push)
		_ = c.resp.Body.Close()
		if final {
			return cache.Token{}, v
		}
		reason = wrongCode
	}
	return cache.Token{}, mfa.Verdict{Outcome: mfa.Rejected, Message: appRejected}
}

func (g *tokenGrant) mintOnce(factors []mfa.Credential, push mfa.Method) call {
	do := func(ctx context.Context) (*http.Response, error) {
		return g.config.Vault.Mint(ctx, upstream.MintRequest{
			Path: g.rule.Grant.Path, Namespace: g.request.Namespace, Token: g.own, Credentials: factors,
			Policies: g.rule.Grant.Policies, TTL: g.rule.Grant.TTL, NumUses: g.rule.Grant.NumUses, NoParent: g.rule.Grant.NoParent,
		})
	}
	if push.Name == "" {
		resp, err := do(g.flight)
		return call{resp: resp, err: err}
	}
	return g.watch(g.flight, push, do)
}

// refusedMint says whether another code could help. As on any guarded path,
// Vault gives no reason; that the token may not mint here at all can be asked.
func (g *tokenGrant) refusedMint(c call, push mfa.Method) (v mfa.Verdict, final bool) {
	path := g.rule.Grant.Path
	failure := mfa.ReadFailure(keepBody(c.resp))
	switch {
	case failure.Kind == mfa.Unreachable:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: providerDown(failure.Reason)}, true
	case c.refusedPush() || c.told && c.resp.StatusCode == http.StatusForbidden && push.Name != "":
		return mfa.Verdict{Outcome: mfa.Denied, Message: appPushRefused}, true
	case c.resp.StatusCode != http.StatusForbidden || failure.Kind == mfa.InvalidToken:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: mintRefused(path, failure.Reason)}, true
	}
	capabilities, err := g.config.Vault.Capabilities(g.flight, g.own, g.request.Namespace, path)
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
		all = append(all, mfa.Credential{Method: m.Name, Passcode: codes[id(m)]})
	}
	return all
}
