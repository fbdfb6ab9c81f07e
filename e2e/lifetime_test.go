package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A token that was revoked elsewhere is noticed at its next use, and stepped
// up to once more.
func TestTokenRevokedOutside(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *fixture) {
		a, p := w.steppedUp(t)
		info := w.server.lookup(t, w.stepUpToken(t))
		w.server.write(t, "auth/token/revoke-accessor", map[string]any{"accessor": info["accessor"]})
		w.get().send(t, a.addr).wantStep(t, 200, "approved")
		w.wantAsked(t, p, 2)
		equal(t, "step-up tokens", len(w.stepUpTokens()), 2)
		w.get().send(t, a.addr).wantStep(t, 200, "cached")
	})
}

// What a live step-up token may not do is Vault's word: no prompt would help.
func TestTokenIsAliveAndMayNot(t *testing.T) {
	tests := map[string]map[string]any{
		"it may ask about itself":    {},
		"it may not even do so much": {"token_no_default_policy": true},
	}
	t.Parallel()
	for name, settings := range tests {
		t.Run(name, func(t *testing.T) {
			forBothGrants(t, func(t *testing.T, w *fixture) {
				w.limit(t, settings)
				a, p := w.steppedUp(t)
				want := request("GET", w.closed, w.stepUpToken(t)).send(t, w.addr)
				for range 2 {
					have := w.call("GET", w.closed).send(t, a.addr)
					equal(t, "outcome", have.header.Get("Stepup-Outcome"), "cached")
					have.header.Del("Stepup-Outcome")
					wantSame(t, want, have)
				}
				w.wantAsked(t, p, 1)
				w.get().send(t, a.addr).wantStep(t, 200, "cached")
			})
		})
	}
}

// limit changes what Vault makes of the next step-up token.
func (w *fixture) limit(t *testing.T, settings map[string]any) {
	t.Helper()
	if w.kind == "login" {
		w.stepUpUser(t, settings)
		return
	}
	data := map[string]any{"allowed_policies": w.policy}
	maps.Copy(data, settings)
	w.server.write(t, strings.Replace(w.source, "/create/", "/roles/", 1), data)
}

// A token is used up to the earliest of its ends, and then asked for again.
func TestTokenExpires(t *testing.T) {
	tests := []struct {
		name     string
		options  []string
		settings map[string]any
	}{
		{"by the configuration", []string{`max_ttl = "6s"`}, nil},
		{"by its lease", nil, map[string]any{"token_explicit_max_ttl": "6s"}},
	}
	t.Parallel()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			forBothGrants(t, func(t *testing.T, w *fixture) {
				w.limit(t, test.settings)
				a, p := w.steppedUp(t, test.options...)
				r, text := a.status(t)
				for _, token := range r.Tokens {
					if left := time.Until(token.Expires); left > 6*time.Second {
						t.Errorf("the token has %v left:\n%s", left, text)
					}
				}
				eventually(t, "the token is over", func() bool {
					r, _ := a.status(t)
					return len(r.Tokens) == 0
				})
				w.get().send(t, a.addr).wantStep(t, 200, "approved")
				w.wantAsked(t, p, 2)
			})
		})
	}
}

func TestLockRevokes(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *fixture) {
		a, p := w.steppedUp(t)
		token := w.stepUpToken(t)
		if !w.server.alive(t, token) {
			t.Fatal("the server does not know the step-up token")
		}
		a.lock(t, "1 token revoked")
		w.wantRevoked(t, a, token)
		w.get().send(t, a.addr).wantStep(t, 200, "approved")
		w.wantAsked(t, p, 2)
	})
}

func TestLockWithoutVault(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *fixture) {
		a, _ := w.steppedUp(t)
		token := w.stepUpToken(t)
		w.front.Close()
		a.lock(t, "1 token forgotten", "note: ", "secure")
		a.wantTokens(t, 0)
		if !w.server.alive(t, token) {
			t.Error("the token is gone, so there was nothing to say")
		}
	})
}

func TestStopRevokes(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		t.Run(fmt.Sprint(wanted), func(t *testing.T) {
			forBothGrants(t, func(t *testing.T, w *fixture) {
				a, _ := w.steppedUp(t, fmt.Sprintf("revoke_on_stop = %v", wanted))
				token := w.stepUpToken(t)
				a.stop(t)
				if alive := w.server.alive(t, token); alive == wanted {
					t.Errorf("the token is alive: %v", alive)
				}
			})
		})
	}
}

// The status names the rule and the caller, and what is left; never a secret.
func TestStatusOfTokens(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *fixture) {
		a := w.agent(t, w.typist(t), `max_ttl = "10m"`)
		equal(t, "store", a.wantTokens(t, 0).Cache.Store, "memory")
		w.get().send(t, a.addr).wantStep(t, 200, "approved")
		token := a.wantTokens(t, 1).Tokens[0]
		_, text := a.status(t)
		if left := time.Until(token.Expires); left < time.Minute || left > 10*time.Minute {
			t.Errorf("the token has %v left", left)
		}
		if token.Rule != "secure" || token.Vault != "corp" || len(token.Caller) < 6 || len(token.Caller) > 16 || strings.Contains(w.token, token.Caller) {
			t.Errorf("status: %+v", token)
		}
		human := a.stepup("").ok(t, "status").stdout
		contains(t, "stepup status", human, token.Caller, "s left")
		for _, secret := range []string{w.token, w.stepUpToken(t), w.password, w.codes.secret} {
			if strings.Contains(human+text, secret) {
				t.Error("a secret is in the status")
			}
		}
	})
}

// A changed configuration does not cost a prompt.
func TestReloadKeepsTokens(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "login")
	a, p := w.steppedUp(t)
	file := filepath.Join(a.dir, "stepup.hcl")
	text, err := os.ReadFile(file)
	check(t, err)
	write(t, file, strings.Replace(string(text), `attempts = 3`, `attempts = 5`, 1))
	eventually(t, "the configuration is in force", func() bool { return strings.Contains(a.log.String(), "config reloaded") })
	w.get().send(t, a.addr).wantStep(t, 200, "cached")
	w.wantAsked(t, p, 1)
}
