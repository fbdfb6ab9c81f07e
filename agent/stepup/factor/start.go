package factor

import (
	"context"
	"time"

	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A Start is what a step-up begins with, and all that it takes to find a token that is there.
// Most requests under a rule need no more, so a Start is small.
type Start struct {
	Config  *Config
	Key     cache.Key
	Request rule.Request
	Time    time.Time

	lookup *peer.Lookup
}

// Start returns the start for a request with token. ruleName is "" for a login.
func (c *Config) Start(ctx context.Context, q rule.Request, ruleName string, token secret.Secret) Start {
	k := cache.Key{Vault: c.VaultKey(), Namespace: rule.Namespace(q.Namespace), Identity: c.Identify(token), Rule: ruleName}
	return Start{Config: c, Key: k, Request: q, Time: time.Now(), lookup: peer.LookupFrom(ctx)}
}

// Begin starts the step-up of a request with token. ruleName is "" for a login.
func (c *Config) Begin(ctx context.Context, q rule.Request, ruleName string, token secret.Secret) *StepUp {
	return c.Start(ctx, q, ruleName, token).Begin()
}

// Begin starts the step-up. The process is looked up meanwhile.
func (s Start) Begin() *StepUp {
	s.Config.State.Uses.Expect(s.lookup)
	return &StepUp{
		Config: s.Config, Key: s.Key, Request: s.Request, Rule: s.Key.Rule,
		Started: s.Time, Deadline: s.Time.Add(s.Config.Timeout), lookup: s.lookup,
	}
}

// Bind puts the scope of a grant into the key. ok is false where there should be one and the
// process cannot be told (it hides, or has ended).
func (s *Start) Bind(scope rule.Scope) (ok bool) {
	to, ok := bindingOf(s.lookup, scope)
	s.Key.Scope = to.ID
	return ok
}

// bindingOf is what a scope binds the tokens of a process to; nothing without a scope.
func bindingOf(l *peer.Lookup, scope rule.Scope) (to peer.Binding, ok bool) {
	switch scope {
	case rule.TerminalScope:
		to = l.Peer().Session
	case rule.ProgramScope:
		to = l.Peer().Program
	default:
		return peer.Binding{}, true
	}
	return to, to.ID != ""
}

// RecordUse notes that a token that was there has served the request.
func (s *Start) RecordUse() { s.Config.State.Uses.Record(s.Key, useOf(s.Request), s.lookup) }

func useOf(q rule.Request) state.Use {
	return state.Use{Operation: string(q.Operation), Path: q.Path}
}
