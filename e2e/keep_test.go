package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// choosing answers every prompt as it should be, with a choice behind the code.
func (w *fixture) choosing(t *testing.T, word string) *responder {
	t.Helper()
	return newResponder(t, func(_ context.Context, a asked) answer {
		said := w.answer(t, a)
		if a.Kind == "passcode" {
			said.text += " " + word
		}
		return said
	})
}

// Once is one request: `vault kv get` makes two of it, and is asked about once. Then the token
// is gone, from the agent and from Vault, and the next one is asked about.
func TestOnce(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *fixture) {
		p := w.choosing(t, "once")
		a := w.agent(t, p)
		w.get().send(t, a.addr).wantStep(t, 200, "approved")
		w.wantAsked(t, p, 1)
		token := w.stepUpToken(t)
		eventually(t, "the token is revoked", func() bool { return !w.server.alive(t, token) })
		a.wantTokens(t, 0)
		vault, _ := cli(t, a.addr, "VAULT_TOKEN="+w.token)
		vault.ok(t, "kv", "get", "-format=json", "secret/"+short(w.path)).wantSecret(t)
		w.wantAsked(t, p, 2)
		eventually(t, "that token is revoked, too", func() bool {
			for _, token := range w.stepUpTokens() {
				if w.server.alive(t, token) {
					return false
				}
			}
			return true
		})
		a.wantTokens(t, 0)
	})
}

// What hangs on the token lives on: Vault would end it with the token.
func TestOnceWrapped(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *fixture) {
		a := w.agent(t, w.choosing(t, "once"))
		g := request("GET", w.path, w.token, "X-Vault-Wrap-TTL: 60s").send(t, a.addr)
		g.wantStep(t, 200, "approved")
		equal(t, "inside", g.unwrap(t, a.addr).text(t, "data", "data", "key"), "value")
		a.wantTokens(t, 0)
	})
}

// Until a lock, the token lives as long as the configuration lets it, in Vault as well, and a
// lock ends it.
func TestUntilALock(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "token")
	a := w.agent(t, w.choosing(t, "lock"), `ttl = "2m"`, `max_ttl = "10m"`)
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	token := w.stepUpToken(t)
	equal(t, "TTL", fmt.Sprint(w.server.lookup(t, token)["creation_ttl"]), "600")
	if _, text := a.status(t); !strings.Contains(text, `"keep": "lock"`) {
		t.Errorf("status:\n%s", text)
	}
	w.get().send(t, a.addr).wantStep(t, 200, "cached")
	a.lock(t)
	w.wantRevoked(t, a, token)
}
