package agent_test

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// A step-up for a terminal serves the programs of that terminal, also after
// a restart, and no program on another one.
func TestScopeOfATerminal(t *testing.T) {
	t.Parallel()
	const web = "kv/data/deploy/web"
	r := withTokens(t, newFixtureAt(t, devvault.Enterprise, &cachetest.Keyring{}))
	r.change(t, func(c *agent.Config) {
		c.Cache.Store, c.Rules[0].Grant.Scope = agent.StoreKeyring, rule.TerminalScope
	})
	var denies atomic.Bool // the other terminal has no part in the memory model
	person := r.person
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		if denies.Load() {
			return deny(ctx, q)
		}
		return person(ctx, q)
	}
	r.wantOutcomes(t, web, "approved", "cached")
	denies.Store(true)
	if out := r.fromAnotherTerminal(t, web); !strings.Contains(out, "Stepup-Outcome: denied") {
		t.Errorf("on another terminal: %s", out)
	}
	r.wantOutcomes(t, web, "cached")
	tokens := r.agent.Status(t.Context()).Tokens
	if len(tokens) != 1 || tokens[0].Scope == "" {
		t.Errorf("the status has %+v", tokens)
	}
	r.stop()
	r.start(t)
	r.wantOutcomes(t, web, "cached")
}

// A step-up ahead is for the terminal that it was asked for on; for a program there is none.
func TestScopeOfAStepUpAhead(t *testing.T) {
	t.Parallel()
	r := newTokenFixture(t)
	ahead := control.Obtain{Rule: "deploy", Token: secret.Secret(r.token)}
	for _, scope := range []rule.Scope{rule.ProgramScope, rule.TerminalScope} {
		r.change(t, func(c *agent.Config) {
			c.Rules = slices.Clone(c.Rules)
			c.Rules[0].Grant.Scope = scope
		})
		got, err := r.control().Obtain(t.Context(), ahead)
		if scope == rule.ProgramScope {
			if !errors.Is(err, control.ErrProgramScope) {
				t.Errorf("for a program: %+v, %v", got, err)
			}
			continue
		}
		if err != nil || !got.OK() || got.Scope == "" {
			t.Errorf("for a terminal: %+v, %v", got, err)
		}
	}
	r.wantOutcomes(t, "kv/data/deploy/web", "cached")
}

// fromAnotherTerminal reads path by curl on a terminal of its own.
func (r *fixture) fromAnotherTerminal(t *testing.T, path string) string {
	t.Helper()
	for _, program := range []string{"script", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("no " + program)
		}
	}
	cmd := exec.CommandContext(t.Context(), "script", "-qec", "curl -si --no-styled-output -H X-Vault-Token:"+r.token+" "+r.url+"/v1/"+path, "/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v %s", cmd, err, out)
	}
	return string(out)
}
