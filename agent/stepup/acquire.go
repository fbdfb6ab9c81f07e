package stepup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// afterLook is how long a token that was allowed once waits for the request behind a look at
// its mount.
const afterLook = 30 * time.Second

// slack is taken off a token's life, for the way to Vault and clocks that differ a little.
const slack = 5 * time.Second

// mint asks for the factors and creates a token on the guarded path of a token grant, with the
// caller's own token. The factors go with the request, so a push blocks it. A caller that may
// not mint there is not asked: no code would help.
func (q *tokenRequest) mint(ctx context.Context) (*http.Response, mfa.Verdict) {
	g := q.match.Rule.Grant
	if q.mayNotMint(ctx) {
		return nil, q.notMinted()
	}
	x := factor.Exchange{
		StepUp: q.StepUp, Methods: q.Config.MethodsOf(q.match.Rule.Methods),
		Send: func(ctx context.Context, f factor.Factors) (*http.Response, error) {
			return q.config.Vault.Mint(ctx, vault.MintRequest{
				Path: g.Path, Namespace: q.Key.Namespace, Token: q.token, Credentials: f.Credentials(),
				Policies: g.Policies, TTL: q.mintTTL(), NumUses: g.NumUses, NoParent: g.NoParent,
			})
		},
		Read: func(r factor.Reply, f factor.Factors) (mfa.Verdict, string) { return q.readMint(ctx, r, f) },
	}
	v := x.Run(ctx, factor.Question{})
	return x.Last, v
}

// readMint reads Vault's answer to a mint. As on any guarded path, a refusal has no reason;
// whether the caller's token may not mint here at all can be asked.
func (q *tokenRequest) readMint(ctx context.Context, r factor.Reply, f factor.Factors) (v mfa.Verdict, again string) {
	if r.OK() {
		return factor.Approved(), ""
	}
	path, failure := q.match.Rule.Grant.Path, r.Failure()
	switch {
	case failure.Kind == mfa.Unreachable:
		v, _, _ = factor.Classify(failure, f.Typed(), q.Deadline)
		return v, ""
	case r.RefusedPush(), r.Denied() && (r.Notified || !f.Typed()):
		return factor.RefusedPush(), "" // minting again would push again
	case r.Response.StatusCode != http.StatusForbidden || failure.Kind == mfa.InvalidToken:
		return factor.Unavailablef("stepup: vault does not create a token at %s: %s", path, factor.OneLine(failure.Reason)), ""
	}
	if q.mayNotMint(ctx) { // by now
		return q.notMinted(), ""
	}
	return mfa.Verdict{}, factor.WrongCode
}

// mayNotMint reports whether Vault says that the caller's token may not create tokens at the
// path of the grant. Where Vault does not say, trying tells.
func (q *tokenRequest) mayNotMint(ctx context.Context) bool {
	capabilities, err := q.Config.Prober.Capabilities(ctx, q.token, q.Key.Namespace, q.match.Rule.Grant.Path)
	minting := rule.Request{Operation: rule.Update}
	return err == nil && !minting.Grants(capabilities)
}

func (q *tokenRequest) notMinted() mfa.Verdict {
	return factor.Unavailablef("stepup: your token may not create tokens at %s; its policies must grant update there", q.match.Rule.Grant.Path)
}

// readToken reads the token out of the answer to a mint or login.
func (q *tokenRequest) readToken(resp *http.Response) (cache.Token, mfa.Verdict) {
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mfa.MaxBody))
	if err != nil {
		return cache.Token{}, factor.Unreached(err)
	}
	auth, err := vault.ParseAuth(body)
	if err != nil {
		return cache.Token{}, q.noToken()
	}
	life := q.match.Rule.Grant.Limit(q.config.MaxTTL)
	if auth.TTL > 0 {
		life = min(life, auth.TTL)
	}
	now := time.Now().Round(0) // wall clock: the monotonic one stops while the machine sleeps
	return cache.Token{
		Secret: auth.Token, Accessor: auth.Accessor, Created: now, Expires: now.Add(life - min(slack, life/10)),
		Uses: auth.Uses, Index: vault.Index(resp), Keep: q.kept(),
	}, factor.Approved()
}

// keepOnce leaves a token that was just made to the requests that wait for it, where the person
// has said so. v is the verdict by now.
func (q *tokenRequest) keepOnce(running *state.Acquisition, t cache.Token, v mfa.Verdict) {
	switch {
	case q.Keep != prompt.KeepOnce:
		return
	case !v.OK():
		q.endToken(t)
		return
	}
	t.Owner, t.Bound = q.Config.State.Callers.Accessor(q.CallerKey()), q.Bound
	running.Once = &state.Once{Token: t, End: func() { q.endToken(t) }}
}

// endToken ends a token that is in no store.
func (q *tokenRequest) endToken(t cache.Token) {
	q.config.EndToken(cache.Entry{Key: q.Key, Token: t})
}

// keepBehindLook keeps a token for the request that the process has looked at the mount for:
// `vault kv get` makes two of one command, and a yes to one of them would be none to it.
func (q *tokenRequest) keepBehindLook(ctx context.Context, running *state.Acquisition, resp *http.Response, t cache.Token) bool {
	if q.Process() == 0 || resp.StatusCode != http.StatusOK || t.Uses == 1 {
		return false
	}
	t.Keep, t.Uses, t.For = string(prompt.KeepOnce), 1, state.BehindLook(q.Process(), q.Request.Path)
	if until := time.Now().Round(0).Add(afterLook); until.Before(t.Expires) {
		t.Expires = until
	}
	return q.Config.State.Acquisitions.Keep(ctx, running, q.config.Tokens, cache.Entry{Key: q.Key, Token: t})
}

// kept is what a token remembers of the person's choice.
func (q *tokenRequest) kept() string {
	if q.Keep == prompt.KeepLock {
		return string(q.Keep)
	}
	return ""
}

// mintTTL is the life that Vault is asked for. It gives less where its own limits say so, and is
// not asked to renew that: what it has given for this factor is the end.
func (q *tokenRequest) mintTTL() time.Duration {
	if g := q.match.Rule.Grant; q.Keep == prompt.KeepLock {
		return g.Limit(q.config.MaxTTL)
	}
	return q.match.Rule.Grant.TTL
}

func (q *tokenRequest) noToken() mfa.Verdict {
	return factor.Unavailablef("stepup: %s answered without a token; check the path of the rule's grant", q.match.Rule.Grant.Path)
}

// login logs in at the path of a login grant and meets the challenge that Vault answers with. A
// wrong password is told from a wrong code: Vault checks the password first, and answers 400 to
// a wrong one.
func (q *tokenRequest) login(ctx context.Context) (resp *http.Response, v mfa.Verdict) {
	var send relogin
	v, ok := q.Try(factor.Question{}, func(question factor.Question) (mfa.Verdict, string) {
		in, err := q.password(ctx, question)
		if err != nil {
			return factor.VerdictOf(ctx, err), ""
		}
		send = func(ctx context.Context) (*http.Response, error) {
			return q.config.Vault.Login(ctx, vault.LoginRequest{
				Path: q.match.Rule.Grant.Path, Namespace: q.Key.Namespace, Password: in.password,
			})
		}
		if resp, err = send(ctx); err != nil {
			return factor.VerdictOf(ctx, err), ""
		}
		if resp.StatusCode/100 != 2 {
			defer func() { _ = resp.Body.Close(); resp = nil }()
			return q.readLoginRefusal(ctx, resp, in)
		}
		q.keepPassword(ctx, in)
		q.Prefilled = in.code
		return factor.Approved(), ""
	})
	switch {
	case !ok:
		return nil, factor.Rejected(q.wrongPassword())
	case !v.OK():
		return nil, v
	}
	return q.meetChallenge(ctx, resp, send)
}

// readLoginRefusal reads why Vault refused a password.
func (q *tokenRequest) readLoginRefusal(ctx context.Context, resp *http.Response, in password) (v mfa.Verdict, again string) {
	reason := factor.OneLine(mfa.ReadFailure(factor.PeekBody(resp)).Reason)
	refused := fmt.Sprintf("stepup: vault refused the login at %s: %s", q.match.Rule.Grant.Path, reason)
	if reason == "" {
		refused = q.wrongPassword()
	}
	switch status := resp.StatusCode; {
	case status != http.StatusBadRequest && status != http.StatusUnauthorized && status != http.StatusForbidden:
		return factor.Unavailable(refused), ""
	case status == http.StatusForbidden:
		// Vault and OpenBao answer 400 to a wrong password, so it is neither asked again nor forgotten.
		return factor.Unavailable(refused + notThePassword), ""
	case in.kept && len(q.match.Rule.Grant.PasswordCommand) > 0:
		return factor.Rejected(refused), "" // the command would give the same one again
	case in.kept:
		q.storePassword(ctx, "", "wrong password stays in the keyring")
	}
	return mfa.Verdict{}, "wrong password (" + reason + ")"
}

// notThePassword says what a 403 at a login is.
const notThePassword = " (a wrong password is answered otherwise: either five wrong ones have locked the user for 15 minutes, when the right one is refused, too, or no login is at that path: check the grant's)"

func (q *tokenRequest) wrongPassword() string {
	return fmt.Sprintf("stepup: vault did not accept the password at %s; run it again", q.match.Rule.Grant.Path)
}

// A password is what a login is tried with.
type password struct {
	password secret.Secret
	kept     bool // the person was not asked for it
	code     factor.CodeWith
}

// password gets the password from where the grant says.
func (q *tokenRequest) password(ctx context.Context, question factor.Question) (password, error) {
	switch g := q.match.Rule.Grant; {
	case g.Password == "prompt", !q.atHome():
	case len(g.PasswordCommand) > 0 && question.Attempt <= 1:
		in, err := q.printedPassword(ctx)
		exit, failed := errors.AsType[*factor.ExitError](err)
		if !failed {
			return in, err
		}
		q.Config.Log.Warn("password command failed, asking instead", "rule", q.Rule, "error", err)
		question.Reason = exit.Reason()
	case len(g.PasswordCommand) == 0:
		asking, cancel := q.UntilDeadline(ctx)
		defer cancel()
		kept, err := q.config.Secrets.Password(asking, q.account(), g)
		if err == nil {
			return password{password: kept, kept: true}, nil
		}
		if !errors.Is(err, cache.ErrNotFound) {
			q.Config.Log.Warn("password cannot be fetched, asking for it", "rule", q.Rule, "error", err)
		}
	}
	with := q.combinedCodeMethod()
	answer, err := q.Ask(ctx, prompt.Request{
		Kind: prompt.Password, Method: q.match.Rule.Grant.Path, Attempt: question.Attempt, Message: question.Reason, WithCode: with,
	})
	if err != nil || with.Method == "" {
		return password{password: secret.Secret(answer)}, err
	}
	typed, code := prompt.CutCode(answer)
	return password{password: secret.Secret(typed), code: factor.CodeWith{Method: with.Method, Code: secret.Secret(code)}}, nil
}

// printedPassword is that of the grant's program, or the one that the person types while it
// runs. The error is as of AskBeside.
func (q *tokenRequest) printedPassword(ctx context.Context) (password, error) {
	g := q.match.Rule.Grant
	answer, typed, err := q.AskBeside(ctx, factor.Program{
		Command: g.PasswordCommand, Wants: "the password for " + g.Path,
		Run: func(ctx context.Context, said func(string)) (secret.Secret, error) {
			return q.Config.Coder.Run(ctx, g.PasswordCommand, said)
		},
	}, prompt.Request{Kind: prompt.Password, Method: g.Path})
	return password{password: answer, kept: !typed}, err
}

// combinedCodeMethod is the method whose code may come with the password. What Vault wants is
// known for certain only from its answer to the password, so the rule has to name the method,
// and that has to be one whose code is typed.
func (q *tokenRequest) combinedCodeMethod() prompt.WithCode {
	if len(q.match.Rule.Methods) != 1 {
		return prompt.WithCode{}
	}
	name := q.match.Rule.Methods[0]
	m := q.Config.Methods[name]
	if !m.UsesPasscode || m.OrPush || q.Config.FromSeed[name] || len(q.Config.Commands[name]) > 0 {
		return prompt.WithCode{}
	}
	return prompt.WithCode{Method: name, Digits: m.Digits}
}

// atHome reports whether the login goes to the namespace of the configuration. A program
// chooses the one of its requests: a kept password sent there would be sent to the login of the
// people who run that namespace.
func (q *tokenRequest) atHome() bool { return q.Key.Namespace == q.match.Rule.In(q.Config.Namespace) }

// account is where a kept password belongs: the same path in another namespace is another
// person's.
func (q *tokenRequest) account() string { return q.Key.Vault + " " + q.Key.Namespace }

// keepPassword stores a password that was typed and that Vault took, where the grant wants it
// kept.
func (q *tokenRequest) keepPassword(ctx context.Context, in password) {
	if !in.kept && q.match.Rule.Grant.Password == "keyring" && q.atHome() {
		q.storePassword(ctx, in.password, "password cannot be kept in the keyring")
	}
}

// storePassword stores a password, or with "" forgets it; failed is the line in the log when
// that fails.
func (q *tokenRequest) storePassword(ctx context.Context, value secret.Secret, failed string) {
	if err := q.config.Secrets.Keep(ctx, q.account(), q.match.Rule.Grant, value); err != nil {
		q.Config.Log.Warn(failed, "rule", q.Rule, "error", err)
	}
}

// meetChallenge meets the challenge in the answer to a login. An answer without one is a login
// that needed no second factor: a set-up that protects nothing, which is logged, and used.
func (q *tokenRequest) meetChallenge(ctx context.Context, resp *http.Response, again relogin) (*http.Response, mfa.Verdict) {
	challenge, held, err := mfa.Parse(factor.PeekBody(resp))
	if err != nil {
		return resp, q.noToken()
	}
	if !held {
		q.Config.Log.Warn("login of a step-up asked for no second factor", "rule", q.Rule, "path", q.match.Rule.Grant.Path)
		return resp, factor.Approved()
	}
	_ = resp.Body.Close()
	challenge.Namespace, challenge.Node = q.Key.Namespace, vault.Node(resp)
	l := newHeldLogin(q.config, q.StepUp, challenge)
	l.relogin = again
	v := l.run(ctx)
	return l.exchange.Last, v
}
