package agent_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/prompt"
)

// Each use of a step-up token that is there is asked about, whichever lane it would take.
func TestConfirm(t *testing.T) {
	t.Parallel()
	const web = "kv/data/deploy/web"
	r := newTokenFixture(t)
	r.change(t, func(c *agent.Config) {
		c.Rules = slices.Clone(c.Rules)
		c.Rules[0].Confirm = true
	})
	person := r.person
	var confirmed atomic.Int32
	var no atomic.Bool
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		switch {
		case q.Kind != prompt.Confirm:
			return person(ctx, q)
		case no.Load():
			return deny(ctx, q)
		}
		confirmed.Add(1)
		return "yes", nil
	}
	r.wantOutcomes(t, web, "approved", "cached", "cached")
	no.Store(true)
	for _, outcome := range []string{"denied", "cooldown"} {
		check(t, r.read(t, web), reply{403, "", outcome})
	}
	if n := confirmed.Load(); n != 2 {
		t.Errorf("confirmed %d times, want 2", n)
	}
}
