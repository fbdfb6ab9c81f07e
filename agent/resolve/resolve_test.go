package resolve_test

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

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/resolve"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/upstream"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/prompt"
)

const generic = `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`

// A stage is a resolver with everything around it played by the test. Time is
// that of the synctest bubble.
type stage struct {
	resolver *resolve.Resolver
	broker   *prompt.Broker
	person   *person
	vault    *vault
	audit    *auditor
	tokens   *cache.Memory
	secrets  *secrets
	ledger   *resolve.Ledger
}

func newStage(t *testing.T, change func(*resolve.Config)) *stage {
	t.Helper()
	s := &stage{
		person: &person{}, vault: &vault{capabilities: []string{"read", "update"}}, audit: &auditor{},
		tokens: &cache.Memory{}, secrets: &secrets{}, ledger: resolve.NewLedger(),
	}
	t.Cleanup(s.ledger.Close)
	s.broker = prompt.NewBroker(prompt.BrokerConfig{Prompters: []prompt.Named{{Name: "person", Prompter: s.person}}})
	t.Cleanup(s.broker.Close)
	c := resolve.Config{
		VaultName: "corp", Address: "https://vault", Vault: s.vault, Asker: s.broker, Ledger: s.ledger, Audit: s.audit,
		Tokens: s.tokens, Secrets: s.secrets,
		Identify: func(token cache.Secret) string { return "hmac-" + token.Reveal() },
		Log:      slog.New(slog.DiscardHandler),
		Methods: map[string]mfa.Method{
			"totp":   {Type: "totp", Name: "totp", UsesPasscode: true, Digits: 6},
			"second": {Type: "totp", Name: "second", UsesPasscode: true},
			"okta":   {Type: "okta", Name: "okta"},
			"duo":    {Type: "duo", Name: "duo", UsesPasscode: true, OrPush: true},
		},
	}
	if change != nil {
		change(&c)
	}
	s.resolver = resolve.New(c)
	return s
}

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

type vault struct {
	mu           sync.Mutex
	capabilities []string
	probeErr     error
	probed       []string
	validated    []map[string][]string
	validate     func(ctx context.Context, payload map[string][]string) (*http.Response, error)
	mints        []upstream.MintRequest
	mint         func(ctx context.Context, r upstream.MintRequest) (*http.Response, error)
	passwords    []string
	login        func(ctx context.Context, r upstream.LoginRequest) (*http.Response, error)
	lookup       error  // of a step-up token
	lookups      int    // of those
	path         string // where it was made
	callerDead   bool
}

func (v *vault) Mint(ctx context.Context, r upstream.MintRequest) (*http.Response, error) {
	v.mu.Lock()
	v.mints = append(v.mints, r)
	v.mu.Unlock()
	return v.mint(ctx, r)
}

func (v *vault) Login(ctx context.Context, r upstream.LoginRequest) (*http.Response, error) {
	v.mu.Lock()
	v.passwords = append(v.passwords, r.Password.Reveal())
	v.mu.Unlock()
	return v.login(ctx, r)
}

func (v *vault) LookupSelf(_ context.Context, token cache.Secret, _ string) (upstream.TokenInfo, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case token == "tok" && v.callerDead:
		return upstream.TokenInfo{}, &upstream.StatusError{Status: 403}
	case token == "tok":
		return upstream.TokenInfo{}, nil
	}
	v.lookups++
	return upstream.TokenInfo{Path: v.path}, v.lookup
}

// secrets is the keyring of a test.
type secrets struct {
	password cache.Secret
	err      error
	kept     []string
	codes    []cache.Secret
	printed  cache.Secret // by a command
}

func (s *secrets) Password(context.Context, string, rule.Grant) (cache.Secret, error) {
	if s.err == nil && s.password == "" {
		return "", cache.ErrNotFound
	}
	return s.password, s.err
}

func (s *secrets) Keep(_ context.Context, _ string, _ rule.Grant, password cache.Secret) error {
	s.kept = append(s.kept, password.Reveal())
	s.password = password
	return nil
}

func (s *secrets) Run(context.Context, []string) (cache.Secret, error) { return s.printed, s.err }

// Code gives the first code until half a minute has passed, then the next.
func (s *secrets) Code(_ context.Context, _ string, now time.Time) (cache.Secret, time.Duration, error) {
	if len(s.codes) == 0 {
		return "", 0, cache.ErrNotFound
	}
	step := now.Unix() / 30
	return s.codes[step%int64(len(s.codes))], time.Unix((step+1)*30, 0).Sub(now), nil
}

func (v *vault) Capabilities(_ context.Context, token cache.Secret, namespace, path string) ([]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.probed = append(v.probed, fmt.Sprintf("%s %s/%s", token.Reveal(), namespace, path))
	return v.capabilities, v.probeErr
}

func (v *vault) Validate(ctx context.Context, _ mfa.Challenge, payload map[string][]string) (*http.Response, error) {
	v.mu.Lock()
	v.validated = append(v.validated, payload)
	v.mu.Unlock()
	return v.validate(ctx, payload)
}

type auditor struct {
	mu     sync.Mutex
	events []audit.Event
	slow   func() // called before each event, if set
}

func (a *auditor) Write(r audit.Record) error {
	if a.slow != nil {
		a.slow()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, r.Event)
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

func TestHeaderGrant(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		match   rule.Match
		right   string
		codes   []string
		outcome mfa.Outcome
		text    string
		sent    []string
		asked   []string
		events  []audit.Event
		change  func(*stage)
	}{
		"right at once": {
			match: prod("totp"), right: "totp:111111", codes: []string{"111111"}, outcome: mfa.Approved,
			sent: []string{"totp:111111"}, asked: []string{"passcode totp 1/3 "},
			events: []audit.Event{audit.Challenge, audit.Prompt, audit.Approved},
		},
		"wrong, then right": {
			match: prod("totp"), right: "totp:222222", codes: []string{"111111", "222222"}, outcome: mfa.Approved,
			sent:  []string{"totp:111111", "totp:222222"},
			asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 wrong code, or one that was used: wait for the next one"},
		},
		"always wrong": {
			match: prod("totp"), right: "-", codes: []string{"111111", "222222", "333333"}, outcome: mfa.Rejected, text: "did not accept the codes",
			sent:   []string{"totp:111111", "totp:222222", "totp:333333"},
			events: []audit.Event{audit.Challenge, audit.Prompt, audit.Prompt, audit.Prompt, audit.Rejected},
		},
		"the same code is not sent twice": {
			match: prod("totp"), right: "totp:222222", codes: []string{"111111", "111111", "222222"}, outcome: mfa.Approved,
			sent: []string{"totp:111111", "totp:222222"},
			asked: []string{
				"passcode totp 1/3 ", "passcode totp 2/3 wrong code, or one that was used: wait for the next one",
				"passcode totp 3/3 that code was sent already: wait for the next one",
			},
		},
		"wrong length is not sent": {
			match: prod("totp"), right: "totp:222222", codes: []string{"1234", "222222"}, outcome: mfa.Approved,
			sent: []string{"totp:222222"}, asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 a code of this method has 6 digits"},
		},
		"all methods of the rule": {
			match: prod("totp", "second"), right: "totp:111111,second:abc", codes: []string{"111111", "abc"}, outcome: mfa.Approved,
			sent: []string{"totp:111111,second:abc"}, asked: []string{"passcode totp 1/3 ", "passcode second 1/3 "},
		},
		"code and push: both went first": {match: prod("totp", "okta")},
		"denied": {
			match: prod("totp"), codes: []string{"no"}, outcome: mfa.Denied, text: "was denied",
			events: []audit.Event{audit.Challenge, audit.Prompt, audit.Denied},
		},
		"nobody answers": {
			match: prod("totp"), codes: []string{"never"}, outcome: mfa.Timeout, text: "nobody answered",
			events: []audit.Event{audit.Challenge, audit.Prompt, audit.Timeout},
		},
		"not granted anyway": {match: prod("totp"), change: func(s *stage) { s.vault.capabilities = []string{"list"} }},
		"root":               {match: prod("totp"), change: func(s *stage) { s.vault.capabilities = []string{"root"} }},
		"probe refused": {
			match: prod("totp"), outcome: mfa.Unavailable, text: "capabilities-self: no",
			change: func(s *stage) { s.vault.probeErr = errors.New("no") },
		},
		"only a push: it was sent already": {match: prod("okta")},
		"sent only once": {
			match: rule.Match{Rule: prod("totp").Rule, Request: prod().Request, Once: true}, right: "-", codes: []string{"111111"}, outcome: mfa.Rejected,
			sent: []string{"totp:111111"}, asked: []string{"passcode totp 1/3 "},
		},
		"sent only once, but a slip of the finger is not sent": {
			match: rule.Match{Rule: prod("totp").Rule, Request: prod().Request, Once: true}, right: "totp:222222",
			codes: []string{"1234", "222222"}, outcome: mfa.Approved,
			sent: []string{"totp:222222"}, asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 a code of this method has 6 digits"},
		},
		"no way to ask": {
			match: prod("totp"), outcome: mfa.Unavailable, text: "stepup attach",
			change: func(s *stage) { s.broker.Reconfigure(prompt.BrokerConfig{}) },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, nil)
				s.person.codes(tt.codes...)
				if tt.change != nil {
					tt.change(s)
				}
				up := &sending{right: tt.right}
				resp, v := s.resolver.StepUp(t.Context(), tt.match, "tok", up.send)
				if v.Outcome != tt.outcome || !strings.Contains(v.Message, tt.text) || (v.Message != "") != (tt.text != "" || !v.OK()) {
					t.Errorf("verdict %+v, want %s %q", v, tt.outcome, tt.text)
				}
				if (resp != nil) != (len(tt.sent) > 0) {
					t.Errorf("answer %v after %d sendings", resp, len(tt.sent))
				}
				if d := cmp.Diff(tt.sent, up.lines); d != "" {
					t.Errorf("sent: %s", d)
				}
				if d := cmp.Diff(tt.asked, s.person.messages()); tt.asked != nil && d != "" {
					t.Errorf("asked: %s", d)
				}
				if d := cmp.Diff(tt.events, s.audit.events); tt.events != nil && d != "" {
					t.Errorf("audit: %s", d)
				}
			})
		})
	}
}

func TestProbeAsksForWhatTheAppAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.person.codes("no")
		m := prod("totp")
		m.Request.Namespace, m.Request.Path = "ns1", "sub/kv/data/prod/db"
		s.resolver.StepUp(t.Context(), m, "tok", (&sending{}).send)
		if d := cmp.Diff([]string{"tok ns1/sub/kv/data/prod/db"}, s.vault.probed); d != "" {
			t.Error(d)
		}
	})
}

// After a no there is no prompt for a while: for the same caller and rule, and
// for nobody else.
func TestCooldown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		up := &sending{right: "totp:111111"}
		step := func(m rule.Match, token cache.Secret, codes ...string) mfa.Verdict {
			s.person.codes(codes...)
			_, v := s.resolver.StepUp(t.Context(), m, token, up.send)
			return v
		}
		if v := step(prod("totp"), "tok", "no"); v.Outcome != mfa.Denied {
			t.Fatalf("first: %+v", v)
		}
		time.Sleep(10 * time.Second)
		if v := step(prod("totp"), "tok"); v.Outcome != mfa.Cooldown || !strings.Contains(v.Message, "try again in 20 seconds") {
			t.Errorf("same caller: %+v", v)
		}
		if v := step(prod("totp"), "other", "no"); v.Outcome != mfa.Denied {
			t.Errorf("other caller: %+v", v)
		}
		other := prod("totp")
		other.Rule = &rule.Rule{Name: "else", Methods: []string{"totp"}, Grant: rule.Grant{Kind: rule.HeaderGrant}}
		if v := step(other, "tok", "no"); v.Outcome != mfa.Denied {
			t.Errorf("other rule: %+v", v)
		}
		time.Sleep(20 * time.Second)
		if v := step(prod("totp"), "tok", "111111"); v.Outcome != mfa.Approved {
			t.Errorf("after the cool-down: %+v", v)
		}
	})
}

// Requests of one caller under one rule wait for each other: each is asked for
// a code of its own, and one denial answers all that wait.
func TestOnePromptAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		open := make(chan struct{})
		s.person.answer = func(ctx context.Context, _ prompt.Request) (string, error) {
			select {
			case <-open:
				return "", prompt.ErrDenied
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
		var all sync.WaitGroup
		outcomes := make([]mfa.Outcome, 50)
		for i := range outcomes {
			all.Go(func() {
				_, v := s.resolver.StepUp(t.Context(), prod("totp"), "tok", (&sending{}).send)
				outcomes[i] = v.Outcome
			})
		}
		synctest.Wait()
		time.Sleep(time.Second)
		close(open)
		all.Wait()
		for i, o := range outcomes {
			if o != mfa.Denied {
				t.Errorf("request %d: %s", i, o)
			}
		}
		if n := len(s.person.messages()); n != 1 {
			t.Errorf("%d prompts, want 1", n)
		}
	})
}

// Whoever waited for a no gets it, even if their turn comes when the cool-down
// is over: on a busy machine, a short one ends before all of them were answered.
func TestNoOutlivesTheCooldownForThoseWhoWaited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, func(c *resolve.Config) { c.Cooldown = time.Nanosecond })
		s.person.codes("no")
		asked := make(chan struct{})
		deny := s.person.answer
		s.person.answer = func(ctx context.Context, r prompt.Request) (string, error) {
			<-asked
			return deny(ctx, r)
		}
		s.audit.slow = func() { time.Sleep(time.Second) } // between the no and the next one's turn
		var all sync.WaitGroup
		outcomes := make([]mfa.Outcome, 3)
		for i := range outcomes {
			all.Go(func() {
				_, v := s.resolver.StepUp(t.Context(), prod("totp"), "tok", (&sending{}).send)
				outcomes[i] = v.Outcome
			})
		}
		time.Sleep(10 * time.Second)
		close(asked)
		all.Wait()
		for i, o := range outcomes {
			if o != mfa.Denied {
				t.Errorf("request %d: %s", i, o)
			}
		}
	})
}

func TestSecondWaiterIsToldToWaitForTheNextCode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.person.codes("111111", "222222")
		for _, right := range []string{"totp:111111", "totp:222222"} {
			if _, v := s.resolver.StepUp(t.Context(), prod("totp"), "tok", (&sending{right: right}).send); v.Outcome != mfa.Approved {
				t.Fatalf("%+v", v)
			}
		}
		want := []string{"passcode totp 1/3 ", "passcode totp 1/3 the last code was used a moment ago: wait for the next one"}
		if d := cmp.Diff(want, s.person.messages()); d != "" {
			t.Error(d)
		}
	})
}

// A waiter that was never shown a prompt starts no cool-down.
func TestWaiterTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.person.answer = func(ctx context.Context, _ prompt.Request) (string, error) {
			time.Sleep(50 * time.Second)
			return "111111", nil
		}
		up := &sending{right: "totp:111111", delay: 20 * time.Second}
		var first, second mfa.Verdict
		var all sync.WaitGroup
		all.Go(func() { _, first = s.resolver.StepUp(t.Context(), prod("totp"), "tok", up.send) })
		synctest.Wait()
		all.Go(func() { _, second = s.resolver.StepUp(t.Context(), prod("totp"), "tok", up.send) })
		all.Wait()
		if first.Outcome != mfa.Approved || second.Outcome != mfa.Timeout || !strings.Contains(second.Message, "another request") {
			t.Errorf("first %+v, second %+v", first, second)
		}
	})
}

// Nobody is asked for an app that left, and its departure is nobody's no.
func TestAppLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.person.codes("never")
		ctx, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { s.resolver.StepUp(ctx, prod("totp"), "tok", (&sending{}).send) })
		synctest.Wait()
		if n := s.broker.Len(); n != 1 {
			t.Errorf("%d prompts pending", n)
		}
		leave()
		all.Wait()
		if n := s.broker.Len(); n != 0 {
			t.Errorf("%d prompts pending after the app left", n)
		}
		s.person.codes("111111")
		if _, v := s.resolver.StepUp(t.Context(), prod("totp"), "tok", (&sending{right: "totp:111111"}).send); v.Outcome != mfa.Approved {
			t.Errorf("next try: %+v", v)
		}
	})
}
