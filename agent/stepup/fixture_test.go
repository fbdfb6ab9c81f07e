package stepup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/stepup/approval"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// deadText is what Vault says of a token that it does not know; OpenBao says bareText.
const (
	deadText = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"
	bareText = "permission denied"
)

const generic = `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`

// dead is Vault's answer to a question with a token that it does not know.
func dead() error { return &vault.StatusError{Status: 403, Errors: []string{deadText}} }

// A fixture is a resolver with everything around it played by the test. Time is
// that of the synctest bubble.
type fixture struct {
	config   stepup.Config
	resolver verdicts
	broker   *prompt.Broker
	person   *person
	vault    *fakeVault
	audit    *auditor
	tokens   *cache.Memory
	secrets  *secrets
	state    *state.State
}

func newFixture(t *testing.T, change func(*stepup.Config)) *fixture {
	t.Helper()
	s := &fixture{
		person: &person{}, vault: &fakeVault{capabilities: []string{"read", "update"}, enrolling: &enroller{err: vault.ErrEnrolled}, numbering: &numbers{start: time.Now(), from: 1 << 62}}, audit: &auditor{},
		tokens: &cache.Memory{}, secrets: &secrets{}, state: state.New(),
	}
	t.Cleanup(s.state.Close)
	s.broker = prompt.NewBroker(prompt.BrokerConfig{Prompters: []prompt.Named{{Name: "person", Prompter: s.person}}})
	t.Cleanup(s.broker.Close)
	c := stepup.Config{
		Config: factor.Config{
			VaultName: "corp", Address: "https://vault", Asker: s.broker, State: s.state, Audit: s.audit,
			Identify: func(token secret.Secret) string { return "hmac-" + token.Reveal() },
			Log:      slog.New(slog.DiscardHandler),
			Methods: map[string]mfa.Method{
				"totp":   {Type: "totp", Name: "totp", UsesPasscode: true, Digits: 6},
				"second": {Type: "totp", Name: "second", UsesPasscode: true},
				"okta":   {Type: "okta", Name: "okta"},
				"duo":    {Type: "duo", Name: "duo", UsesPasscode: true, OrPush: true},
			},
		},
		Vault: s.vault, Tokens: s.tokens, Secrets: s.secrets, Meter: unmetered{}, End: s.end,
	}
	if change != nil {
		change(&c)
	}
	s.resolver, s.config = verdicts{stepup.New(c)}, c
	return s
}

// end forgets the tokens of a caller.
func (s *fixture) end(caller stepup.Caller) {
	all, _ := s.tokens.List(context.Background())
	for _, e := range all {
		if e.Key.Identity == caller.Identity {
			_ = s.tokens.Delete(context.Background(), e.Key)
		}
	}
}

// verdicts takes the decisions of a resolver apart.
type verdicts struct{ *stepup.Resolver }

func apart(d stepup.Decision) (*http.Response, mfa.Verdict) {
	switch d := d.(type) {
	case stepup.PassThrough:
		return d.Response, mfa.Verdict{}
	case stepup.Answered:
		return d.Response, mfa.Verdict{Outcome: d.Outcome}
	case stepup.Refused:
		return d.Response, d.Verdict
	}
	return nil, mfa.Verdict{}
}

func (r verdicts) First(ctx context.Context, m rule.Match, token secret.Secret, send stepup.Send) (*http.Response, mfa.Verdict, error) {
	d, err := r.Resolver.First(ctx, m, token, send)
	resp, v := apart(d)
	return resp, v, err
}

func (r verdicts) StepUp(ctx context.Context, m rule.Match, token secret.Secret, send stepup.Send) (*http.Response, mfa.Verdict) {
	return apart(r.Resolver.StepUp(ctx, m, token, send))
}

func (r verdicts) Login(ctx context.Context, c mfa.Challenge, q rule.Request) (*http.Response, mfa.Verdict) {
	return apart(r.Resolver.Login(ctx, c, q))
}

func (r verdicts) LoginWith(ctx context.Context, q rule.Request, noReplay bool, send stepup.Send) (*http.Response, mfa.Verdict) {
	return apart(r.Resolver.LoginWith(ctx, q, noReplay, send))
}

func (r verdicts) BodyLogin(ctx context.Context, l mfa.MountLogin, q rule.Request, send stepup.SendLogin) (*http.Response, mfa.Verdict, error) {
	d, err := r.Resolver.BodyLogin(ctx, l, q, send)
	resp, v := apart(d)
	return resp, v, err
}

func (r verdicts) Renew(ctx context.Context, subject secret.Secret, q rule.Request, send factor.Call) (*http.Response, mfa.Verdict, error) {
	d, err := r.Resolver.Renew(ctx, subject, q, send)
	resp, v := apart(d)
	return resp, v, err
}

func (r verdicts) Resume(ctx context.Context, m rule.Match, token secret.Secret) (*http.Response, mfa.Verdict) {
	return apart(r.Resolver.Resume(ctx, m, token))
}

func (r verdicts) Await(ctx context.Context, m rule.Match, token secret.Secret, held *http.Response) (*http.Response, mfa.Verdict) {
	return apart(r.Resolver.Await(ctx, m, token, held))
}

// unmetered counts nothing.
type unmetered struct{}

func (unmetered) Lookup(error)                   {}
func (unmetered) Waiting(context.Context) func() { return func() {} }

// A person answers prompts; answer gets the question and may block.
type person struct {
	mu     sync.Mutex
	asked  []prompt.Request
	answer func(ctx context.Context, r prompt.Request) (string, error)
}

func (p *person) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	p.mu.Lock()
	p.asked = append(p.asked, r)
	p.mu.Unlock()
	if r.Kind == prompt.Push && p.answer == nil {
		<-ctx.Done()
		return "", ctx.Err()
	}
	return p.answer(ctx, r)
}

// messages are kind, attempt and message of every question so far.
func (p *person) messages() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.asked {
		all = append(all, fmt.Sprintf("%s %s %d/%d %s", r.Kind, r.Method, r.Attempt, r.Attempts, r.Message))
	}
	return all
}

// codes answers with these, one after the other; "no" denies, "never" waits.
func (p *person) codes(all ...string) {
	p.answer = func(ctx context.Context, r prompt.Request) (string, error) {
		if r.Kind == prompt.Push {
			<-ctx.Done()
			return "", ctx.Err()
		}
		if len(all) == 0 {
			return "", errors.New("asked more often than expected")
		}
		code := all[0]
		all = all[1:]
		switch code {
		case "no":
			return "", prompt.ErrDenied
		case "never":
			<-ctx.Done()
			return "", ctx.Err()
		}
		return code, nil
	}
}

// thinks makes the person take that long for every answer.
func (p *person) thinks(d time.Duration) {
	answer := p.answer
	p.answer = func(ctx context.Context, r prompt.Request) (string, error) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return "", ctx.Err()
		}
		return answer(ctx, r)
	}
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

type fakeVault struct {
	approval.Vault // nil where a test has no control group
	enrolling      // likewise
	numbering      // likewise

	mu           sync.Mutex
	capabilities []string
	probeErr     error
	probed       []string
	validated    []map[string][]string
	validate     func(ctx context.Context, payload map[string][]string) (*http.Response, error)
	mints        []vault.MintRequest
	mint         func(ctx context.Context, r vault.MintRequest) (*http.Response, error)
	passwords    []string
	login        func(ctx context.Context, r vault.LoginRequest) (*http.Response, error)
	lookup       error  // of a step-up token
	lookups      int    // of those
	path         string // where it was made
	callerDead   bool
	caller       func() (vault.TokenInfo, error) // of "tok"; nil is alive unless callerDead
	callerAsked  int
}

func (v *fakeVault) Mint(ctx context.Context, r vault.MintRequest) (*http.Response, error) {
	v.mu.Lock()
	v.mints = append(v.mints, r)
	v.mu.Unlock()
	return v.mint(ctx, r)
}

func (v *fakeVault) Login(ctx context.Context, r vault.LoginRequest) (*http.Response, error) {
	v.mu.Lock()
	v.passwords = append(v.passwords, r.Password.Reveal())
	v.mu.Unlock()
	return v.login(ctx, r)
}

func (v *fakeVault) LookupSelf(_ context.Context, token secret.Secret, _ string) (vault.TokenInfo, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if token == "tok" {
		v.callerAsked++
	}
	switch {
	case token == "tok" && v.caller != nil:
		return v.caller()
	case token == "tok" && v.callerDead:
		return vault.TokenInfo{}, dead()
	case token == "tok":
		return vault.TokenInfo{}, nil
	}
	v.lookups++
	return vault.TokenInfo{Path: v.path}, v.lookup
}

// enrolling is the part of a Vault that sets up authenticators.
type enrolling interface {
	SelfEnrol(ctx context.Context, c mfa.Challenge, method string) (vault.Enrolment, error)
	RevokeSelf(ctx context.Context, token secret.Secret, namespace string) error
}

// numbering is the part of a Vault that knows what Okta shows.
type numbering interface {
	OktaNumber(ctx context.Context, r vault.NumberRequest) (string, bool, error)
}

// secrets is the keyring of a test.
type secrets struct {
	password secret.Secret
	err      error
	kept     []string
	codes    []secret.Secret
	printed  secret.Secret // by a command
}

func (s *secrets) Password(context.Context, string, rule.Grant) (secret.Secret, error) {
	if s.err == nil && s.password == "" {
		return "", cache.ErrNotFound
	}
	return s.password, s.err
}

func (s *secrets) Keep(_ context.Context, _ string, _ rule.Grant, password secret.Secret) error {
	s.kept = append(s.kept, password.Reveal())
	s.password = password
	return nil
}

func (s *secrets) Run(context.Context, []string) (secret.Secret, error) { return s.printed, s.err }

// Code gives the first code until half a minute has passed, then the next.
func (s *secrets) Code(_ context.Context, _ string, now time.Time) (secret.Secret, time.Duration, error) {
	if len(s.codes) == 0 {
		return "", 0, cache.ErrNotFound
	}
	step := now.Unix() / 30
	return s.codes[step%int64(len(s.codes))], time.Unix((step+1)*30, 0).Sub(now), nil
}

func (v *fakeVault) Capabilities(_ context.Context, token secret.Secret, namespace, path string) ([]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.probed = append(v.probed, fmt.Sprintf("%s %s/%s", token.Reveal(), namespace, path))
	return v.capabilities, v.probeErr
}

func (v *fakeVault) Validate(ctx context.Context, _ mfa.Challenge, payload map[string][]string) (*http.Response, error) {
	v.mu.Lock()
	v.validated = append(v.validated, payload)
	v.mu.Unlock()
	return v.validate(ctx, payload)
}

type auditor struct {
	mu     sync.Mutex
	events []audit.Event
	last   audit.Record
	slow   func() // called before each event, if set
}

func (a *auditor) Write(r audit.Record) error {
	if a.slow != nil {
		a.slow()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events, a.last = append(a.events, r.Event), r
	return nil
}

func answer(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

// sending is an upstream for the header grant: right gives 200, else a 403. It
// records the lines that it got.
type sending struct {
	mu    sync.Mutex
	right string
	lines []string
	delay time.Duration
}

func (s *sending) send(ctx context.Context, credentials []mfa.Credential, token cache.Token) (*http.Response, error) {
	var lines []string
	for _, c := range credentials {
		lines = append(lines, c.Header())
	}
	line := strings.Join(lines, ",")
	if token.Secret != "" {
		line = "token " + token.Secret.Reveal()
	}
	s.mu.Lock()
	s.lines = append(s.lines, line)
	s.mu.Unlock()
	select {
	case <-time.After(s.delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if line == s.right {
		return answer(200, "ok"), nil
	}
	return answer(403, generic), nil
}

func prod(methods ...string) rule.Match {
	return rule.Match{
		Rule:    &rule.Rule{Name: "prod", Methods: methods, Grant: rule.Grant{Kind: rule.HeaderGrant}},
		Request: rule.Request{Path: "kv/data/prod/db", Operation: rule.Read},
	}
}

// run runs each test in a bubble of its own.
func run[T any](t *testing.T, tests map[string]T, one func(t *testing.T, tt T)) {
	t.Helper()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { one(t, tt) })
		})
	}
}
