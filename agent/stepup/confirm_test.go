package stepup_test

import (
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
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

// Nobody is asked whether a token may serve a caller that is dead.
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
