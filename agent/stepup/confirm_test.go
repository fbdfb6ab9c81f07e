package stepup_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/prompt"
)

// With confirm, a token that is there serves a request after a yes, and none after a no. The
// request that it was made for is not asked about twice, and an express lane has no part in it.
func TestConfirmEachUse(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		m := deploy()
		m.Rule.Confirm = true
		f.person.codes("111111", "yes", "no", "yes")
		f.vault.mint, f.up.right = mints("totp:111111", "new"), "token new"
		for i, outcome := range []mfa.Outcome{mfa.Approved, mfa.Cached, mfa.Denied, mfa.Cooldown, mfa.Cached} {
			if i == 4 {
				time.Sleep(time.Minute) // the cool-down
			}
			r := f.request(t.Context(), m)
			if r.v.Outcome != outcome {
				t.Fatalf("request %d: %+v, want %s", i, r.v, outcome)
			}
			if _, ok := f.resolver.Cached(t.Context(), m, "tok"); ok {
				t.Error("an express lane may use the token")
			}
		}
		for i, kind := range []prompt.Kind{prompt.Passcode, prompt.Confirm, prompt.Confirm, prompt.Confirm} {
			if q := f.person.asked[i]; q.Kind != kind || kind == prompt.Confirm && q.Allows != "" {
				t.Errorf("question %d: %s, allows %q", i, q.Kind, q.Allows)
			}
		}
		m.Preflight = true
		f.request(t.Context(), m).check(t, want{outcome: mfa.Cached})
		equal(t, "questions", 4, len(f.person.asked))
	})
}

// A request that waited with the first one is a use of its own.
func TestConfirmWhoWaited(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		m := deploy()
		m.Rule.Confirm = true
		f.person.codes("10s 111111", "yes")
		f.vault.mint, f.up.right = mints("totp:111111", "new"), "token new"
		second := make(chan result)
		go func() { second <- f.request(t.Context(), m) }()
		f.request(t.Context(), m).check(t, want{outcome: mfa.Approved})
		(<-second).check(t, want{outcome: mfa.Approved})
		equal(t, "questions", 2, len(f.person.asked))
	})
}

// There is no question for a caller that is dead.
func TestConfirmForADeadCaller(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		m := deploy()
		m.Rule.Confirm = true
		f.cached(t, keyOf("tok"), "new")
		f.vault.dies()
		f.request(t.Context(), m)
		equal(t, "questions", 0, len(f.person.asked))
	})
}

// While Vault does not tell whether the caller is alive, there is no question, and no token that is
// there serves.
func TestConfirmWithoutLookup(t *testing.T) {
	for name, noReplay := range map[string]bool{"replay": false, "no replay": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fixture) {
				m := deploy()
				m.Rule.Confirm, m.NoReplay = true, noReplay
				f.person.codes("yes")
				f.cached(t, keyOf("tok"), "new")
				f.up.right = "token new"
				send := f.request
				if noReplay {
					send = f.stepUp
				}
				send(t.Context(), m).check(t, want{outcome: mfa.Cached})
				f.vault.caller = func() (vault.TokenInfo, error) { return vault.TokenInfo{}, errors.New("too many requests") }
				if r := send(t.Context(), m); r.v.Outcome == mfa.Cached {
					t.Error("served without a yes")
				}
				equal(t, "questions", 1, len(f.person.asked))
			})
		})
	}
}

// lateTokens are tokens that come after the first look for them.
type lateTokens struct {
	*cache.Memory
	looked bool
}

func (l *lateTokens) Get(ctx context.Context, k cache.Key) (cache.Token, error) {
	if !l.looked {
		l.looked = true
		return cache.Token{}, cache.ErrNotFound
	}
	return l.Memory.Get(ctx, k)
}

// A token that another request gets between two looks is asked about, too.
func TestConfirmALateToken(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		m := deploy()
		m.Rule.Confirm = true
		f.person.codes("no")
		f.cached(t, keyOf("tok"), "new")
		f.up.right = "token new"
		f.change(func(c *stepup.Config) { c.Tokens = &lateTokens{Memory: f.tokens} })
		f.request(t.Context(), m).check(t, want{outcome: mfa.Denied})
	})
}

// A yes, which any program can send, does not end the mute of a rule that was denied too often,
// and is no reason to mute its own.
func TestConfirmUnmutesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		m, denied := deploy(), secure()
		m.Rule.Confirm = true
		answers := []string{"no", "no", "no"}
		for range 20 {
			answers = append(answers, "yes")
		}
		f.person.codes(answers...)
		f.cached(t, keyOf("tok"), "new")
		f.up.right = "token new"
		for range 3 {
			f.request(t.Context(), denied).check(t, want{outcome: mfa.Denied})
			time.Sleep(time.Minute) // the cool-down
		}
		for range 20 {
			f.request(t.Context(), m).check(t, want{outcome: mfa.Cached})
		}
		equal(t, "muted", []string{"secure"}, f.state.Denials.All())
	})
}
