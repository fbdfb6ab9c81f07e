package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// With single_phase the factor goes with the login, whatever its method is called;
// Vault says nothing but "permission denied" of a wrong one.
func TestSinglePhase(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	named := map[string]func(*codes) string{"by name": func(c *codes) string { return c.name }, "by id": func(c *codes) string { return c.id }}
	for what, name := range named {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			u := srv.newUser(t)
			c := u.totp(t)
			u.enforce(t, c.id)
			p := newPerson(t, func(_ context.Context, a asked) answer {
				if a.Attempt == 1 {
					return code(c.wrong())
				}
				return code(c.next())
			})
			a := startAgent(t, setup{person: p, extra: singlePhase(name(c)), hide: []string{u.password, c.secret}})
			g := u.login(t, a.addr)
			g.wantStep(t, 200, "approved")
			u.wantToken(t, dig(g.json(t), "auth", "client_token"))
			prompts := p.prompts(t)
			if len(prompts) != 2 || prompts[0].Method != name(c) || prompts[1].Message != "wrong code, or one that was used: wait for the next one" {
				t.Errorf("asked %+v", prompts)
			}
		})
	}
	t.Run("never right", func(t *testing.T) {
		t.Parallel()
		u := srv.newUser(t)
		c := u.totp(t)
		u.enforce(t, c.id)
		a := startAgent(t, setup{person: newPerson(t, func(context.Context, asked) answer { return code(c.wrong()) }), attempts: 1, extra: singlePhase(c.name)})
		g := u.login(t, a.addr)
		g.wantStep(t, 403, "rejected")
		if errors := g.errors(t); len(errors) != 2 || errors[0] != "permission denied" || !strings.HasPrefix(errors[1], "stepup: ") {
			t.Errorf("errors %q", errors)
		}
	})
	t.Run("nothing wants it", func(t *testing.T) {
		t.Parallel()
		u := srv.newUser(t)
		c := u.totp(t)
		a := startAgent(t, setup{person: typist(t, c), extra: singlePhase(c.name)})
		g := u.login(t, a.addr)
		g.wantStep(t, 200, "approved")
		u.wantToken(t, dig(g.json(t), "auth", "client_token"))
		if !strings.Contains(g.body, "Found MFA header but failed to find MFA Enforcement Config") || !strings.Contains(a.log.String(), "asked about for nothing") {
			t.Errorf("answer %s, log %s", g.body, a.log.String())
		}
	})
	t.Run("the program has its own", func(t *testing.T) {
		t.Parallel()
		u := srv.newUser(t)
		c := u.totp(t)
		u.enforce(t, c.id)
		a := startAgent(t, setup{person: nobody(t), extra: singlePhase(c.name)})
		g := u.login(t, a.addr, "X-Vault-MFA: "+c.name+":"+c.next())
		g.wantPlain(t, 200)
		u.wantToken(t, dig(g.json(t), "auth", "client_token"))
	})
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
