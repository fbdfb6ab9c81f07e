package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// tokenKinds are all ways to a step-up token. What Vault itself ends together with the
// caller's own token differs (TestFactsOfTokenKinds).
func tokenKinds() map[string]func(*testing.T) (w *fixture, options []string) {
	byRole := func(settings map[string]any) func(*testing.T) (*fixture, []string) {
		return func(t *testing.T) (*fixture, []string) {
			w := newFixture(t, "token")
			settings["allowed_policies"] = w.policy
			w.server.write(t, strings.Replace(w.source, "/create/", "/roles/", 1), settings)
			return w, nil
		}
	}
	return map[string]func(*testing.T) (*fixture, []string){
		"child":       byRole(map[string]any{}),
		"orphan role": byRole(map[string]any{"orphan": true}),
		"batch role":  byRole(map[string]any{"token_type": "batch", "orphan": true, "renewable": false}),
		"no_parent": func(t *testing.T) (*fixture, []string) {
			w := newFixture(t, "token")
			w.createFreely(t)
			return w, []string{"no_parent = true"}
		},
		"login": func(t *testing.T) (*fixture, []string) { return newFixture(t, "login"), nil },
	}
}

// createFreely lets the app create tokens without a role, with any policy and no parent,
// for which Vault wants sudo.
func (w *fixture) createFreely(t *testing.T) {
	t.Helper()
	w.source = "auth/token/create"
	policy := w.server.policy(t, fmt.Sprintf("path %q {\n capabilities = [\"update\", \"sudo\"]\n mfa_methods = [%q]\n}\n", w.source, w.codes.name))
	w.server.write(t, "auth/userpass/users/"+w.name, map[string]any{"password": w.password, "token_policies": "default," + policy})
	w.token = w.user.token(t)
}

// After the caller's own token is dead no kind of step-up token serves any more: at
// once when it was revoked through the agent, after some seconds when it was not. The
// step-up token is revoked, without a prompt.
func TestRevokedCallerIsNotServed(t *testing.T) {
	parallel(t)
	ends := map[string]func(t *testing.T, w *fixture, a *agent){
		"revoke-self": func(t *testing.T, w *fixture, a *agent) {
			w.call("POST", "auth/token/revoke-self").send(t, a.addr).wantPlain(t, 204)
		},
		"revoke-accessor": func(t *testing.T, w *fixture, a *agent) {
			accessor := w.call("GET", "auth/token/lookup-self").send(t, a.addr).text(t, "data", "accessor")
			request("POST", "auth/token/revoke-accessor", "root").with(fmt.Sprintf(`{"accessor":%q}`, accessor)).send(t, a.addr).wantPlain(t, 204)
		},
		"elsewhere": func(t *testing.T, w *fixture, a *agent) {
			w.server.write(t, "auth/token/revoke", map[string]any{"token": w.token})
			eventually(t, "the caller is seen to be dead", func() bool { return w.get().send(t, a.addr).status == 403 })
		},
	}
	for kind, kindOf := range tokenKinds() {
		for end, revoke := range ends {
			t.Run(kind+"/"+end, func(t *testing.T) {
				t.Parallel()
				w, options := kindOf(t)
				a, p := w.steppedUp(t, options...)
				w.get().send(t, a.addr).wantStep(t, 200, "cached")
				token := w.stepUpToken(t)
				revoke(t, w, a)
				w.get().send(t, a.addr).wantPlain(t, 403)
				w.wantAsked(t, p, 1)
				if kind == "batch role" {
					return // Vault cannot revoke those
				}
				eventually(t, "the step-up token is revoked", func() bool { return !w.server.alive(t, token) })
			})
		}
	}
}

// A look-up costs a token that is limited in its uses one of them, and the last one
// serves one request, as it would directly.
func TestCallerOfFewUses(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "login")
	p := w.typist(t)
	a := w.agent(t, p)
	w.token = w.server.write(t, "auth/token/create", map[string]any{"policies": []string{"default"}, "num_uses": 4}).Auth.ClientToken
	a.hide = append(a.hide, w.token)
	served := 0
	eventually(t, "it is used up", func() bool {
		g := w.get().send(t, a.addr)
		if g.status == 200 {
			served++
		}
		return g.status == 403
	})
	if served == 0 {
		t.Error("not served once")
	}
	w.get().send(t, a.addr).wantPlain(t, 403)
	w.wantAsked(t, p, 1)
}

// The look-up that takes the last use of the caller's token is no sign of life for the next
// request: Vault counts such a token as -1, and ends it.
func TestCallerOfLastUse(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "login")
	p := w.typist(t)
	a := w.agent(t, p)
	// One use for the refusal, one for the look-up once the step-up token is there.
	w.token = w.server.write(t, "auth/token/create", map[string]any{"policies": []string{"default"}, "num_uses": 2}).Auth.ClientToken
	a.hide = append(a.hide, w.token)
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	w.get().send(t, a.addr).wantPlain(t, 403)
	w.wantAsked(t, p, 1)
}
