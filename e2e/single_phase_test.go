package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// With single_phase the factor goes with the login, whatever its method is called;
// Vault says nothing but "permission denied" of a wrong one.
func TestSinglePhase(t *testing.T) {
	srv := parallel(t)
	byName := func(c *codes) string { return c.name }
	tests := map[string]struct {
		method    func(*codes) string
		responder func(*testing.T, *codes) *responder
		check     func(*testing.T, user, *codes, *agent, *responder)
	}{
		"by name": {byName, corrector, wantCorrected(byName)},
		"by id":   {func(c *codes) string { return c.id }, corrector, wantCorrected(func(c *codes) string { return c.id })},
		"never right": {byName, mistaken, func(t *testing.T, u user, _ *codes, a *agent, _ *responder) {
			g := u.login(t, a.addr)
			g.wantStep(t, 403, "rejected")
			if errors := g.errors(t); len(errors) != 2 || errors[0] != "permission denied" || !strings.HasPrefix(errors[1], "stepup: ") {
				t.Errorf("errors %q", errors)
			}
		}},
		"the program has its own": {byName, func(t *testing.T, _ *codes) *responder { return noPrompt(t) }, func(t *testing.T, u user, c *codes, a *agent, _ *responder) {
			u.wantPlainLogin(t, u.login(t, a.addr, "X-Vault-MFA: "+c.name+":"+c.next()))
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, c := srv.newMFAUser(t)
			p := test.responder(t, c)
			test.check(t, u, c, startAgent(t, setup{responder: p, attempts: 2, extra: singlePhase(test.method(c)), hide: []string{u.password, c.secret}}), p)
		})
	}
	t.Run("nothing wants it", func(t *testing.T) {
		t.Parallel()
		u := srv.newUser(t)
		c := u.totp(t)
		a := startAgent(t, setup{responder: typist(t, c), extra: singlePhase(c.name)})
		g := u.login(t, a.addr)
		u.wantLogin(t, g)
		contains(t, "the answer", g.body, "Found MFA header but failed to find MFA Enforcement Config")
		a.wantLog(t, "asked about for nothing")
	})
}

// wantCorrected checks a login whose first code was wrong.
func wantCorrected(name func(*codes) string) func(*testing.T, user, *codes, *agent, *responder) {
	return func(t *testing.T, u user, c *codes, a *agent, p *responder) {
		u.wantLogin(t, u.login(t, a.addr))
		all := p.wantAsked(t, 2)
		if all[0].Method != name(c) || all[1].Message != "wrong code, or one that was used: wait for the next one" {
			t.Errorf("asked %+v", all)
		}
	}
}

func singlePhase(method string) string {
	return fmt.Sprintf(`
mfa_method %q { type = "totp" }
login_mfa {
  single_phase        = true
  single_phase_mounts = ["auth/userpass"]
}
`, method)
}
