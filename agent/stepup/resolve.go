// Package stepup takes a step-up from Vault's wish to an answer: whether a
// factor would help at all, who is asked and how often, one at a time for each
// caller and rule, and what is sent to Vault.
package stepup

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// A Vault answers the questions that stepup asks itself. *vault.Client is one.
type Vault interface {
	// Capabilities are those of token on path, as sys/capabilities-self lists them.
	Capabilities(ctx context.Context, token secret.Secret, namespace, path string) ([]string, error)
	// Validate sends the factors of a held login. It blocks while a push is open,
	// is never repeated, and returns an answer of any status.
	Validate(ctx context.Context, c mfa.Challenge, payload map[string][]string) (*http.Response, error)
	// Mint creates a token with the caller's own and the factors of r. It blocks
	// and answers as Validate does.
	Mint(ctx context.Context, r vault.MintRequest) (*http.Response, error)
	// Login logs in with a password. It answers as Validate does; the answer may
	// be a challenge.
	Login(ctx context.Context, r vault.LoginRequest) (*http.Response, error)
	// LookupSelf fails with an *vault.StatusError when Vault does not know token.
	LookupSelf(ctx context.Context, token secret.Secret, namespace string) (vault.TokenInfo, error)
}

// Tokens keeps step-up tokens. *cache.Layered is one.
type Tokens interface {
	Take(ctx context.Context, k cache.Key) (cache.Token, error)
	Get(ctx context.Context, k cache.Key) (cache.Token, error)
	Put(ctx context.Context, k cache.Key, t cache.Token) error
	Delete(ctx context.Context, k cache.Key) error
}

// Secrets finds what a person has given to stepup to keep or to fetch.
type Secrets interface {
	// Password returns the password for a login grant that does not ask for it:
	// from the keyring, or from its command. cache.ErrNotFound means that the
	// person must be asked.
	Password(ctx context.Context, vault string, g rule.Grant) (secret.Secret, error)
	// Keep stores a password that Vault has accepted; the empty one forgets it.
	Keep(ctx context.Context, vault string, g rule.Grant, password secret.Secret) error
	// Code returns the code of a method whose seed is kept, at now, and how long
	// it is valid.
	Code(ctx context.Context, method string, now time.Time) (secret.Secret, time.Duration, error)
	// Run returns what a program prints.
	Run(ctx context.Context, command []string) (secret.Secret, error)
}

// An Asker reaches the person. *prompt.Broker is one.
type Asker interface {
	Ask(ctx context.Context, r prompt.Request) (string, error)
	Tell(ctx context.Context, r prompt.Request) *prompt.Notice
}

// A Meter is told what only a Resolver sees of a request.
type Meter interface {
	// Lookup tells how a search for a cached token ended: nil, cache.ErrNotFound,
	// or what kept the store from answering.
	Lookup(err error)
	// Waiting begins when a request waits for what another one has begun, and lasts
	// until the returned function is called.
	Waiting(ctx context.Context) (done func())
}

// An Auditor keeps the record of decisions. *audit.Log is one.
type Auditor interface {
	Write(r audit.Record) error
}

// Config is what a Resolver needs. It is not changed after New.
type Config struct {
	VaultName   string
	Address     string // of the vault: a token is never sent to another one
	Namespace   string // of the vault block: of requests that name none
	Vault       Vault
	Group       Group // nil waits for no approvals
	Asker       Asker
	Methods     map[string]mfa.Method // the mfa_method blocks by name
	Prefer      []string              // names of methods taken from an any list without asking
	SinglePhase SinglePhase
	Attempts    int           // prompts for one request; 0 means 3
	Timeout     time.Duration // from the request to its answer while a person is asked; 0 means 55 s
	Cooldown    time.Duration // no new prompt for the same caller and rule after a no; 0 means 30 s
	Tokens      Tokens
	MaxTTL      time.Duration // a token is never used longer; 0 means 15 m
	Secrets     Secrets
	Numbers     Numbers             // of logins at Okta mounts; nil shows none
	Okta        []string            // the Okta mounts, without slashes at their ends
	FromSeed    map[string]bool     // methods whose code comes from a kept seed
	Commands    map[string][]string // programs that print the code of a method; tried before the person
	Silence     Silence
	// ConfirmPush asks the person before a push is sent.
	ConfirmPush bool
	Enroller    Enroller // nil: nobody is offered to set up an authenticator
	Ledger      *Ledger  // what must survive a reload; shared by all vaults
	Identify    func(secret.Secret) string
	// End ends the step-up tokens of a caller: they serve nothing more when it returns,
	// and are revoked after that. nil forgets the one in question.
	End   func(Caller)
	Audit Auditor // nil means none
	Meter Meter   // nil means none
	Log   *slog.Logger
}

// Numbers finds the number that Okta shows for a login. *vault.Client is one.
type Numbers interface {
	// OktaNumber is answered at once; known is false until there is a number.
	OktaNumber(ctx context.Context, r vault.NumberRequest) (number string, known bool, err error)
}

// A Resolver steps up requests to one vault. It implements relay.Resolver.
type Resolver struct{ config Config }

// New returns a Resolver.
func New(c Config) *Resolver {
	c.Attempts = cmp.Or(c.Attempts, 3)
	c.Timeout = cmp.Or(c.Timeout, 55*time.Second)
	c.Cooldown = cmp.Or(c.Cooldown, 30*time.Second)
	c.MaxTTL = cmp.Or(c.MaxTTL, 15*time.Minute)
	return &Resolver{config: c}
}

// A stepUp is one request on its way to a decision.
type stepUp struct {
	*Resolver
	key      cache.Key
	request  rule.Request
	rule     string // "" for a login
	attempts int
	started  time.Time
	deadline time.Time
	peer     func() peer.Peer // slow the first time: asked for when it is shown
	method   string           // label of the method asked last
	quiet    bool             // the rule says that nobody is asked
	open     bool             // the path needs no token, as in rule.Match
	unproven bool             // a login that is asked about before Vault has seen it
	early    earlyCode        // of a login grant
	answered bool             // a person answered a question, or was told of a push
}

func (r *Resolver) begin(ctx context.Context, q rule.Request, ruleName string, token secret.Secret) *stepUp {
	now := time.Now()
	return &stepUp{
		Resolver: r,
		key: cache.Key{
			Vault:     r.vaultKey(),
			Namespace: rule.Namespace(q.Namespace),
			Identity:  r.config.Identify(token),
			Rule:      ruleName,
		},
		request:  q,
		rule:     ruleName,
		attempts: r.config.Attempts,
		started:  now,
		deadline: now.Add(r.config.Timeout),
		peer:     func() peer.Peer { return peer.FromContext(ctx) },
	}
}

// ask puts one question to the person.
func (s *stepUp) ask(ctx context.Context, p prompt.Request) (string, error) {
	s.method = p.Method
	s.record(audit.Prompt, 0)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer s.config.Ledger.asking(s.topic(), end)()
	answer, err := s.config.Asker.Ask(ctx, s.fill(p))
	if err != nil && errors.Is(context.Cause(ctx), errTired) {
		return "", errTired
	}
	s.answered = s.answered || err == nil
	if err != nil && !errors.Is(err, prompt.ErrUnseen) && ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "", prompt.ErrTimeout
	}
	return answer, err
}

// fill completes a question with what the person must know about the request.
func (s *stepUp) fill(p prompt.Request) prompt.Request {
	p.Rule = s.rule
	p.Vault = s.config.VaultName
	p.Namespace = s.request.Namespace
	p.Path = s.request.Path
	p.Operation = string(s.request.Operation)
	p.Requester = requester(s.peer())
	p.Deadline = s.deadline
	p.Attempts = s.attempts
	p.Attempt = max(p.Attempt, 1)
	return p
}

// requester returns the part of a peer that a question shows.
func requester(p peer.Peer) prompt.Requester {
	r := prompt.Requester{PID: p.PID, UID: p.UID, Exe: p.Exe, Chain: p.Chain, Claim: p.Claim, Hidden: p.Hidden}
	for _, c := range p.MayBe {
		r.MayBe = append(r.MayBe, prompt.Candidate(c))
	}
	return r
}

// record writes one line of the audit log. A log that cannot be written is
// said, and does not stop the person's work.
func (s *stepUp) record(event audit.Event, took time.Duration) {
	if s.config.Audit == nil {
		return
	}
	err := s.config.Audit.Write(audit.Record{
		Event: event, Rule: s.rule, Vault: s.config.VaultName, Namespace: s.request.Namespace,
		Path: s.request.Path, Operation: string(s.request.Operation), Method: s.method,
		Requester: s.peer(), DurationMS: took.Milliseconds(), Token: s.key.Identity,
	})
	if err != nil {
		s.config.Log.Error("audit log cannot be written", "error", err)
	}
}
