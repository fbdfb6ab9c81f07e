package stepup_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// What Vault says.
const (
	deadText    = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n" // of a token that it does not know
	bareText    = "permission denied"                                                // OpenBao, of such a token
	generic     = `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`
	bareDenied  = `{"errors":["permission denied"]}`
	wrongLogin  = `{"errors":["invalid username or password"]}`
	sealedText  = `{"errors":["Vault is sealed"]}`
	wrongText   = `{"errors":["failed to satisfy enforcement a. error: 2 errors occurred:\n\t* failed to validate TOTP passcode\n\t* login MFA validation failed for methodID: [m1]\n\n"]}`
	limitedText = `{"errors":["failed to satisfy enforcement a. error: 2 errors occurred:\n\t* maximum TOTP validation attempts 6 exceeded the allowed attempts 5. Please try again in 30s seconds\n\t* …"]}`
	oktaDenied  = `{"errors":["multi-factor authentication denied"]}`
	unknownText = `{"errors":["invalid request ID"]}`
	noLeader    = `{"errors":["local node not active but active cluster node not found"]}`

	approvedText = `{"auth":{"client_token":"hvs.x"}}`
	issued       = `{"auth":{"client_token":"hvs.okta","accessor":"acc"}}`
	heldLogin    = `{"auth":{"client_token":"","mfa_requirement":{"mfa_request_id":"r","mfa_constraints":{"a":{"any":[{"type":"totp","id":"m1","uses_passcode":true,"name":"corp"}]}}}}}`
)

func refusedText(reason string) string {
	return fmt.Sprintf(`{"errors":["failed to satisfy enforcement a. error: 2 errors occurred:\n\t* %s\n\t* login MFA validation failed for methodID: [m1 m3]\n\n"]}`, reason)
}

func statusError(status int, errors ...string) error {
	return &vault.StatusError{Status: status, Errors: errors}
}

// dead is Vault's answer to a question with a token that it does not know.
func dead() error { return statusError(403, deadText) }

func answer(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

func minted(token string, ttl, uses int) *http.Response {
	r := answer(200, fmt.Sprintf(`{"auth":{"client_token":%q,"accessor":"acc-%s","lease_duration":%d,"num_uses":%d}}`, token, token, ttl, uses))
	r.Header.Set("X-Vault-Index", "index-"+token)
	return r
}

// peek reads a body and puts it back.
func peek(t *testing.T, resp *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(data))
	return string(data)
}

// A serve is how Vault answers a call. line is what the call carries: the factors or the token
// of a request, the factors of a mint, the body of a login, its password, or the payload of a
// validate.
type serve = func(ctx context.Context, line string) (*http.Response, error)

// always answers every call the same.
func always(status int, body string) serve {
	return func(context.Context, string) (*http.Response, error) { return answer(status, body), nil }
}

// fails answers no call.
func fails(err error) serve {
	return func(context.Context, string) (*http.Response, error) { return nil, err }
}

// inOrder answers one call after the other.
func inOrder(all ...*http.Response) serve {
	return func(context.Context, string) (*http.Response, error) {
		if len(all) == 0 {
			return nil, errors.New("called too often")
		}
		next := all[0]
		all = all[1:]
		return next, nil
	}
}

// after answers as next does, when so much time has passed.
func after(d time.Duration, next serve) serve {
	return func(ctx context.Context, line string) (*http.Response, error) {
		if err := wait(ctx, d); err != nil {
			return nil, err
		}
		return next(ctx, line)
	}
}

// wait waits until d has passed or ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mints gives tokens one after the other to the right code.
func mints(right string, tokens ...string) serve {
	return func(_ context.Context, line string) (*http.Response, error) {
		switch {
		case line != right:
			return answer(403, generic), nil
		case len(tokens) == 0:
			return nil, errors.New("minted too often")
		}
		next := tokens[0]
		tokens = tokens[1:]
		return minted(next, 300, 0), nil
	}
}

// An upstream takes the requests of the app: those with right get a 200, any other a 403.
type upstream struct {
	mu     sync.Mutex
	right  string
	delay  time.Duration
	serve  serve // in the place of right and delay
	sent   []string
	at     []time.Time
	bodies []mfa.LoginBody
}

// send is a stepup.Send.
func (u *upstream) send(ctx context.Context, credentials []mfa.Credential, token cache.Token) (*http.Response, error) {
	line := headers(credentials)
	if token.Secret != "" {
		line = "token " + token.Secret.Reveal()
	}
	return u.call(ctx, line)
}

// sendBody is a stepup.SendLogin.
func (u *upstream) sendBody(ctx context.Context, body mfa.LoginBody) (*http.Response, error) {
	u.bodies = append(u.bodies, body)
	return u.call(ctx, string(body.Bytes()))
}

// renew is a factor.Call.
func (u *upstream) renew(ctx context.Context) (*http.Response, error) { return u.call(ctx, "") }

func (u *upstream) call(ctx context.Context, line string) (*http.Response, error) {
	u.mu.Lock()
	u.sent, u.at = append(u.sent, line), append(u.at, time.Now())
	next := u.serve
	u.mu.Unlock()
	switch {
	case next != nil:
		return next(ctx, line)
	case line == u.right:
		return after(u.delay, always(200, "ok"))(ctx, line)
	}
	return after(u.delay, always(403, generic))(ctx, line)
}

func (u *upstream) lines() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.sent)
}

func headers(credentials []mfa.Credential) string {
	lines := make([]string, 0, len(credentials))
	for _, c := range credentials {
		lines = append(lines, c.Header())
	}
	return strings.Join(lines, ",")
}

// A fakeVault takes the calls of the resolver itself.
type fakeVault struct {
	enroller
	numbers
	group

	mu           sync.Mutex
	capabilities []string
	probeErr     error
	probed       []string
	validated    []string
	validate     serve
	mints        []vault.MintRequest
	mint         serve
	mintFor      func(vault.MintRequest) (*http.Response, error) // in the place of mint
	passwords    []string
	logins       []vault.LoginRequest
	login        serve
	delay        time.Duration // of a look-up
	lookup       error         // of a step-up token
	lookups      int           // of those
	path         string        // where it was made
	callerDead   bool
	caller       func() (vault.TokenInfo, error) // of "tok"; nil is alive unless callerDead
	callerAsked  int
}

func newFakeVault() *fakeVault {
	return &fakeVault{
		capabilities: []string{"read", "update"},
		enroller:     enroller{enrolErr: vault.ErrEnrolled}, numbers: numbers{start: time.Now()},
	}
}

func (v *fakeVault) Mint(ctx context.Context, r vault.MintRequest) (*http.Response, error) {
	v.mu.Lock()
	v.mints = append(v.mints, r)
	v.mu.Unlock()
	if v.mintFor != nil {
		return v.mintFor(r)
	}
	return v.mint(ctx, headers(r.Credentials))
}

func (v *fakeVault) Login(ctx context.Context, r vault.LoginRequest) (*http.Response, error) {
	v.mu.Lock()
	v.passwords, v.logins = append(v.passwords, r.Password.Reveal()), append(v.logins, r)
	v.mu.Unlock()
	return v.login(ctx, r.Password.Reveal())
}

func (v *fakeVault) Capabilities(_ context.Context, token secret.Secret, namespace, path string) ([]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.probed = append(v.probed, fmt.Sprintf("%s %s/%s", token.Reveal(), namespace, path))
	return v.capabilities, v.probeErr
}

func (v *fakeVault) Validate(ctx context.Context, _ mfa.Challenge, payload map[string][]string) (*http.Response, error) {
	line := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(payload), "map["), "]") // m1:[111111] m2:[x]
	v.mu.Lock()
	v.validated = append(v.validated, line)
	v.mu.Unlock()
	return v.validate(ctx, line)
}

func (v *fakeVault) LookupSelf(ctx context.Context, token secret.Secret, _ string) (vault.TokenInfo, error) {
	info, err := v.look(token)
	if v.delay > 0 {
		if err := wait(ctx, v.delay); err != nil {
			return vault.TokenInfo{}, err
		}
	}
	return info, err
}

func (v *fakeVault) look(token secret.Secret) (vault.TokenInfo, error) {
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

// got are the payloads and the passwords so far.
func (v *fakeVault) got() (validated, passwords []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.validated), slices.Clone(v.passwords)
}

// dies makes Vault forget the caller.
func (v *fakeVault) dies() {
	v.caller = func() (vault.TokenInfo, error) { return vault.TokenInfo{}, dead() }
}

// An enroller is the part of a Vault that makes secrets, and ends tokens.
type enroller struct {
	enrolErr error
	made     []string // request and method
	revoked  []string
}

func (e *enroller) SelfEnrol(_ context.Context, c mfa.Challenge, method string) (vault.Enrolment, error) {
	e.made = append(e.made, c.RequestID+" "+method)
	return vault.Enrolment{Secret: seedText, Issuer: "Vault", Account: "alice", Algorithm: "SHA1", Digits: 6, Period: 30}, e.enrolErr
}

func (e *enroller) RevokeSelf(_ context.Context, token secret.Secret, namespace string) error {
	e.revoked = append(e.revoked, namespace+" "+token.Reveal())
	return nil
}

// numbers is the part of a Vault that knows, from a time on, which number Okta shows.
type numbers struct {
	start     time.Time
	from      time.Duration
	looks     []time.Duration
	numberOf  vault.NumberRequest // the last one
	numberErr error
}

func (n *numbers) OktaNumber(_ context.Context, r vault.NumberRequest) (string, bool, error) {
	since := time.Since(n.start)
	n.looks, n.numberOf = append(n.looks, since), r
	if since < n.from {
		return "", false, n.numberErr
	}
	return "42", true, nil
}

// A group is the part of a Vault that waits for the approval of other people.
type group struct {
	groupMu   sync.Mutex
	polled    []time.Time
	released  []vault.Held
	approveAt time.Time // zero: never
	by        func(now time.Time) []string
	pollErr   func(n int) error // of the n-th question, from 1
	release   func(n int) (*http.Response, error)
}

// change changes it while a request waits.
func (g *group) change(by func(*group)) {
	g.groupMu.Lock()
	defer g.groupMu.Unlock()
	by(g)
}

func (g *group) ControlGroup(ctx context.Context, _ secret.Secret, _, accessor string) (mfa.GroupState, error) {
	g.groupMu.Lock()
	defer g.groupMu.Unlock()
	if err := ctx.Err(); err != nil {
		return mfa.GroupState{}, err
	}
	if accessor != "acc-1" {
		return mfa.GroupState{}, statusError(400, "invalid accessor")
	}
	now := time.Now()
	g.polled = append(g.polled, now)
	if g.pollErr != nil {
		if err := g.pollErr(len(g.polled)); err != nil {
			return mfa.GroupState{}, err
		}
	}
	s := mfa.GroupState{Approved: !g.approveAt.IsZero() && !now.Before(g.approveAt)}
	if g.by != nil {
		s.By = g.by(now)
	}
	return s, nil
}

func (g *group) Release(_ context.Context, h vault.Held) (*http.Response, error) {
	g.groupMu.Lock()
	defer g.groupMu.Unlock()
	g.released = append(g.released, h)
	if g.release != nil {
		return g.release(len(g.released))
	}
	if len(g.released) > 1 {
		return answer(400, fetchedText), nil
	}
	return answer(200, released), nil
}

// secrets is the keyring of a test.
type secrets struct {
	password secret.Secret
	err      error
	kept     []string
	codes    []secret.Secret
	printed  secret.Secret                                                       // by a command
	run      func(ctx context.Context, said func(string)) (secret.Secret, error) // in the place of that
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

func (s *secrets) Run(ctx context.Context, _ []string, said func(string)) (secret.Secret, error) {
	if s.run != nil {
		return s.run(ctx, said)
	}
	return cmp.Or(s.printed, s.password), s.err // of the method, or of the login grant
}

// Code gives the first code until half a minute has passed, then the next.
func (s *secrets) Code(_ context.Context, _ string, now time.Time) (secret.Secret, time.Duration, error) {
	if len(s.codes) == 0 {
		return "", 0, cache.ErrNotFound
	}
	step := now.Unix() / 30
	return s.codes[step%int64(len(s.codes))], time.Unix((step+1)*30, 0).Sub(now), nil
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

func (a *auditor) all() []audit.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.events)
}

// unmetered counts nothing.
type unmetered struct{}

func (unmetered) Lookup(error)                        {}
func (unmetered) Waiting(context.Context) func()      { return func() {} }
func (unmetered) Decided(*rule.Rule, stepup.Decision) {}
