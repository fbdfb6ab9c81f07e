package stepup_test

import (
	"context"
	"testing"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
)

// from is the context of a request by a program in a terminal session.
func from(t *testing.T, session, program string) context.Context {
	p := peer.Peer{PID: 7, Session: peer.Binding{ID: session, Name: "terminal " + session}, Program: peer.Binding{ID: program, Name: "program " + program}}
	return peer.NewContext(t.Context(), func() peer.Peer { return p })
}

func scoped(scope rule.Scope) rule.Match {
	m := deploy()
	m.Rule.Grant.Scope = scope
	return m
}

// A step-up token serves only what its rule's scope has in common with the request that made
// it: a process that cannot be told has nothing in common with any other.
func TestScope(t *testing.T) {
	type origin struct{ session, program string }
	approved, cached := mfa.Approved, mfa.Cached
	for name, tt := range map[string]struct {
		scope rule.Scope
		froms []origin
		want  []mfa.Outcome
	}{
		"terminal": {rule.TerminalScope, []origin{{"pts/1", "vault"}, {"pts/1", "curl"}, {"pts/2", "vault"}, {"pts/2", "vault"}, {"pts/1", "vault"}},
			[]mfa.Outcome{approved, cached, approved, cached, cached}},
		"program": {rule.ProgramScope, []origin{{"pts/1", "vault"}, {"pts/2", "vault"}, {"pts/1", "curl"}, {"pts/1", "curl"}},
			[]mfa.Outcome{approved, cached, approved, cached}},
		"caller":  {rule.CallerScope, []origin{{"pts/1", "vault"}, {"pts/2", "curl"}, {"", ""}}, []mfa.Outcome{approved, cached, cached}},
		"default": {"", []origin{{"pts/1", "vault"}, {"", ""}}, []mfa.Outcome{approved, cached}},
		"unknown terminal": {rule.TerminalScope, []origin{{"pts/1", "vault"}, {"", "vault"}, {"", "vault"}, {"pts/1", "vault"}},
			[]mfa.Outcome{approved, approved, approved, cached}},
		"unknown program": {rule.ProgramScope, []origin{{"pts/1", ""}, {"pts/1", ""}}, []mfa.Outcome{approved, approved}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fixture) {
				f.person.codes("111111", "111112", "111113", "111114")
				f.vault.mint = inOrder(minted("new", 300, 0), minted("new", 300, 0), minted("new", 300, 0), minted("new", 300, 0))
				f.up.right = "token new"
				for i, at := range tt.froms {
					ctx := from(t, at.session, at.program)
					r := f.request(ctx, scoped(tt.scope))
					if r.v.Outcome != tt.want[i] {
						t.Fatalf("request %d: %s, want %s", i, r.v.Outcome, tt.want[i])
					}
					// The express lane takes the same tokens and no others.
					for _, other := range []origin{{"pts/9", "other"}, {"", ""}, at} {
						_, ok := f.resolver.Cached(from(t, other.session, other.program), scoped(tt.scope), "tok")
						known := other == at && !(tt.scope == rule.TerminalScope && at.session == "" || tt.scope == rule.ProgramScope && at.program == "")
						if ok != (known || tt.scope == "" || tt.scope == rule.CallerScope) {
							t.Errorf("request %d, express from %+v: %v", i, other, ok)
						}
					}
				}
			})
		})
	}
}

// A new terminal is no way around a denial, and a step-up ahead says that it would be in vain.
func TestScopeAndDenials(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("no")
		f.request(from(t, "pts/1", ""), scoped(rule.TerminalScope)).check(t, want{outcome: mfa.Denied})
		f.request(from(t, "pts/2", ""), scoped(rule.TerminalScope)).check(t, want{outcome: mfa.Cooldown})
		v := f.resolver.Obtain(from(t, "", ""), scoped(rule.TerminalScope).Rule, "", "tok")
		equal(t, "ahead", mfa.Unavailable, v.Outcome)
	})
}

// The scope is in the key that the token is kept under, and its name beside it.
func TestScopeIsKept(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("111111")
		f.vault.mint, f.up.right = mints("totp:111111", "new"), "token new"
		f.request(from(t, "pts/1", "vault"), scoped(rule.TerminalScope)).check(t, want{outcome: mfa.Approved})
		entries, err := f.tokens.List(t.Context())
		if err != nil || len(entries) != 1 || entries[0].Key.Scope != "pts/1" || entries[0].Token.Bound != "terminal pts/1" {
			t.Fatalf("%v, %v", entries, err)
		}
		f.change(func(*stepup.Config) {}) // as after a restart: only the store is the same
		f.request(from(t, "pts/1", "vault"), scoped(rule.TerminalScope)).check(t, want{outcome: mfa.Cached})
	})
}
