package resolve_test

import (
	"context"
	"errors"
	"fmt"
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

func minted(token string, ttl, uses int) *http.Response {
	r := answer(200, fmt.Sprintf(`{"auth":{"client_token":%q,"accessor":"acc-%s","lease_duration":%d,"num_uses":%d}}`, token, token, ttl, uses))
	r.Header.Set("X-Vault-Index", "index-"+token)
	return r
}

// mintsWith gives tokens one after the other to the right code.
func mintsWith(right string, tokens ...string) func(context.Context, upstream.MintRequest) (*http.Response, error) {
	return func(_ context.Context, r upstream.MintRequest) (*http.Response, error) {
		if len(r.Credentials) != 1 || r.Credentials[0].Header() != right {
			return answer(403, generic), nil
		}
		if len(tokens) == 0 {
			return nil, errors.New("minted too often")
		}
		next := tokens[0]
		tokens = tokens[1:]
		return minted(next, 300, 0), nil
	}
}

// first is what the relay does: send, and step up after a 403.
func first(ctx context.Context, s *stage, m rule.Match, up *sending) (*http.Response, mfa.Verdict, error) {
	resp, v, err := s.resolver.First(ctx, m, "tok", up.send)
	if err != nil || v.Outcome != "" || resp.StatusCode != http.StatusForbidden {
		return resp, v, err
	}
	resp, v = s.resolver.StepUp(ctx, m, "tok", up.send)
	return resp, v, nil
}

func TestTokenGrant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.person.codes("000000", "111111")
		s.vault.mint = mintsWith("totp:111111", "new")
		up := &sending{right: "token new"}
		for i, want := range []mfa.Outcome{mfa.Approved, mfa.Cached, mfa.Cached} {
			resp, v, err := first(t.Context(), s, deploy(), up)
			if err != nil || v.Outcome != want || resp.StatusCode != 200 {
				t.Fatalf("request %d: %v %+v %v", i, resp, v, err)
			}
		}
		if d := cmp.Diff([]string{"", "token new", "token new", "token new"}, up.lines); d != "" {
			t.Errorf("sent: %s", d)
		}
		mint := s.vault.mints[1]
		if mint.Path != "auth/token/create/stepup" || mint.Token.Reveal() != "tok" || mint.TTL != 5*time.Minute || !cmp.Equal(mint.Policies, []string{"stepup"}) {
			t.Errorf("minted %+v", mint.Path)
		}
		entries, err := s.tokens.List(t.Context())
		if err != nil || len(entries) != 1 {
			t.Fatalf("%d tokens, %v", len(entries), err)
		}
		key, token := entries[0].Key, entries[0].Token
		if key.Rule != "deploy" || key.Identity != "hmac-tok" || key.Vault != "corp https://vault" || token.Index != "index-new" || token.Accessor != "acc-new" {
			t.Errorf("cached %+v under %+v", token.Accessor, key)
		}
		if left := time.Until(token.Expires); left <= 4*time.Minute || left >= 5*time.Minute {
			t.Errorf("expires in %s", left)
		}
		if last := s.audit.events[len(s.audit.events)-1]; last != audit.Cached {
			t.Errorf("audit ends with %s", last)
		}
		time.Sleep(5 * time.Minute)
		s.person.codes("no")
		if _, v, _ := first(t.Context(), s, deploy(), up); v.Outcome != mfa.Denied {
			t.Errorf("after its life: %+v", v)
		}
	})
}

// The token of one caller is not that of another, nor of a caller without one.
func TestTokenIsBoundToTheCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.person.codes("111111")
		s.vault.mint = mintsWith("totp:111111", "new")
		up := &sending{right: "token new"}
		if _, v, err := first(t.Context(), s, deploy(), up); v.Outcome != mfa.Approved || err != nil {
			t.Fatalf("%+v %v", v, err)
		}
		for _, m := range []rule.Match{
			{Rule: deploy().Rule, Request: rule.Request{Namespace: "ns1", Path: "kv/data/deploy/x", Operation: rule.Read}},
			{Rule: &rule.Rule{Name: "other", Grant: deploy().Rule.Grant}, Request: deploy().Request},
		} {
			if resp, v, _ := s.resolver.First(t.Context(), m, "tok", up.send); v.Outcome != "" || resp.StatusCode != 403 {
				t.Errorf("served to %+v", m.Request)
			}
		}
		if resp, v, _ := s.resolver.First(t.Context(), deploy(), "else", up.send); v.Outcome != "" || resp.StatusCode != 403 {
			t.Error("served to another caller")
		}
	})
}

// A thousand requests of one caller make one prompt and one mint.
func TestOneFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.person.answer = func(context.Context, prompt.Request) (string, error) {
			time.Sleep(10 * time.Second)
			return "111111", nil
		}
		s.vault.mint = mintsWith("totp:111111", "new")
		up := &sending{right: "token new"}
		var all sync.WaitGroup
		for i := range crowd {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if resp, v, err := first(t.Context(), s, deploy(), up); err != nil || v.Outcome != mfa.Approved || resp.StatusCode != 200 {
					t.Errorf("request %d: %+v %v", i, v, err)
				}
			})
		}
		all.Wait()
		if n, m := len(s.person.messages()), len(s.vault.mints); n != 1 || m != 1 {
			t.Errorf("%d prompts, %d mints", n, m)
		}
	})
}

func TestDenialAnswersAllWaiters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.person.answer = func(context.Context, prompt.Request) (string, error) {
			time.Sleep(10 * time.Second)
			return "", prompt.ErrDenied
		}
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if _, v, _ := first(t.Context(), s, deploy(), &sending{right: "-"}); v.Outcome != mfa.Denied {
					t.Errorf("%+v", v)
				}
			})
		}
		all.Wait()
		if n := len(s.person.messages()); n != 1 {
			t.Errorf("%d prompts", n)
		}
		if _, v, _ := first(t.Context(), s, deploy(), &sending{right: "-"}); v.Outcome != mfa.Cooldown {
			t.Errorf("the next: %+v", v)
		}
	})
}

// Two callers, and two rules, do not wait for each other's mint.
func TestFlightsAreIndependent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		n := 0
		s.person.answer = func(context.Context, prompt.Request) (string, error) {
			n++
			return fmt.Sprintf("%06d", n), nil
		}
		s.vault.mint = func(_ context.Context, r upstream.MintRequest) (*http.Response, error) {
			time.Sleep(time.Minute)
			return minted("for-"+r.Token.Reveal(), 300, 0), nil
		}
		started := time.Now()
		var all sync.WaitGroup
		for _, caller := range []cache.Secret{"a", "b", "c"} {
			all.Go(func() {
				up := &sending{right: "token for-" + caller.Reveal()}
				if _, v := s.resolver.StepUp(t.Context(), deploy(), caller, up.send); v.Outcome != mfa.Approved {
					t.Errorf("%+v", v)
				}
			})
		}
		all.Wait()
		if took := time.Since(started); took > 61*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// The flight outlives the app that started it: a late answer fills the cache.
func TestFlightSurvivesItsStarter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.person.answer = func(context.Context, prompt.Request) (string, error) {
			time.Sleep(30 * time.Second)
			return "111111", nil
		}
		s.vault.mint = mintsWith("totp:111111", "new")
		up := &sending{right: "token new"}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, v, _ := first(ctx, s, deploy(), up); v.OK() {
			t.Errorf("app that left got %+v", v)
		}
		time.Sleep(time.Minute)
		if _, v, err := first(t.Context(), s, deploy(), up); v.Outcome != mfa.Cached || err != nil {
			t.Errorf("next try: %+v %v", v, err)
		}
	})
}

func TestCached403(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		lookup  error
		codes   []string
		outcome mfa.Outcome
		status  int
		sent    []string
	}{
		"token lives: vault's word":    {nil, nil, mfa.Cached, 403, []string{"token old"}},
		"vault cannot say":             {errors.New("gone"), nil, mfa.Cached, 403, []string{"token old"}},
		"token lives, may not look":    {&upstream.StatusError{Status: 403, Errors: []string{"1 error occurred:\n\t* permission denied\n\n"}}, nil, mfa.Cached, 403, []string{"token old"}},
		"token is dead, vault says it": {&upstream.StatusError{Status: 403, Errors: []string{"2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"}}, []string{"111111"}, mfa.Approved, 200, []string{"token old", "token new"}},
		"token is dead: once more":     {&upstream.StatusError{Status: 403}, []string{"111111"}, mfa.Approved, 200, []string{"token old", "token new"}},
		"token is dead, person denies": {&upstream.StatusError{Status: 403}, []string{"no"}, mfa.Denied, 403, []string{"token old"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, nil)
				key := cache.Key{Vault: "corp https://vault", Identity: "hmac-tok", Rule: "deploy"}
				old := cache.Token{Secret: "old", Created: time.Now(), Expires: time.Now().Add(time.Minute)}
				if err := s.tokens.Put(t.Context(), key, old); err != nil {
					t.Fatal(err)
				}
				s.person.codes(tt.codes...)
				s.vault.lookup = tt.lookup
				s.vault.mint = mintsWith("totp:111111", "new")
				up := &sending{right: "token new"}
				resp, v, err := s.resolver.First(t.Context(), deploy(), "tok", up.send)
				if err != nil || v.Outcome != tt.outcome || resp.StatusCode != tt.status {
					t.Errorf("%v %+v %v", resp, v, err)
				}
				if d := cmp.Diff(tt.sent, up.lines); d != "" || s.vault.lookups != 1 {
					t.Errorf("%d look-ups, sent %s", s.vault.lookups, d)
				}
			})
		})
	}
}

func TestMintRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status  int
		body    string
		change  func(*stage)
		outcome mfa.Outcome
		text    string
		mints   int
	}{
		"wrong codes":         {403, generic, nil, mfa.Rejected, "did not accept", 3},
		"may not mint at all": {403, generic, func(s *stage) { s.vault.capabilities = []string{"deny"} }, mfa.Unavailable, "may not create tokens at auth/token/create/stepup", 1},
		"dead token":          {403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`, nil, mfa.Unavailable, "invalid token", 1},
		"bad role":            {400, `{"errors":["unknown role stepup"]}`, nil, mfa.Unavailable, "unknown role stepup", 1},
		"no token in it":      {200, `{"data":{}}`, nil, mfa.Unavailable, "without a token", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, nil)
				s.person.codes("111111", "222222", "333333")
				if tt.change != nil {
					tt.change(s)
				}
				s.vault.mint = func(context.Context, upstream.MintRequest) (*http.Response, error) {
					return answer(tt.status, tt.body), nil
				}
				_, v := s.resolver.StepUp(t.Context(), deploy(), "tok", (&sending{}).send)
				if v.Outcome != tt.outcome || !strings.Contains(v.Message, tt.text) || len(s.vault.mints) != tt.mints {
					t.Errorf("%+v after %d mints", v, len(s.vault.mints))
				}
			})
		})
	}
}

func TestEagerAndOnce(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*rule.Match){
		"eager": func(m *rule.Match) { m.Rule.Grant.Eager = true },
		"once":  func(m *rule.Match) { m.Once = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, nil)
				s.person.codes("111111")
				s.vault.mint = mintsWith("totp:111111", "new")
				up := &sending{right: "token new"}
				m := deploy()
				change(&m)
				call := func() (*http.Response, mfa.Verdict) {
					if m.Once {
						return s.resolver.StepUp(t.Context(), m, "tok", up.send)
					}
					resp, v, _ := s.resolver.First(t.Context(), m, "tok", up.send)
					return resp, v
				}
				for _, want := range []mfa.Outcome{mfa.Approved, mfa.Cached} {
					if _, v := call(); v.Outcome != want {
						t.Errorf("%+v, want %s", v, want)
					}
				}
				if d := cmp.Diff([]string{"token new", "token new"}, up.lines); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

// Nobody is asked for an app whose own token is dead, though no 403 has said so.
func TestDeadCaller(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		match  func(*rule.Match)
		cached bool
		sent   []string
	}{
		"eager":               {match: func(m *rule.Match) { m.Rule.Grant.Eager = true }, sent: []string{""}},
		"once":                {match: func(m *rule.Match) { m.Once = true }},
		"cached token is too": {match: func(*rule.Match) {}, cached: true, sent: []string{"token old"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, nil)
				s.vault.callerDead, s.vault.lookup = true, &upstream.StatusError{Status: 403}
				s.person.codes("111111")
				s.vault.mint = mintsWith("totp:111111", "new")
				m := deploy()
				tt.match(&m)
				if tt.cached {
					key := cache.Key{Vault: "corp https://vault", Identity: "hmac-tok", Rule: "deploy"}
					old := cache.Token{Secret: "old", Created: time.Now(), Expires: time.Now().Add(time.Minute)}
					if err := s.tokens.Put(t.Context(), key, old); err != nil {
						t.Fatal(err)
					}
				}
				up := &sending{right: "token new"}
				var v mfa.Verdict
				var err error
				if m.Once {
					_, v = s.resolver.StepUp(t.Context(), m, "tok", up.send)
				} else {
					_, v, err = s.resolver.First(t.Context(), m, "tok", up.send)
				}
				if v.Outcome != "" || err != nil {
					t.Errorf("verdict %+v, want none; %v", v, err)
				}
				if d := cmp.Diff(tt.sent, up.lines); d != "" || len(s.vault.mints) != 0 {
					t.Errorf("%d mints, sent %s", len(s.vault.mints), d)
				}
			})
		})
	}
}

// With num_uses a token serves only so many requests; the next steps up again.
func TestUsesAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.person.codes("111111", "222222")
		n := 0
		s.vault.mint = func(context.Context, upstream.MintRequest) (*http.Response, error) {
			n++
			return minted(fmt.Sprint("t", n), 300, 2), nil
		}
		up := &sending{right: "-"}
		for _, want := range []mfa.Outcome{mfa.Approved, mfa.Cached, mfa.Approved} {
			if _, v, _ := first(t.Context(), s, deploy(), up); v.Outcome != want {
				t.Errorf("%+v, want %s", v, want)
			}
		}
	})
}

// stepup lock ends flights: what they would have found is not there.
func TestLockEndsFlights(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.person.codes("111111")
		s.vault.mint = func(ctx context.Context, _ upstream.MintRequest) (*http.Response, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		done := make(chan mfa.Verdict)
		go func() {
			_, v := s.resolver.StepUp(t.Context(), deploy(), "tok", (&sending{}).send)
			done <- v
		}()
		synctest.Wait()
		s.ledger.CancelFlights()
		if v := <-done; v.Outcome != mfa.Denied || !strings.Contains(v.Message, "stepup lock") {
			t.Errorf("%+v", v)
		}
		s.person.codes("222222")
		s.vault.mint = mintsWith("totp:222222", "new")
		if _, v := s.resolver.StepUp(t.Context(), deploy(), "tok", (&sending{right: "token new"}).send); v.Outcome != mfa.Approved {
			t.Errorf("after the lock: %+v", v)
		}
	})
}

const heldLogin = `{"auth":{"client_token":"","mfa_requirement":{"mfa_request_id":"r","mfa_constraints":{"a":{"any":[{"type":"totp","id":"m1","uses_passcode":true,"name":"corp"}]}}}}}`

func TestLoginGrant(t *testing.T) {
	t.Parallel()
	wrong := `{"errors":["invalid username or password"]}`
	tests := map[string]struct {
		answers   []string // to prompts, in order
		logins    []*http.Response
		validates []*http.Response
		outcome   mfa.Outcome
		text      string
		passwords []string
		asked     []string
		kept      []string
		change    func(*stage, *rule.Grant)
	}{
		"password and code": {
			answers: []string{"pw", "111111"}, logins: []*http.Response{answer(200, heldLogin)}, validates: []*http.Response{minted("new", 300, 0)},
			outcome: mfa.Approved, passwords: []string{"pw"}, asked: []string{"password auth/stepup/login/alice 1/3 ", "passcode corp 1/3 "},
		},
		"wrong password, then wrong code": {
			answers: []string{"bad", "pw", "000000", "111111"}, logins: []*http.Response{answer(400, wrong), answer(200, heldLogin)},
			validates: []*http.Response{answer(403, wrongText), minted("new", 300, 0)}, outcome: mfa.Approved, passwords: []string{"bad", "pw"},
			asked: []string{
				"password auth/stepup/login/alice 1/3 ", "password auth/stepup/login/alice 2/3 wrong password (invalid username or password)",
				"passcode corp 1/3 ", "passcode corp 2/3 wrong code, or one that was used: wait for the next one",
			},
		},
		"no second factor asked": {
			answers: []string{"pw"}, logins: []*http.Response{minted("new", 300, 0)}, outcome: mfa.Approved, passwords: []string{"pw"},
		},
		"password from the keyring": {
			answers: []string{"111111"}, logins: []*http.Response{answer(200, heldLogin)}, validates: []*http.Response{minted("new", 300, 0)},
			outcome: mfa.Approved, passwords: []string{"kept"},
			change: func(s *stage, g *rule.Grant) { g.Password, s.secrets.password = "keyring", "kept" },
		},
		"typed password is kept": {
			answers: []string{"pw", "111111"}, logins: []*http.Response{answer(200, heldLogin)}, validates: []*http.Response{minted("new", 300, 0)},
			outcome: mfa.Approved, passwords: []string{"pw"}, kept: []string{"pw"},
			change: func(_ *stage, g *rule.Grant) { g.Password = "keyring" },
		},
		"kept password is wrong": {
			answers: []string{"pw", "111111"}, logins: []*http.Response{answer(400, wrong), answer(200, heldLogin)}, validates: []*http.Response{minted("new", 300, 0)},
			outcome: mfa.Approved, passwords: []string{"old", "pw"}, kept: []string{"", "pw"},
			change: func(s *stage, g *rule.Grant) { g.Password, s.secrets.password = "keyring", "old" },
		},
		"password of a command is wrong": {
			logins: []*http.Response{answer(400, wrong)}, outcome: mfa.Rejected, text: "invalid username or password", passwords: []string{"cmd"},
			change: func(s *stage, g *rule.Grant) {
				g.Password, g.PasswordCommand, s.secrets.password = "", []string{"pass"}, "cmd"
			},
		},
		"passwords used up": {
			answers: []string{"a", "b", "c"}, logins: []*http.Response{answer(400, wrong), answer(400, wrong), answer(400, wrong)}, outcome: mfa.Rejected,
			text: "did not accept the password", passwords: []string{"a", "b", "c"},
		},
		"no such path":     {answers: []string{"pw"}, logins: []*http.Response{answer(404, `{"errors":["no handler"]}`)}, outcome: mfa.Unavailable, text: "no handler", passwords: []string{"pw"}},
		"password denied":  {answers: []string{"no"}, outcome: mfa.Denied},
		"code denied":      {answers: []string{"pw", "no"}, logins: []*http.Response{answer(200, heldLogin)}, outcome: mfa.Denied, passwords: []string{"pw"}},
		"broken challenge": {answers: []string{"pw"}, logins: []*http.Response{answer(200, heldLogin[:99])}, outcome: mfa.Unavailable, text: "without a token", passwords: []string{"pw"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, nil)
				s.person.codes(tt.answers...)
				m := secure()
				if tt.change != nil {
					tt.change(s, &m.Rule.Grant)
				}
				s.vault.login = func(context.Context, upstream.LoginRequest) (*http.Response, error) {
					next := tt.logins[0]
					tt.logins = tt.logins[1:]
					return next, nil
				}
				s.vault.validate = func(context.Context, map[string][]string) (*http.Response, error) {
					next := tt.validates[0]
					tt.validates = tt.validates[1:]
					return next, nil
				}
				_, v, err := first(t.Context(), s, m, &sending{right: "token new"})
				if err != nil || v.Outcome != tt.outcome || !strings.Contains(v.Message, tt.text) {
					t.Errorf("%+v %v, want %s %q", v, err, tt.outcome, tt.text)
				}
				if d := cmp.Diff(tt.passwords, s.vault.passwords); d != "" {
					t.Errorf("passwords: %s", d)
				}
				if d := cmp.Diff(tt.kept, s.secrets.kept); d != "" {
					t.Errorf("kept: %s", d)
				}
				if d := cmp.Diff(tt.asked, s.person.messages()); tt.asked != nil && d != "" {
					t.Errorf("asked: %s", d)
				}
			})
		})
	}
}

// A kept seed is used only after the person said yes, and never twice in a
// period.
func TestCodeFromSeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, func(c *resolve.Config) { c.FromSeed = map[string]bool{"totp": true} })
		s.secrets.codes = []cache.Secret{"111111", "222222"}
		s.person.codes("yes", "yes")
		sent := []string{}
		for range 2 {
			up := &sending{right: "-"}
			done := make(chan struct{})
			up.right = "totp:" + map[int]string{0: "111111", 1: "222222"}[len(sent)]
			go func() {
				defer close(done)
				if _, v := s.resolver.StepUp(t.Context(), prod("totp"), "tok", up.send); v.Outcome != mfa.Approved {
					t.Errorf("%+v", v)
				}
			}()
			<-done
			sent = append(sent, up.lines...)
		}
		if d := cmp.Diff([]string{"totp:111111", "totp:222222"}, sent); d != "" {
			t.Error(d)
		}
		if got := s.person.messages(); len(got) != 2 || !strings.HasPrefix(got[0], "confirm totp") {
			t.Errorf("asked %v", got)
		}
		s.person.codes("no")
		if _, v := s.resolver.StepUp(t.Context(), prod("totp"), "tok", (&sending{}).send); v.Outcome != mfa.Denied {
			t.Errorf("without a yes: %+v", v)
		}
	})
}
