package stepup_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// A fixture is a resolver with everything around it played by the test. Time is
// that of the synctest bubble.
type fixture struct {
	config   stepup.Config
	resolver *stepup.Resolver
	broker   *prompt.Broker
	person   *person
	vault    *fakeVault
	up       *upstream // what the requests of the app are sent by
	audit    *auditor
	tokens   *cache.Memory
	secrets  *secrets
	state    *state.State
	ended    []stepup.Caller
	revoked  chan string // tokens that were in no store
}

func newFixture(t *testing.T, change func(*stepup.Config)) *fixture {
	t.Helper()
	f := &fixture{
		person: &person{}, vault: newFakeVault(), up: &upstream{right: "-"}, audit: &auditor{},
		tokens: &cache.Memory{}, secrets: &secrets{}, state: state.New(), revoked: make(chan string, 9),
	}
	t.Cleanup(f.state.Close)
	f.broker = prompt.NewBroker(prompt.BrokerConfig{Prompters: []prompt.Named{{Name: "person", Prompter: f.person}}})
	t.Cleanup(f.broker.Close)
	f.config = stepup.Config{
		Config: factor.Config{
			VaultName: "corp", Address: "https://vault", Asker: f.broker, State: f.state, Audit: f.audit,
			Identify: func(token secret.Secret) string { return "hmac-" + token.Reveal() },
			Log:      slog.New(slog.DiscardHandler),
			Methods: map[string]mfa.Method{
				"totp":   {Type: "totp", Name: "totp", UsesPasscode: true, Digits: 6},
				"second": {Type: "totp", Name: "second", UsesPasscode: true},
				"okta":   {Type: "okta", Name: "okta"},
				"duo":    {Type: "duo", Name: "duo", UsesPasscode: true, OrPush: true},
			},
		},
		Vault: f.vault, Tokens: f.tokens, Secrets: f.secrets, Meter: unmetered{}, End: f.end,
		EndToken: func(e cache.Entry) { f.revoked <- e.Token.Secret.Reveal() },
		Okta:     []string{"auth/okta"},
	}
	if change != nil {
		change(&f.config)
	}
	f.resolver = stepup.New(f.config)
	return f
}

// end forgets the tokens of a caller.
func (f *fixture) end(caller stepup.Caller) {
	f.ended = append(f.ended, caller)
	all, _ := f.tokens.List(context.Background())
	for _, e := range all {
		if e.Key.Identity == caller.Identity {
			_ = f.tokens.Delete(context.Background(), e.Key)
		}
	}
}

// keyOf is where the step-up token of a caller is, under the rule of deploy.
func keyOf(token string) cache.Key {
	return cache.Key{Vault: "corp https://vault", Identity: "hmac-" + token, Rule: "deploy"}
}

// cached puts a step-up token into the store, for ten minutes.
func (f *fixture) cached(t *testing.T, key cache.Key, token secret.Secret) {
	t.Helper()
	now := time.Now()
	stored := cache.Token{Secret: token, Created: now, Expires: now.Add(10 * time.Minute)}
	if err := f.tokens.Put(t.Context(), key, stored); err != nil {
		t.Fatal(err)
	}
}

// A result is how a request or a login ended for the app.
type result struct {
	f    *fixture
	resp *http.Response
	v    mfa.Verdict
	err  error
}

// of takes a decision apart.
func (f *fixture) of(d stepup.Decision, err error) result {
	switch d := d.(type) {
	case stepup.PassThrough:
		return result{f, d.Response, mfa.Verdict{}, err}
	case stepup.Answered:
		return result{f, d.Response, mfa.Verdict{Outcome: d.Outcome}, err}
	case stepup.Refused:
		return result{f, d.Response, d.Verdict, err}
	}
	return result{f: f, err: err}
}

// first sends a request of "tok" for the first time.
func (f *fixture) first(ctx context.Context, m rule.Match) result {
	return f.of(f.resolver.First(ctx, m, "tok", f.up.send))
}

// stepUp steps a request of "tok" up.
func (f *fixture) stepUp(ctx context.Context, m rule.Match) result {
	return f.stepUpOf(ctx, m, "tok")
}

func (f *fixture) stepUpOf(ctx context.Context, m rule.Match, token secret.Secret) result {
	return f.of(f.resolver.StepUp(ctx, m, token, f.up.send), nil)
}

// request is what the relay does: it sends, and steps up after a 403.
func (f *fixture) request(ctx context.Context, m rule.Match) result {
	r := f.first(ctx, m)
	if r.err != nil || r.v.Outcome != "" || r.resp.StatusCode != http.StatusForbidden {
		return r
	}
	return f.stepUp(ctx, m)
}

func (f *fixture) login(ctx context.Context, c mfa.Challenge) result {
	return f.of(f.resolver.Login(ctx, c, loginRequest), nil)
}

// A want is what a step-up is to lead to. A field with its zero value is not looked at, but for
// outcome, err and noPrompt.
type want struct {
	outcome   mfa.Outcome
	text      string // is part of the message
	noPrompt  bool
	err       error
	status    int // of the answer; none is no answer
	body      string
	sent      []string // requests; see upstream
	asked     []string // see person.messages
	validated []string // payloads
	passwords []string // that Vault got
	kept      []string // passwords in the keyring
	audited   []audit.Event
}

// none is the status of no answer, and nothing an empty list.
const none = -1

var nothing = []string{}

// strict is w for a test that looks at the answer and at what was sent, even if that is nothing.
func (w want) strict() want {
	w.status = cmp.Or(w.status, none)
	return w.exactly()
}

// exactly is w for a test that looks at what was sent, even if that is nothing.
func (w want) exactly() want {
	w.sent = append([]string{}, w.sent...)
	return w
}

// check compares what happened with what was wanted.
func (r result) check(t *testing.T, w want) {
	t.Helper()
	got := want{outcome: r.v.Outcome, text: r.v.Message, noPrompt: r.v.NoPrompt, err: r.err, status: none}
	if r.resp != nil {
		got.status = r.resp.StatusCode
	}
	if r.resp != nil && w.body != "" {
		got.body = peek(t, r.resp)
	}
	got.sent, got.asked, got.audited = r.f.up.lines(), r.f.person.messages(), r.f.audit.all()
	got.validated, got.passwords = r.f.vault.got()
	got.kept = r.f.secrets.kept
	if strings.Contains(got.text, w.text) {
		got.text = w.text
	}
	if errors.Is(got.err, w.err) {
		got.err = w.err
	}
	if w.status == 0 {
		got.status = 0
	}
	got.sent, got.asked, got.audited = seen(w.sent, got.sent), seen(w.asked, got.asked), seen(w.audited, got.audited)
	got.validated, got.passwords = seen(w.validated, got.validated), seen(w.passwords, got.passwords)
	got.kept = seen(w.kept, got.kept)
	equal(t, "result", w, got)
}

// seen is got where the test looks at it.
func seen[T any](want, got []T) []T {
	if want == nil {
		return nil
	}
	return append([]T{}, got...)
}

// equal compares one thing with what was wanted of it.
func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	diff := gocmp.Diff(want, got, gocmp.Exporter(func(reflect.Type) bool { return true }), cmpopts.EquateErrors())
	if diff != "" {
		t.Errorf("%s (-want +got): %s", what, diff)
	}
}

// A test is one step-up, and what it is to lead to.
type test struct {
	match  rule.Match
	codes  []string             // what the person answers; see person.codes
	right  string               // the factors that Vault takes
	delay  time.Duration        // of Vault's answers
	serve  serve                // in the place of right and delay
	config func(*stepup.Config) // changes it
	change func(*fixture)       // likewise
	want   want
}

func (tt test) fixture(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t, tt.config)
	f.person.codes(tt.codes...)
	f.up.right, f.up.delay, f.up.serve = tt.right, tt.delay, tt.serve
	if tt.change != nil {
		tt.change(f)
	}
	return f
}

// run runs each test in a bubble of its own.
func run[T any](t *testing.T, tests map[string]T, one func(t *testing.T, tt T)) {
	t.Helper()
	t.Parallel()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { one(t, tt) })
		})
	}
}

// bubble runs one test in a bubble, on a new fixture.
func bubble(t *testing.T, one func(t *testing.T, f *fixture)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { one(t, newFixture(t, nil)) })
}

// together runs n calls at once, and returns when all have.
func together(n int, call func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { call(i) })
	}
	all.Wait()
}

// pass lets time pass, and everything happen that does by then.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A person answers prompts.
type person struct {
	mu     sync.Mutex
	asked  []prompt.Request
	words  []string
	always bool                                                        // the last of words stays
	push   string                                                      // the answer to the notice of a push; "" waits until that is decided
	answer func(ctx context.Context, r prompt.Request) (string, error) // in the place of all that
}

// codes answers with these, one after the other: "no" denies, "dismissed" closes
// the question, "never" waits, and after "unavailable" no question can be shown. A duration before
// an answer is how long it takes: "10s no".
func (p *person) codes(all ...string) { p.words, p.always, p.answer = all, false, nil }

// says answers every prompt with the same.
func (p *person) says(said string) { p.words, p.always, p.answer = []string{said}, true, nil }

func (p *person) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	p.mu.Lock()
	p.asked = append(p.asked, r)
	answer := p.answer
	p.mu.Unlock()
	if answer != nil {
		return answer(ctx, r)
	}
	said, err := p.next(r.Kind)
	if err != nil {
		return "", err
	}
	takes, after, _ := strings.Cut(said, " ")
	if d, err := time.ParseDuration(takes); err == nil && after != "" {
		said = after
		if err := wait(ctx, d); err != nil {
			return "", err
		}
	}
	switch said {
	case "no":
		return "", prompt.ErrDenied
	case "never":
		<-ctx.Done()
		return "", ctx.Err()
	case "unavailable":
		return "", prompt.ErrUnavailable
	case "dismissed":
		return "", prompt.ErrDismissed
	}
	return said, nil
}

// next is the answer to the next question, or to the notice of a push.
func (p *person) next(kind prompt.Kind) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case kind == prompt.Push && p.push != "":
		return p.push, nil
	case len(p.words) > 0 && p.words[0] == "unavailable":
		return "unavailable", nil
	case kind == prompt.Push:
		return "never", nil
	case len(p.words) == 0:
		return "", errors.New("asked more often than expected")
	}
	said := p.words[0]
	if !p.always {
		p.words = p.words[1:]
	}
	return said, nil
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

// What a person reads.
const (
	wrongCode  = "wrong code, or one that was used: wait for the next one"
	maybeSpent = "vault refused the other code, and may have spent this one: wait for the next one"
	codeOrPush = "type a code, or the word push to get a push on your phone"
	sendPush   = "a yes sends a push to your phone (okta)"
)

// identified is the context of a request whose process is known.
func identified(t *testing.T) context.Context {
	return peer.NewContext(t.Context(), func() peer.Peer { return peer.Peer{PID: 7} })
}

// confirmPush lets no push go unasked.
func confirmPush(c *stepup.Config) { c.ConfirmPush = true }

func prod(methods ...string) rule.Match {
	return rule.Match{
		Rule:    &rule.Rule{Name: "prod", Methods: methods, Grant: rule.Grant{Kind: rule.HeaderGrant}},
		Request: rule.Request{Path: "kv/data/prod/db", Operation: rule.Read},
	}
}

func deploy() rule.Match {
	return rule.Match{
		Rule: &rule.Rule{Name: "deploy", Methods: []string{"totp"}, Grant: rule.Grant{
			Kind: rule.TokenGrant, Path: "auth/token/create/stepup", Policies: []string{"stepup"}, TTL: 5 * time.Minute,
		}},
		Request: rule.Request{Path: "kv/data/deploy/x", Operation: rule.Read},
	}
}

func secure() rule.Match {
	return rule.Match{
		Rule:    &rule.Rule{Name: "secure", Grant: rule.Grant{Kind: rule.LoginGrant, Path: "auth/stepup/login/alice", Password: "prompt"}},
		Request: rule.Request{Path: "kv/data/secure/x", Operation: rule.Read},
	}
}

// change makes the resolver anew, with another configuration.
func (f *fixture) change(change func(*stepup.Config)) {
	change(&f.config)
	f.resolver = stepup.New(f.config)
}
