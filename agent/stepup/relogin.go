package stepup

import (
	"context"
	"errors"
	"net/http"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// login logs in at the path of a login grant and meets the challenge that Vault
// answers with. A wrong password is told from a wrong code: Vault checks the
// password first, and answers 400 to a wrong one.
func (g *tokenGrant) login(ctx context.Context) (cache.Token, mfa.Verdict) {
	reason := ""
	for attempt := 1; attempt <= g.attempts; attempt++ {
		in, err := g.password(ctx, question{attempt: attempt, reason: reason})
		if err != nil {
			return cache.Token{}, verdict(g.flight, err)
		}
		resp, err := g.config.Vault.Login(g.flight, vault.LoginRequest{
			Path: g.rule.Grant.Path, Namespace: g.key.Namespace, Password: in.password,
		})
		if err != nil {
			return cache.Token{}, verdict(g.flight, err)
		}
		if resp.StatusCode/100 == 2 {
			g.keep(in)
			g.early = in.early
			return g.factor(ctx, resp)
		}
		failure := mfa.ReadFailure(keepBody(resp))
		status := resp.StatusCode
		_ = resp.Body.Close()
		switch {
		case status != http.StatusBadRequest && status != http.StatusUnauthorized && status != http.StatusForbidden:
			return cache.Token{}, mfa.Verdict{Outcome: mfa.Unavailable, Message: loginRefused(g.rule.Grant.Path, failure.Reason)}
		case in.kept && len(g.rule.Grant.PasswordCommand) > 0:
			// The command would give the same one again.
			return cache.Token{}, mfa.Verdict{Outcome: mfa.Rejected, Message: loginRefused(g.rule.Grant.Path, failure.Reason)}
		case in.kept && status == http.StatusForbidden:
			// A locked user gets that for the right password, too (five wrong ones lock it).
			return cache.Token{}, mfa.Verdict{Outcome: mfa.Unavailable, Message: loginRefused(g.rule.Grant.Path, failure.Reason)}
		case in.kept:
			g.forget()
		}
		reason = wrongPassword(failure.Reason)
	}
	return cache.Token{}, mfa.Verdict{Outcome: mfa.Rejected, Message: loginRefused(g.rule.Grant.Path, "")}
}

// An entered is what a login is tried with.
type entered struct {
	password secret.Secret
	kept     bool // the person was not asked for it
	early    earlyCode
}

// password gets the password from where the grant says.
func (g *tokenGrant) password(ctx context.Context, q question) (entered, error) {
	if g.rule.Grant.Password != "prompt" && g.atHome() {
		password, err := g.config.Secrets.Password(ctx, g.account(), g.rule.Grant)
		if err == nil {
			return entered{password: password, kept: true}, nil
		}
		if !errors.Is(err, cache.ErrNotFound) {
			g.config.Log.Warn("password cannot be fetched, asking for it", "rule", g.stepUp.rule, "error", err)
		}
	}
	with := g.along()
	answer, err := g.ask(ctx, prompt.Request{
		Kind: prompt.Password, Method: g.rule.Grant.Path, Attempt: q.attempt, Message: q.reason, WithCode: with,
	})
	if err != nil || with.Method == "" {
		return entered{password: secret.Secret(answer)}, err
	}
	password, code := prompt.CutCode(answer)
	return entered{password: secret.Secret(password), early: earlyCode{method: with.Method, code: secret.Secret(code)}}, nil
}

// along is the method whose code may come with the password. What Vault wants is
// known for certain only from its answer to the password, so the rule has to name the
// method, and that has to be one whose code is typed.
func (g *tokenGrant) along() prompt.WithCode {
	if len(g.rule.Methods) != 1 {
		return prompt.WithCode{}
	}
	name := g.rule.Methods[0]
	m := g.config.Methods[name]
	if !m.UsesPasscode || m.OrPush || g.config.FromSeed[name] || len(g.config.Commands[name]) > 0 {
		return prompt.WithCode{}
	}
	return prompt.WithCode{Method: name, Digits: m.Digits}
}

// atHome reports whether the login goes to the namespace of the configuration. A
// program chooses the one of its requests: a kept password sent there would be sent to
// the login of whoever runs that namespace.
func (g *tokenGrant) atHome() bool { return g.key.Namespace == g.rule.In(g.config.Namespace) }

// account is where a kept password belongs: the same path in another namespace is
// another person's.
func (g *tokenGrant) account() string { return g.key.Vault + " " + g.key.Namespace }

// keep stores a password that was typed and that Vault took, where the grant
// wants it kept.
func (g *tokenGrant) keep(in entered) {
	if in.kept || g.rule.Grant.Password != "keyring" || !g.atHome() {
		return
	}
	if err := g.config.Secrets.Keep(g.flight, g.account(), g.rule.Grant, in.password); err != nil {
		g.config.Log.Warn("password cannot be kept in the keyring", "rule", g.stepUp.rule, "error", err)
	}
}

func (g *tokenGrant) forget() {
	if err := g.config.Secrets.Keep(g.flight, g.account(), g.rule.Grant, ""); err != nil {
		g.config.Log.Warn("wrong password stays in the keyring", "rule", g.stepUp.rule, "error", err)
	}
}

// factor meets the challenge in the answer of a login. An answer without one is
// a login that needed no second factor: a set-up that protects nothing, which is
// said, and used.
func (g *tokenGrant) factor(ctx context.Context, resp *http.Response) (cache.Token, mfa.Verdict) {
	challenge, held, err := mfa.Parse(keepBody(resp))
	if err != nil {
		_ = resp.Body.Close()
		return cache.Token{}, mfa.Verdict{Outcome: mfa.Unavailable, Message: noToken(g.rule.Grant.Path)}
	}
	if !held {
		g.config.Log.Warn("login of a step-up asked for no second factor", "rule", g.stepUp.rule, "path", g.rule.Grant.Path)
		return g.token(resp)
	}
	_ = resp.Body.Close()
	challenge.Namespace, challenge.Node = g.key.Namespace, vault.Node(resp)
	l := &login{stepUp: g.stepUp, app: g.flight, challenge: challenge}
	if v := l.run(ctx); !v.OK() {
		if l.last != nil {
			_ = l.last.Body.Close()
		}
		return cache.Token{}, v
	}
	return g.token(l.last)
}
