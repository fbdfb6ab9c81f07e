// Package stepup turns Vault's wish for a second factor into an answer for the app: a file
// for each way to do that.
package stepup

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup/approval"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A Vault is what a Resolver asks of Vault besides the app's requests. *vault.Client is one.
type Vault interface {
	factor.Prober
	Logins
	approval.Vault
	// Mint creates a token with the caller's own and the factors of r. It blocks and
	// answers as Validate does.
	Mint(ctx context.Context, r vault.MintRequest) (*http.Response, error)
}

// Logins is the part of a Vault that is about logins.
type Logins interface {
	// Validate sends the factors of a held login. It blocks while a push is open, is never
	// repeated, and returns an answer of any status.
	Validate(ctx context.Context, c mfa.Challenge, payload map[string][]string) (*http.Response, error)
	// Login logs in with a password. It answers as Validate does; the answer may be a
	// challenge.
	Login(ctx context.Context, r vault.LoginRequest) (*http.Response, error)
	// OktaNumber returns the number that Okta shows for a login. It answers at once; known
	// is false until there is a number.
	OktaNumber(ctx context.Context, r vault.NumberRequest) (number string, known bool, err error)
	// SelfEnrol makes a secret for a held login; Vault keeps it when the login is validated
	// by a code of it. vault.ErrEnrolled means that there is one.
	SelfEnrol(ctx context.Context, c mfa.Challenge, method string) (vault.Enrolment, error)
	// RevokeSelf ends a token that is no longer waited for.
	RevokeSelf(ctx context.Context, token secret.Secret, namespace string) error
}

// Tokens keeps step-up tokens. *cache.Layered is one.
type Tokens interface {
	// Known returns a token that is in memory, without waiting.
	Known(k cache.Key) (t cache.Token, ok bool)
	Take(ctx context.Context, k cache.Key) (cache.Token, error)
	Get(ctx context.Context, k cache.Key) (cache.Token, error)
	Put(ctx context.Context, k cache.Key, t cache.Token) error
	Delete(ctx context.Context, k cache.Key) error
}

// Secrets finds what a person has given to stepup to keep or to fetch.
type Secrets interface {
	factor.Coder
	// Password returns the password for a login grant that keeps it in the keyring.
	// cache.ErrNotFound means that the person must be asked.
	Password(ctx context.Context, vault string, g rule.Grant) (secret.Secret, error)
	// Keep stores a password that Vault has accepted; the empty one forgets it.
	Keep(ctx context.Context, vault string, g rule.Grant, password secret.Secret) error
}

// A Meter is told what only a Resolver sees of a request.
type Meter interface {
	// Lookup tells how a search for a cached token ended: nil, cache.ErrNotFound, or what
	// kept the store from answering.
	Lookup(err error)
	// Decided tells the decision about the request of a [TokenUse].
	Decided(r *rule.Rule, d Decision)
	// Waiting begins when a request waits for what another one has begun, and lasts until
	// the returned function is called.
	Waiting(ctx context.Context) (done func())
}

// Config is what a Resolver needs. It is not changed after New. Prober and Coder are those of
// Vault and Secrets.
type Config struct {
	factor.Config
	Vault       Vault
	Prefer      []string // names of methods taken from an any list without asking
	SinglePhase SinglePhase
	Tokens      Tokens
	MaxTTL      time.Duration // a token is never used longer; 0 means 15 m
	Secrets     Secrets
	Okta        []string // the Okta mounts, without slashes at their ends
	// End ends the step-up tokens of a caller: they serve nothing more when it returns, and
	// are revoked after that.
	End func(Caller)
	// EndToken revokes one token, which is in no store.
	EndToken func(cache.Entry)
	Meter    Meter
}

// A SinglePhase says which logins take their factors with them.
type SinglePhase struct {
	Methods []string // names of declared methods, all of which are sent; none means that no login does
	Mounts  []string // "auth/ldap"; none means every auth method; see rule.IsLogin
}

// A Caller names the caller whose step-up tokens are to end.
type Caller struct {
	Vault    string // as in cache.Key
	Identity string // HMAC of its own token; "" when only the accessor is known
	Accessor string // of its own token; "" when unknown
}

// A Resolver steps up requests to one vault. It implements relay.Resolver.
type Resolver struct{ config Config }

// New returns a Resolver.
func New(c Config) *Resolver {
	c.Config = c.WithDefaults()
	c.Prober, c.Coder = c.Vault, c.Secrets
	c.MaxTTL = cmp.Or(c.MaxTTL, 15*time.Minute)
	return &Resolver{config: c}
}

// A Send sends a request once more: with one line of X-Vault-MFA for each credential, and
// with a step-up token in the place of the caller's own; the zero token leaves that. The
// caller closes the body of the answer.
type Send = func(ctx context.Context, credentials []mfa.Credential, token cache.Token) (*http.Response, error)

// A Decision is how a step-up ended for the app: [PassThrough], [Answered] or [Refused].
type Decision interface{ decision() }

// PassThrough means that no step-up took place. Response is Vault's answer; nil where the
// relay has it already, or has not sent the request yet.
type PassThrough struct{ Response *http.Response }

// Answered means that Response is the answer that the app wanted.
type Answered struct {
	Response *http.Response
	Outcome  mfa.Outcome // approved or cached
}

// Refused means that there is no such answer. Response is Vault's newest refusal, nil where
// there is none newer than the one that the relay has.
type Refused struct {
	Response *http.Response
	Verdict  mfa.Verdict
}

func (PassThrough) decision() {}
func (Answered) decision()    {}
func (Refused) decision()     {}

// decide is the decision by a verdict, with Vault's newest answer.
func decide(resp *http.Response, v mfa.Verdict) Decision {
	switch {
	case v.Outcome == "":
		return PassThrough{resp}
	case v.OK():
		return Answered{resp, v.Outcome}
	}
	return Refused{resp, v}
}

// A request is one on a rule's path.
type request struct {
	config *Config
	match  rule.Match
	token  secret.Secret // the caller's own
	send   Send
}

// begin starts the step-up of a request under a rule.
func (c *Config) begin(ctx context.Context, m rule.Match, token secret.Secret) *factor.StepUp {
	s := c.Begin(ctx, m.Request, m.Rule.Name, token)
	s.NeverPrompt = m.Rule.Silent
	s.Allows = factor.Allowance{Rule: m.Rule, Life: c.MaxTTL}
	s.Bind(m.Rule.Grant.Scope)
	return s
}

// beginLogin starts the step-up of a login.
func (r *Resolver) beginLogin(ctx context.Context, q rule.Request) *factor.StepUp {
	return r.config.Begin(ctx, q, "", "")
}

// First sends a request on a rule's path for the first time and watches over it: where the
// rule has a push method, Vault pushes at once. An error means that Vault was not reached.
func (r *Resolver) First(ctx context.Context, m rule.Match, token secret.Secret, send Send) (Decision, error) {
	q := request{config: &r.config, match: m, token: token, send: send}
	if m.Rule.Grant.Mints() {
		return q.firstWithToken(ctx)
	}
	resp, v, err := q.firstWithHeader(ctx)
	if err != nil {
		return nil, err
	}
	return decide(resp, v), nil
}

// StepUp is called after a 403, or before anything was sent when m.NoReplay.
func (r *Resolver) StepUp(ctx context.Context, m rule.Match, token secret.Secret, send Send) Decision {
	q := request{config: &r.config, match: m, token: token, send: send}
	if m.Rule.Grant.Kind == rule.HeaderGrant {
		return q.repeatWithHeader(ctx)
	}
	return q.sendWithNewToken(ctx)
}

// Obtain gets the token of a rule with a token or login grant for a caller before any request
// of theirs needs it, in the acquisition that such a request would start or join. It blocks
// until that is decided or ctx ends. Cached means that there is one already. A header grant
// gives no token; the caller makes sure that it is none.
func (r *Resolver) Obtain(ctx context.Context, ru *rule.Rule, namespace string, own secret.Secret) mfa.Verdict {
	// Without a path: none is asked for yet, and the person reads which rule it is.
	m := rule.Match{Rule: ru, Request: rule.Request{Namespace: ru.In(namespace)}}
	return newTokenRequest(ctx, request{config: &r.config, match: m, token: own}).obtain(ctx)
}

// Login meets the challenge of a held login: every constraint by one method, and all of them
// by one sys/mfa/validate. After a wrong code the same request ID is used again; Vault keeps
// it for five minutes. The response of the decision is the last answer of sys/mfa/validate.
func (r *Resolver) Login(ctx context.Context, c mfa.Challenge, q rule.Request) Decision {
	s := r.beginLogin(ctx, q)
	if v, ok := s.Muted(); ok {
		return decide(nil, v)
	}
	l := newHeldLogin(&r.config, s, c)
	v := s.InTurn(ctx, func() mfa.Verdict { return l.run(ctx) })
	return decide(l.exchange.Last, v)
}

// Covers reports whether the factors of a login go with it.
func (r *Resolver) Covers(q rule.Request) bool {
	single := r.config.SinglePhase
	return len(single.Methods) > 0 && rule.IsLogin(q, single.Mounts)
}

// LoginWith asks for the factors of a login and sends it with them; with noReplay no more than
// once. Vault says nothing of why it refused a factor that came with a login, so that every
// code may have been wrong.
func (r *Resolver) LoginWith(ctx context.Context, q rule.Request, noReplay bool, send Send) Decision {
	s := r.beginLogin(ctx, q)
	s.Unverified = true
	if v, ok := s.Muted(); ok {
		return decide(nil, v)
	}
	x := factor.Exchange{
		StepUp: s, Methods: r.config.MethodsOf(r.config.SinglePhase.Methods), Send: withCredentials(send),
		Read: func(r factor.Reply, f factor.Factors) (mfa.Verdict, string) {
			return s.ReadSinglePhase(r, f, noReplay)
		},
	}
	v := s.InTurn(ctx, func() mfa.Verdict { return x.Run(ctx, factor.Question{}) })
	return decide(x.Last, v)
}

// BodyLogin sends a login whose factor is in its own body, as often as the person's answers ask
// for it. An error means that Vault was not reached.
func (r *Resolver) BodyLogin(ctx context.Context, l mfa.MountLogin, q rule.Request, send SendLogin) (Decision, error) {
	b := &bodyLogin{StepUp: r.beginLogin(ctx, q), config: &r.config, login: l, send: send}
	return b.run(ctx)
}

// Renew sends, once, a request that renews a token: Vault logs in with Okta once more when it
// renews a token of such a login (pathLoginRenew), which pushes. The person is told before
// that, and nothing is pushed again after a denial. subject is a token or an accessor, by the
// path of q. An error means that Vault was not reached.
func (r *Resolver) Renew(ctx context.Context, subject secret.Secret, q rule.Request, send factor.Call) (Decision, error) {
	b := &bodyLogin{StepUp: r.config.Begin(ctx, q, "", subject), config: &r.config}
	return b.renew(ctx, subject, send)
}

// Resume goes on waiting for an approval where an earlier request like this one gave up.
func (r *Resolver) Resume(ctx context.Context, m rule.Match, token secret.Secret) Decision {
	return decide(r.approval(ctx, m, token).Resume(ctx))
}

// Await takes Vault's answer, whose body is in memory, and returns the one of the approved
// request, or held again.
func (r *Resolver) Await(ctx context.Context, m rule.Match, token secret.Secret, held *http.Response) Decision {
	return decide(r.approval(ctx, m, token).Await(ctx, held))
}

func (r *Resolver) approval(ctx context.Context, m rule.Match, token secret.Secret) *approval.Request {
	return &approval.Request{StepUp: r.config.begin(ctx, m, token), Vault: r.config.Vault, Match: m, Token: token}
}

// Revoked ends what was made for a revoked token at once; every other caller of this vault
// has to show anew that it is alive. It implements relay.Revocations.
func (r *Resolver) Revoked(token secret.Secret, accessor string) {
	key := r.config.VaultKey()
	identities := r.config.State.Callers.Doubt(key, accessor)
	if token != "" {
		identities = append(identities, r.config.Identify(token))
	}
	for _, identity := range identities {
		r.config.End(Caller{Vault: key, Identity: identity})
	}
	if accessor != "" {
		r.config.End(Caller{Vault: key, Accessor: accessor})
	}
}

// A Standing is what is remembered about a caller under a rule.
type Standing struct {
	Caller    string      // HMAC of the caller's token, as a key has it
	Token     cache.Token // the cached step-up token; its Secret is left out
	Cached    bool
	Rule      string // whose token it is
	Namespace string // where it serves
	Paused    string // why no prompt would be shown now, in words; "" when one would
	Waiting   bool   // an approval is waited for under the caller's token
}

// Standing tells what a request under a rule would find here, and changes nothing.
func (r *Resolver) Standing(ctx context.Context, m rule.Match, token secret.Secret) Standing {
	for _, k := range m.Kept {
		if s := r.Standing(ctx, k, token); s.Cached {
			return s
		}
	}
	s := r.config.begin(ctx, m, token)
	out := Standing{
		Caller: s.Key.Identity, Rule: s.Rule, Namespace: s.Key.Namespace,
		Waiting: token != "" && r.config.State.Approvals.Waits(s.Key),
	}
	if m.Rule.Grant.Mints() && token != "" && !s.Unbound {
		ctx, cancel := context.WithTimeout(ctx, lookupLimit)
		defer cancel()
		if t, err := r.config.Tokens.Get(ctx, s.Key); err == nil {
			t.Secret = ""
			out.Token, out.Cached = t, true
		}
	}
	if v, muted := s.MutedRule(); muted {
		out.Paused = v.Message
	} else if v, cooling := s.Cooldown(); cooling {
		out.Paused = v.Message
	}
	return out
}

// AsksFirst reports whether the person is asked before a request under a rule with a header
// grant is sent, and not after Vault has refused it.
func (r *Resolver) AsksFirst(ru *rule.Rule) bool {
	asked, push := r.config.pushes(ru)
	return len(asked) > 0 || push.Name != "" && r.config.ConfirmPush
}
