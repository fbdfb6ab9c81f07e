package stepup_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
)

func TestTokenGrant(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("000000", "111111")
		f.vault.mint, f.up.right = mints("totp:111111", "new"), "token new"
		for _, outcome := range []mfa.Outcome{mfa.Approved, mfa.Cached, mfa.Cached} {
			f.request(t.Context(), deploy()).check(t, want{outcome: outcome, status: 200})
		}
		equal(t, "sent", []string{"", "token new", "token new", "token new"}, f.up.lines())
		mint := f.vault.mints[1]
		mint.Credentials = nil
		equal(t, "mint", vault.MintRequest{
			Path: "auth/token/create/stepup", Token: "tok", TTL: 5 * time.Minute, Policies: []string{"stepup"},
		}, mint)
		entries, err := f.tokens.List(t.Context())
		if err != nil || len(entries) != 1 {
			t.Fatalf("%d tokens, %v", len(entries), err)
		}
		token := entries[0].Token
		equal(t, "key", keyOf("tok"), entries[0].Key)
		equal(t, "token", cache.Token{Index: "index-new", Accessor: "acc-new"}, cache.Token{Index: token.Index, Accessor: token.Accessor})
		if left := time.Until(token.Expires); left <= 4*time.Minute || left >= 5*time.Minute {
			t.Errorf("expires in %s", left)
		}
		if last := f.audit.last.Event; last != audit.Cached {
			t.Errorf("audit ends with %s", last)
		}
		time.Sleep(5 * time.Minute)
		f.person.codes("no")
		f.request(t.Context(), deploy()).check(t, want{outcome: mfa.Denied}) // after the token's life
	})
}

// The token of one caller is not that of another, nor of a caller without one.
func TestTokenIsBoundToTheCaller(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("111111")
		f.vault.mint, f.up.right = mints("totp:111111", "new"), "token new"
		f.request(t.Context(), deploy()).check(t, want{outcome: mfa.Approved})
		other := deploy()
		other.Rule.Name = "other"
		for _, m := range []rule.Match{in(deploy(), "ns1"), other} {
			f.first(t.Context(), m).check(t, want{status: 403})
		}
		f.of(f.resolver.First(t.Context(), deploy(), "else", f.up.send)).check(t, want{status: 403})
	})
}

func TestCached403(t *testing.T) {
	type test struct {
		lookup  error
		codes   []string
		outcome mfa.Outcome
		status  int
		sent    []string
	}
	run(t, map[string]test{
		"token lives: Vault decides":   {nil, nil, mfa.Cached, 403, []string{"token old"}},
		"vault cannot say":             {errors.New("gone"), nil, mfa.Cached, 403, []string{"token old"}},
		"token lives, may not look":    {&vault.StatusError{Status: 403, Errors: []string{"1 error occurred:\n\t* permission denied\n\n"}}, nil, mfa.Cached, 403, []string{"token old"}},
		"token is dead, vault says it": {&vault.StatusError{Status: 403, Errors: []string{"2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"}}, []string{"111111"}, mfa.Approved, 200, []string{"token old", "token new"}},
		"token is dead: once more":     {dead(), []string{"111111"}, mfa.Approved, 200, []string{"token old", "token new"}},
		"token is dead, person denies": {dead(), []string{"no"}, mfa.Denied, 403, []string{"token old"}},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.cached(t, keyOf("tok"), "old")
		f.person.codes(tt.codes...)
		f.vault.lookup = tt.lookup
		f.vault.mint, f.up.right = mints("totp:111111", "new"), "token new"
		f.first(t.Context(), deploy()).check(t, want{outcome: tt.outcome, status: tt.status, sent: tt.sent})
		equal(t, "look-ups", 1, f.vault.lookups)
	})
}

func TestEagerAndNoReplay(t *testing.T) {
	run(t, map[string]func(*rule.Match){
		"eager": func(m *rule.Match) { m.Rule.Grant.Eager = true },
		"once":  func(m *rule.Match) { m.NoReplay = true },
	}, func(t *testing.T, change func(*rule.Match)) {
		f := newFixture(t, nil)
		f.person.codes("111111")
		f.vault.mint, f.up.right = mints("totp:111111", "new"), "token new"
		m := deploy()
		change(&m)
		f.try(t.Context(), m).check(t, want{outcome: mfa.Approved})
		f.try(t.Context(), m).check(t, want{
			outcome: mfa.Cached, sent: []string{"token new", "token new"},
			audited: []audit.Event{audit.Challenge, audit.Prompt, audit.Approved, audit.Cached},
		})
	})
}

// try sends a request, or steps it up at once where it can be sent only once.
func (f *fixture) try(ctx context.Context, m rule.Match) result {
	if m.NoReplay {
		return f.stepUp(ctx, m)
	}
	return f.first(ctx, m)
}

// No prompt is shown for a caller whose own token is dead, even before a 403 has said so.
func TestDeadCaller(t *testing.T) {
	type test struct {
		match  func(*rule.Match)
		cached bool
		sent   []string
	}
	run(t, map[string]test{
		"eager":               {match: func(m *rule.Match) { m.Rule.Grant.Eager = true }, sent: []string{""}},
		"once":                {match: func(m *rule.Match) { m.NoReplay = true }, sent: nothing},
		"cached token is too": {match: func(*rule.Match) {}, cached: true, sent: []string{""}},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.vault.callerDead, f.vault.lookup = true, dead()
		f.person.codes("111111")
		f.vault.mint, f.up.right = mints("totp:111111", "new"), "token new"
		m := deploy()
		tt.match(&m)
		if tt.cached {
			f.cached(t, keyOf("tok"), "old")
		}
		f.try(t.Context(), m).check(t, want{sent: tt.sent})
		equal(t, "mints", 0, len(f.vault.mints))
	})
}

// With num_uses a token serves only so many requests; the next steps up again.
func TestUsesAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("111111", "222222")
		f.vault.mint = inOrder(minted("t1", 300, 2), minted("t2", 300, 2))
		for _, outcome := range []mfa.Outcome{mfa.Approved, mfa.Cached, mfa.Approved} {
			f.request(t.Context(), deploy()).check(t, want{outcome: outcome})
		}
	})
}

// A cached token serves a rule that never prompts, too.
func TestRuleThatNeverPromptsUsesTheCache(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("111111")
		f.vault.mint, f.up.right = mints("totp:111111", "new"), "token new"
		f.request(t.Context(), deploy()).check(t, want{outcome: mfa.Approved})
		m := deploy()
		m.Rule.Silent = true
		f.request(t.Context(), m).check(t, want{outcome: mfa.Cached})
	})
}
