package stepup_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
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
func mintsWith(right string, tokens ...string) func(context.Context, vault.MintRequest) (*http.Response, error) {
	return func(_ context.Context, r vault.MintRequest) (*http.Response, error) {
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
func first(ctx context.Context, s *fixture, m rule.Match, up *sending) (*http.Response, mfa.Verdict, error) {
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
		s := newFixture(t, nil)
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
		s := newFixture(t, nil)
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

func TestCached403(t *testing.T) {
	t.Parallel()
	type test struct {
		lookup  error
		codes   []string
		outcome mfa.Outcome
		status  int
		sent    []string
	}
	tests := map[string]test{
		"token lives: vault's word":    {nil, nil, mfa.Cached, 403, []string{"token old"}},
		"vault cannot say":             {errors.New("gone"), nil, mfa.Cached, 403, []string{"token old"}},
		"token lives, may not look":    {&vault.StatusError{Status: 403, Errors: []string{"1 error occurred:\n\t* permission denied\n\n"}}, nil, mfa.Cached, 403, []string{"token old"}},
		"token is dead, vault says it": {&vault.StatusError{Status: 403, Errors: []string{"2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"}}, []string{"111111"}, mfa.Approved, 200, []string{"token old", "token new"}},
		"token is dead: once more":     {dead(), []string{"111111"}, mfa.Approved, 200, []string{"token old", "token new"}},
		"token is dead, person denies": {dead(), []string{"no"}, mfa.Denied, 403, []string{"token old"}},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s := newFixture(t, nil)
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
}

func TestMintRefused(t *testing.T) {
	t.Parallel()
	type test struct {
		status  int
		body    string
		change  func(*fixture)
		outcome mfa.Outcome
		text    string
		mints   int
	}
	tests := map[string]test{
		"wrong codes":         {403, generic, nil, mfa.Rejected, "did not accept", 3},
		"may not mint at all": {403, generic, func(s *fixture) { s.vault.capabilities = []string{"deny"} }, mfa.Unavailable, "may not create tokens at auth/token/create/stepup", 1},
		"dead token":          {403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`, nil, mfa.Unavailable, "invalid token", 1},
		"bad role":            {400, `{"errors":["unknown role stepup"]}`, nil, mfa.Unavailable, "unknown role stepup", 1},
		"no token in it":      {200, `{"data":{}}`, nil, mfa.Unavailable, "without a token", 1},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s := newFixture(t, nil)
		s.person.codes("111111", "222222", "333333")
		if tt.change != nil {
			tt.change(s)
		}
		s.vault.mint = func(context.Context, vault.MintRequest) (*http.Response, error) {
			return answer(tt.status, tt.body), nil
		}
		_, v := s.resolver.StepUp(t.Context(), deploy(), "tok", (&sending{}).send)
		if v.Outcome != tt.outcome || !strings.Contains(v.Message, tt.text) || len(s.vault.mints) != tt.mints {
			t.Errorf("%+v after %d mints", v, len(s.vault.mints))
		}
	})
}

func TestEagerAndOnce(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*rule.Match){
		"eager": func(m *rule.Match) { m.Rule.Grant.Eager = true },
		"once":  func(m *rule.Match) { m.NoReplay = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFixture(t, nil)
				s.person.codes("111111")
				s.vault.mint = mintsWith("totp:111111", "new")
				up := &sending{right: "token new"}
				m := deploy()
				change(&m)
				call := func() (*http.Response, mfa.Verdict) {
					if m.NoReplay {
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
				if d := cmp.Diff([]audit.Event{audit.Challenge, audit.Prompt, audit.Approved, audit.Cached}, s.audit.events); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

// Nobody is asked for an app whose own token is dead, though no 403 has said so.
func TestDeadCaller(t *testing.T) {
	t.Parallel()
	type test struct {
		match  func(*rule.Match)
		cached bool
		sent   []string
	}
	tests := map[string]test{
		"eager":               {match: func(m *rule.Match) { m.Rule.Grant.Eager = true }, sent: []string{""}},
		"once":                {match: func(m *rule.Match) { m.NoReplay = true }},
		"cached token is too": {match: func(*rule.Match) {}, cached: true, sent: []string{""}},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s := newFixture(t, nil)
		s.vault.callerDead, s.vault.lookup = true, dead()
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
		if m.NoReplay {
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
}

// With num_uses a token serves only so many requests; the next steps up again.
func TestUsesAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.codes("111111", "222222")
		n := 0
		s.vault.mint = func(context.Context, vault.MintRequest) (*http.Response, error) {
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
