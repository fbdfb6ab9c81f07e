// Package factor gets second factors from a person and to Vault: it asks, one question
// at a time for each caller and rule, waits for pushes, sends, and reads what Vault's
// answer means.
package factor

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// A Prober asks Vault about tokens. *vault.Client is one.
type Prober interface {
	// Capabilities are those of token on path, as sys/capabilities-self lists them.
	Capabilities(ctx context.Context, token secret.Secret, namespace, path string) ([]string, error)
	// LookupSelf fails with a *vault.StatusError when Vault does not know token.
	LookupSelf(ctx context.Context, token secret.Secret, namespace string) (vault.TokenInfo, error)
}

// An Asker reaches the person. *prompt.Broker is one.
type Asker interface {
	Ask(ctx context.Context, r prompt.Request) (string, error)
	Tell(ctx context.Context, r prompt.Request) *prompt.Notice
}

// A Coder gets passcodes without the person's typing.
type Coder interface {
	// Code returns the code of a method whose seed is kept, at now, and how long it is
	// valid.
	Code(ctx context.Context, method string, now time.Time) (secret.Secret, time.Duration, error)
	// Run returns what a program prints, and calls said with each line of its standard error.
	Run(ctx context.Context, command []string, said func(line string)) (secret.Secret, error)
}

// An Auditor keeps the record of decisions. *audit.Trail is one.
type Auditor interface {
	Write(r audit.Record) error
}

// Config is what a StepUp needs. It is not changed after its first use.
type Config struct {
	VaultName   string
	Address     string // of the vault: a token is never sent to another one
	Namespace   string // of the vault block: of requests that name none
	Prober      Prober
	Asker       Asker
	Coder       Coder
	Methods     map[string]mfa.Method // the mfa_method blocks by name
	FromSeed    map[string]bool       // methods whose code comes from a kept seed
	Commands    map[string][]string   // programs that print the code of a method; tried before the person
	Attempts    int                   // prompts for one request; 0 means 3
	Timeout     time.Duration         // how long a request waits for its turn, and how long a question is open; 0 means 55 s
	Cooldown    time.Duration         // no new prompt for the same caller and rule after a denial; 0 means 30 s
	NeverPrompt NeverPrompt
	ConfirmPush bool         // ask the person before a push is sent
	State       *state.State // what must survive a reload; shared by all vaults
	Identify    func(secret.Secret) string
	Audit       Auditor // nil means none
	Log         *slog.Logger
}

// WithDefaults returns c with its zero limits replaced.
func (c Config) WithDefaults() Config {
	c.Attempts = cmp.Or(c.Attempts, 3)
	c.Timeout = cmp.Or(c.Timeout, 55*time.Second)
	c.Cooldown = cmp.Or(c.Cooldown, 30*time.Second)
	return c
}

// VaultKey is the vault in every key: a token is never sent to another address.
func (c *Config) VaultKey() string { return c.VaultName + " " + c.Address }

// MethodsOf are the methods of a rule by their names. The configuration was checked: all
// are declared.
func (c *Config) MethodsOf(names []string) (all []mfa.Method) {
	for _, name := range names {
		all = append(all, c.Methods[name])
	}
	return all
}

// A NeverPrompt says for which programs no prompt is shown at all.
type NeverPrompt struct {
	Detached bool                 // programs without a terminal or graphical session
	Match    func(peer.Peer) bool // nil means no others
}

// MatchNames matches requesters that have one of these programs in their chain; "*" at the end
// of a name stands for any rest.
func MatchNames(names []string) func(peer.Peer) bool {
	return func(requester peer.Peer) bool {
		return slices.ContainsFunc(requester.Chain, func(program string) bool {
			return slices.ContainsFunc(names, func(name string) bool {
				start, any := strings.CutSuffix(name, "*")
				return program == name || any && strings.HasPrefix(program, start)
			})
		})
	}
}

// covers reports whether p may be one of those, although it is not known which process it
// is. Otherwise a program would get prompts by hiding: a capability of its file is enough
// for that, and so is one call to the kernel.
func (n NeverPrompt) covers(p func() peer.Peer) bool {
	return (n.Detached || n.Match != nil) && p().PID == 0
}

// A StepUp is one request on its way to a decision. It is used by one goroutine at a
// time.
type StepUp struct {
	Config   *Config
	Key      cache.Key
	Request  rule.Request
	Rule     string // "" for a login
	Started  time.Time
	Deadline time.Time // of the wait for its turn, then of the question that is open
	Method   string    // label of the method asked last

	NeverPrompt     bool     // the rule says that it never prompts
	Unauthenticated bool     // the path needs no token, as in rule.Match
	Unverified      bool     // a login that is asked about before Vault has seen it
	Prefilled       CodeWith // of a login grant
	Answered        bool     // a person answered a question, or was told of a push
	Challenged      bool     // the audit log has the challenge
	Open            bool     // and not the end of it
	OutlivesApp     bool     // an acquisition: it goes on when the app leaves

	// Refused are the IDs of the methods of the enforcement at which Vault's last validate
	// stopped; nil where that is not known.
	Refused []string

	mistakes int         // codes that could not be sent
	kind     prompt.Kind // of the prompt shown last, "" before the first
	prompter string      // that got the last answer; "" where none did

	Allows  Allowance
	Keep    prompt.Keep // how long the person wants a token kept; "" before they chose
	Bound   string      // names the scope of the key for people; "" without one
	Unbound bool        // there should be a scope, and it cannot be told: the key is that of no other request

	lookup *peer.Lookup     // slow the first time: asked for when it is shown
	asked  prompt.Requester // as the last question or notice shows it; the zero value before
}

// Bind puts the scope of a grant into the key. A process that cannot be told must not share a
// token with others like it: it gets a key of its own for each request, under which nothing is
// there.
func (s *StepUp) Bind(scope rule.Scope) {
	to, ok := bindingOf(s.lookup, scope)
	if s.Unbound = !ok; !ok {
		to = peer.Binding{ID: "unknown " + rand.Text(), Name: "one request"}
	}
	s.Key.Scope, s.Bound = to.ID, to.Name
}

// UntilDeadline bounds ctx by the time that questions have.
func (s *StepUp) UntilDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithDeadline(ctx, s.Deadline)
}

// Ask puts one question to the person, and blocks until that is answered, its time is over
// or app ends. Its time starts when it can be answered: not before p.NotBefore.
func (s *StepUp) Ask(app context.Context, p prompt.Request) (string, error) {
	s.Method = p.Method
	s.RecordPrompt(p.Kind)
	s.extendDeadline(p.NotBefore)
	p.Message = s.withAppWait(p.Message)
	ctx, end := context.WithCancelCause(app)
	defer end(nil)
	ctx = prompt.ReportPrompter(ctx, func(name string) { s.prompter = name })
	defer s.Config.State.Denials.Asking(s.denialKey(), end)()
	p = s.fill(p)
	answer, err := s.Config.Asker.Ask(ctx, p)
	switch {
	case err == nil:
		s.Answered = true
		var keep prompt.Keep
		answer, keep, _ = prompt.CutKeep(p, answer)
		s.Keep = cmp.Or(keep, s.Keep) // a choice holds for the questions after it
	case errors.Is(context.Cause(ctx), state.ErrMuted):
		return "", state.ErrMuted
	case errors.Is(context.Cause(app), context.Canceled):
		s.appLeft()
	}
	return answer, err
}

// AnsweredYes notes that the answer was a yes, without a factor: more of them may be asked for,
// but denials go on counting.
func (s *StepUp) AnsweredYes() {
	s.Answered = false
	s.Config.State.Denials.Allowed(s.denialKey())
}

// extendDeadline gives the next question the whole of its time, from now on or from a moment
// that is later. A question that had to wait must not count as unanswered for that.
func (s *StepUp) extendDeadline(from time.Time) {
	if now := time.Now(); from.Before(now) {
		from = now
	}
	if end := from.Add(s.Config.Timeout); end.After(s.Deadline) {
		s.Deadline = end
	}
}

// appWaits is how long a request may have waited before the person is told of it. Vault's
// library gives up after 60 seconds (api/client.go), others sooner, and then the answer is in
// vain.
const appWaits = 20 * time.Second

// withAppWait adds to a message how long the app has waited by now.
func (s *StepUp) withAppWait(message string) string {
	waited := time.Since(s.Started)
	if waited < appWaits || s.OutlivesApp {
		return message
	}
	if message != "" {
		message += "; "
	}
	return message + fmt.Sprintf("the program has waited %d s, and most give up after 60 s", int(waited.Seconds()))
}

// Tell shows the person something until the notice is done. Its deadline is that of the
// questions, if it has none of its own.
func (s *StepUp) Tell(ctx context.Context, p prompt.Request) *prompt.Notice {
	deadline := p.Deadline
	p = s.fill(p)
	if !deadline.IsZero() {
		p.Deadline = deadline
	}
	return s.Config.Asker.Tell(ctx, p)
}

// fill completes a question with what the person must know about the request.
func (s *StepUp) fill(p prompt.Request) prompt.Request {
	p.Rule = s.Rule
	p.Vault = s.Config.VaultName
	p.Namespace = s.Request.Namespace
	p.Path = s.Request.Path
	p.Operation = string(s.Request.Operation)
	s.asked = Requester(s.lookup.Peer())
	p.Requester = s.asked
	if p.MethodType != prompt.ControlGroup { // that is asked of others
		p.Allows = s.Allows.words(s)
	}
	if p.Enrolment == nil {
		p.Keeps = s.Allows.keeps(s)
	}
	p.Deadline = s.Deadline
	p.Attempts = s.Config.Attempts
	p.Attempt = max(p.Attempt, 1)
	return p
}

// program names the caller as a question did, or would.
func (s *StepUp) program() string {
	r := s.asked
	if r.PID == 0 && r.Exe == "" {
		r = Requester(s.lookup.Peer())
	}
	return prompt.Request{Requester: r}.Sanitized().Requester.Name()
}

// Requester returns the part of a peer that a question shows.
func Requester(p peer.Peer) prompt.Requester {
	r := prompt.Requester{PID: p.PID, UID: p.UID, Exe: p.Exe, Chain: p.Chain, Claim: p.Claim, Hidden: p.Hidden, Origin: prompt.Origin(p.Origin())}
	for _, c := range p.MayBe {
		r.MayBe = append(r.MayBe, prompt.Candidate(c))
	}
	return r
}

// Record writes one line of the audit log. A log that cannot be written is reported, and
// does not stop the person's work.
func (s *StepUp) Record(event audit.Event, took time.Duration) { s.record(event, took, "") }

func (s *StepUp) record(event audit.Event, took time.Duration, reason string) {
	if s.Config.Audit == nil {
		return
	}
	err := s.Config.Audit.Write(audit.Record{
		Event: event, Rule: s.Rule, Vault: s.Config.VaultName, Namespace: s.Request.Namespace,
		Path: s.Request.Path, Operation: string(s.Request.Operation), Method: s.Method,
		Requester: s.lookup.Peer(), DurationMS: took.Milliseconds(), Token: s.Key.Identity,
		Kind: string(s.kind), Prompter: s.prompter, Keep: s.keepOf(event), Reason: reason,
	})
	if err != nil {
		s.Config.Log.Error("audit log cannot be written", "error", err)
	}
}

// keepOf is the person's choice, for the line of the decision.
func (s *StepUp) keepOf(event audit.Event) string {
	if event != audit.Approved {
		return ""
	}
	return string(s.Keep)
}

// RecordPrompt writes down that a prompt is shown, about the method that is set already.
func (s *StepUp) RecordPrompt(kind prompt.Kind) {
	s.kind, s.prompter, s.Open = kind, "", true
	s.Record(audit.Prompt, 0)
}

// Challenge records that a second factor is wanted, once.
func (s *StepUp) Challenge() {
	if !s.Challenged {
		s.Challenged, s.Open = true, true
		s.Record(audit.Challenge, 0)
	}
}

// appLeft writes down that a question was withdrawn because the app no longer waits for its
// answer. Without that, a client that gives up after a second looks like a prompt that
// flickers.
func (s *StepUp) appLeft() {
	waited := time.Since(s.Started)
	s.Config.Log.Info("question withdrawn: the program no longer waits for its answer; give it more time (VAULT_CLIENT_TIMEOUT, or the time-out of its library)",
		"waited", waited.Round(time.Millisecond), "rule", s.Rule, "vault", s.Config.VaultName, "path", s.Request.Path, "pid", s.lookup.Peer().PID, "exe", s.lookup.Peer().Exe)
	s.Open = false
	s.Record(audit.Withdrawn, waited)
}

// RecordEnd writes down how the step-up ended. A lock is a no to what it cancels; any other end
// of app is that of the program. Where nothing was begun, there is nothing to be withdrawn.
func (s *StepUp) RecordEnd(app context.Context, v mfa.Verdict) {
	event := map[mfa.Outcome]audit.Event{
		mfa.Approved: audit.Approved, mfa.Denied: audit.Denied, mfa.Timeout: audit.Timeout, mfa.Rejected: audit.Rejected,
		mfa.Unavailable: audit.Unavailable, // and none for a cool-down: nothing was asked
	}[v.Outcome]
	switch cause := context.Cause(app); {
	case cause == nil, event == audit.Approved:
	case errors.Is(cause, prompt.ErrCanceled):
		event = audit.Denied
	default:
		event = audit.Withdrawn
	}
	open := s.Open
	s.Open = false
	if event == "" || !open && (event == audit.Unavailable || event == audit.Withdrawn) {
		return
	}
	reason := ""
	if event == audit.Unavailable {
		// Behind the colon are Vault's words, in which a hostile one may say what was sent to it.
		reason, _, _ = strings.Cut(strings.TrimPrefix(v.Message, "stepup: "), ": ")
	}
	s.record(event, time.Since(s.Started), reason)
}

// Process is the process that the request is from; 0 where that cannot be told.
func (s *StepUp) Process() int { return s.lookup.Peer().PID }

// Used notes that the step-up token of this caller and rule serves the request.
func (s *StepUp) Used() { s.Config.State.Uses.Record(s.Key, useOf(s.Request), s.lookup) }

// Made notes that the request has got a step-up token.
func (s *StepUp) Made() { s.Config.State.Uses.Made(s.Key, s.lookup.Peer()) }

// Muted returns the verdict for a request that no prompt is shown for: of batch jobs, and
// under rules that were denied too often.
func (s *StepUp) Muted() (mfa.Verdict, bool) {
	never := s.Config.NeverPrompt
	switch {
	case s.NeverPrompt:
		return s.MutedRule()
	case never.covers(s.lookup.Peer):
		return notTold(s.lookup.Peer()), true
	case never.Detached && s.lookup.Peer().Detached:
		return Unavailable("stepup: programs without a terminal or desktop cause no question (detached = \"never\"); run it from a terminal"), true
	case never.Match != nil && never.Match(s.lookup.Peer()):
		return Unavailable("stepup: this program is on the list of those that cause no question"), true
	}
	return s.MutedRule()
}

// MutedRule is Muted without a look at the program.
func (s *StepUp) MutedRule() (mfa.Verdict, bool) {
	if s.NeverPrompt {
		return Unavailable(NeverPromptedRule), true
	}
	return s.MutedDenials()
}

// MutedDenials returns the verdict for a request under a rule that was denied too often.
func (s *StepUp) MutedDenials() (mfa.Verdict, bool) {
	if s.Config.State.Denials.Muted(s.denialKey()) {
		return tooManyDenials(), true
	}
	return mfa.Verdict{}, false
}

// denialKey is what the denials of a person count for: a rule whatever program asks, or
// the logins on a path. Unverified logins share one key, whatever their path and namespace:
// a program that has no login can make up another one each time.
func (s *StepUp) denialKey() state.Key {
	k := state.Key{Key: cache.Key{Vault: s.Key.Vault, Rule: s.Rule}}
	switch {
	case s.Unverified:
		k.Path = "unproven logins"
	case s.Rule == "":
		// Logins by password do not tell capitals in a name (userpass, ldap).
		k.Path = strings.ToLower(s.Request.Path)
	}
	return k
}

// TurnKey is what this request is decided one at a time with, and what a denial holds for.
// The namespace is no part of it: community Vault takes no notice of X-Vault-Namespace, so
// another one with each request would evade the queue and the cool-down.
func (s *StepUp) TurnKey() state.Key {
	if s.Unverified {
		return s.denialKey()
	}
	k := state.Key{Key: s.Key}
	// Nor is the scope: a program could open another terminal for each question.
	k.Namespace, k.Scope = "", ""
	if s.Rule == "" || s.Unauthenticated {
		// Not by process: the same user can start another one.
		k.Path = s.Request.Path
	}
	return k
}

// Cooldown returns the verdict of a denial that still holds for this request.
func (s *StepUp) Cooldown() (mfa.Verdict, bool) {
	v, left, ok := s.Config.State.Cooldowns.Find(s.TurnKey(), s.Started)
	if ok && left > 0 {
		v = coolingDown(v, left)
	}
	return v, ok
}

// AcquireTurn waits for this request's turn, until the deadline. Where release is nil, the
// verdict is the answer: the person denied it meanwhile, or lately.
func (s *StepUp) AcquireTurn(app context.Context) (release func(), v mfa.Verdict) {
	ctx, cancel := s.UntilDeadline(app)
	defer cancel()
	release, err := s.Config.State.Turns.Acquire(ctx, s.TurnKey())
	if err != nil {
		// No prompt was shown for this one, so it starts no cool-down.
		v = VerdictOf(app, err)
		if v.Outcome == mfa.Timeout {
			v.Message = queuedTooLong
			if s.Rule != "" && !s.OutlivesApp {
				v.Message += oneCodeEach
			}
		}
		s.RecordEnd(app, v)
		return nil, v
	}
	if v, ok := s.Cooldown(); ok {
		release()
		s.RecordEnd(app, v)
		return nil, v
	}
	return release, mfa.Verdict{}
}

// InTurn lets decide ask the person when it is this request's turn, and concludes. app is
// the context of the app's request.
func (s *StepUp) InTurn(app context.Context, decide func() mfa.Verdict) mfa.Verdict {
	s.Challenge()
	release, v := s.AcquireTurn(app)
	if release == nil {
		return v
	}
	defer release()
	return s.Conclude(app, decide())
}

// Conclude writes the decision down and starts the cool-down that follows a denial. An app
// that left decided nothing.
func (s *StepUp) Conclude(app context.Context, v mfa.Verdict) mfa.Verdict {
	s.RecordEnd(app, v)
	if app.Err() != nil {
		return v
	}
	s.Config.Log.Info("step-up decided", "outcome", v.Outcome, "rule", s.Rule, "vault", s.Config.VaultName,
		"operation", s.Request.Operation, "path", s.Request.Path, "program", s.program())
	switch v.Outcome {
	case mfa.Approved:
		s.Config.State.Cooldowns.End(s.TurnKey())
		if s.Answered {
			s.Config.State.Denials.Unmute()
		}
	case mfa.Denied, mfa.Timeout, mfa.Rejected:
		// A person who sets up an authenticator is at it, and the next try waits for that. A
		// lock at a login is no word about the login, which is the way back after a lock.
		locked := s.Rule == "" && v == state.Canceled()
		if v.Message != stillEnrolling && v.Message != notSeen && !locked {
			s.Config.State.Cooldowns.Start(s.TurnKey(), v, s.Config.Cooldown)
		}
	}
	if countsAsDenial(v) {
		s.Config.State.Denials.Record(s.denialKey())
	}
	return v
}

// countsAsDenial reports whether a decision counts towards muting: a denial, and a question
// or push that was not answered. What was withdrawn, or never shown, does not.
func countsAsDenial(v mfa.Verdict) bool {
	switch v.Outcome {
	case mfa.Denied:
		return v != state.Canceled()
	case mfa.Timeout:
		return v.Message == notAnswered || v.Message == pushRefused
	}
	return false
}

// CallerKey is the caller of the request. Vault takes the namespace into account, so what is
// known holds for that one only.
func (s *StepUp) CallerKey() state.CallerKey { return state.CallerOf(s.Key) }

// CallerLife says whether the caller's own token is alive: what Vault said within maxAge, or
// says now.
func (s *StepUp) CallerLife(ctx context.Context, own secret.Secret, maxAge time.Duration) (state.Life, error) {
	ask := func() (vault.TokenInfo, error) { return s.Config.Prober.LookupSelf(ctx, own, s.Key.Namespace) }
	return s.Config.State.Callers.Check(ctx, s.CallerKey(), state.Lookup{Ask: ask, MaxAge: maxAge})
}

// Proven reports whether Vault knows the caller. It is asked before every question that no
// answer of Vault's has shown to be about a live caller: a login grant needs nothing of the
// caller's token, so otherwise any string would make stepup ask, and get the secret. A
// question may cost a code, so no remembered answer will do: for a token that was revoked a
// second ago there is no question either. Without an outcome, the verdict leaves Vault's own
// answer alone.
func (s *StepUp) Proven(ctx context.Context, own secret.Secret) (mfa.Verdict, bool) {
	switch life, err := s.CallerLife(ctx, own, 0); {
	case life == state.Alive:
		return mfa.Verdict{}, true
	case life == state.Unknown && ctx.Err() == nil:
		s.Config.Log.Warn("caller cannot be looked up", "vault", s.Config.VaultName, "error", err)
		return CallerUnknown(err), false
	}
	return mfa.Verdict{}, false
}

// Dead reports whether Vault does not know a step-up token. Where Vault cannot be asked, it
// is taken for alive: a 403 stands, or each ordinary denial would mean a prompt.
func (s *StepUp) Dead(ctx context.Context, token secret.Secret) bool {
	return state.ReadLife(s.Config.Prober.LookupSelf(ctx, token, s.Key.Namespace)) == state.Dead
}

// HasCapability asks Vault whether the caller's token may do this at all. If not, the 403 is
// an ordinary one, and a prompt for it could not be explained. sys/capabilities-self neither
// shows nor wants a second factor (vault/acl.go).
func (s *StepUp) HasCapability(ctx context.Context, token secret.Secret) (mfa.Verdict, bool) {
	if s.Unauthenticated {
		// Capabilities say nothing here; that the caller is alive has to do.
		if token == "" {
			return mfa.Verdict{}, true
		}
		return s.Proven(ctx, token)
	}
	capabilities, err := s.Config.Prober.Capabilities(ctx, token, s.Request.Namespace, s.Request.Path)
	status, answered := errors.AsType[*vault.StatusError](err)
	switch {
	case answered && mfa.DeniedByPolicy(status.Errors):
		return mfa.Verdict{}, true // a role governing policy is about every request, this one too
	case answered && status.Status == http.StatusForbidden && !state.ProvesLife(status.Errors):
		// A dead token, or one of a child namespace, of which OpenBao says the same.
		if v, ok := s.Proven(ctx, token); !ok {
			return v, false
		}
	}
	if err != nil {
		s.Config.Log.Warn("capability probe failed", "vault", s.Config.VaultName, "path", s.Request.Path, "error", err)
		return ProbeFailed(err), false
	}
	return mfa.Verdict{}, s.Request.Grants(capabilities)
}
