package agent_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/prompt"
)

// A lock of one rule ends its tokens and its questions, and leaves the others.
func TestLockRule(t *testing.T) {
	t.Parallel()
	r := withTokens(t, newFixtureAt(t, devvault.Enterprise, nil))
	outcome := func(path string) string {
		return r.do(t, "GET", "/v1/kv/data/"+path, "", "X-Vault-Token", r.token).outcome
	}
	if got := outcome("deploy/web") + " " + outcome("secure/db"); got != "approved approved" {
		t.Fatal(got)
	}
	tokens := r.agent.Status(t.Context()).Tokens
	if len(tokens) != 2 || tokens[0].LastUse == nil || tokens[0].LastUse.Time.IsZero() {
		t.Fatalf("%+v", tokens)
	}
	eventually(t, "the program is known", func() bool { return r.agent.Status(t.Context()).Tokens[0].LastUse.PID != 0 })
	result, err := r.control().LockRule(t.Context(), tokens[0].Rule)
	if err != nil || result.Revoked != 1 || result.Forgotten != 1 {
		t.Errorf("%+v, %v", result, err)
	}
	left := r.agent.Status(t.Context()).Tokens
	if len(left) != 1 || left[0].Rule != tokens[1].Rule {
		t.Errorf("left %+v", left)
	}
	if _, err := r.control().LockRule(t.Context(), "no/such rule"); !errors.Is(err, control.ErrNoRule) {
		t.Error(err)
	}
}

// An acquisition that is under way ends with the lock of its rule, and that of another rule
// leaves it.
func TestLockRuleWhileAsked(t *testing.T) {
	t.Parallel()
	r := withTokens(t, newFixtureAt(t, devvault.Enterprise, nil))
	asked := make(chan struct{})
	r.person = func(ctx context.Context, _ prompt.Request) (string, error) {
		close(asked)
		<-ctx.Done()
		return "", context.Cause(ctx)
	}
	got := make(chan string, 1)
	go func() { got <- r.do(t, "GET", "/v1/kv/data/deploy/web", "", "X-Vault-Token", r.token).outcome }()
	wait(t, asked)
	for name, prompts := range map[string]int{"secure": 0, "deploy": 1} {
		if result, err := r.control().LockRule(t.Context(), name); err != nil || result.Prompts > prompts {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
	}
	if outcome := <-got; outcome != "denied" {
		t.Error(outcome)
	}
}

// A pause ends by resume, and what counts towards muting goes on counting.
func TestResumeEndsPauses(t *testing.T) {
	t.Parallel()
	r := withTokens(t, newFixtureAt(t, devvault.Enterprise, nil))
	r.config.Prompt.Cooldown = time.Hour
	r.reload(t, r.config)
	r.person = deny
	outcome := func() string { return r.do(t, "GET", "/v1/kv/data/deploy/web", "", "X-Vault-Token", r.token).outcome }
	for i := range 3 {
		if got := outcome() + " " + outcome(); i < 2 && got != "denied cooldown" {
			t.Fatal(got)
		}
		if i == 2 {
			break
		}
		if got, err := r.control().Resume(t.Context()); err != nil || got.Pauses != 1 || got.Rules != 0 {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if got, err := r.control().Resume(t.Context()); err != nil || got.Pauses != 1 || got.Rules != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	r.wantAsked(t, 3)
}
