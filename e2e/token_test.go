package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The factors go to the path that creates tokens, with the app's own token, and the
// step-up token goes to the rule's paths.
func TestTokenGrantOnTheWire(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "token")
	w.steppedUp(t, `ttl = "5m"`)
	var wire []string
	for _, s := range w.gate.Seen("") {
		who := map[bool]string{true: "app", false: "step-up"}[s.Token == w.token]
		if s.Path == "/v1/"+w.path || s.Path == "/v1/"+w.source {
			wire = append(wire, fmt.Sprintf("%s %s as %s, %d factors: %d", s.Method, s.Path[4:], who, len(s.MFA), s.Status))
		}
	}
	want := []string{
		"GET " + w.path + " as app, 0 factors: 403",
		"POST " + w.source + " as app, 1 factors: 200",
		"GET " + w.path + " as step-up, 0 factors: 200",
	}
	equal(t, "requests", wire, want)
	info := w.server.lookup(t, w.stepUpToken(t))
	if ttl := fmt.Sprint(info["creation_ttl"]); ttl != "300" || info["orphan"] != false {
		t.Errorf("the token has a TTL of %s s: %v", ttl, info)
	}
}

// With num_uses the token is good for so many requests, and the next one is
// asked about before it is refused.
func TestTokenGrantUses(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "token")
	a, p := w.steppedUp(t, "num_uses = 2", "no_parent = true")
	equal(t, "uses left", a.wantTokens(t, 1).Tokens[0].Uses, 1)
	w.get().send(t, a.addr).wantStep(t, 200, "cached")
	last := w.stepUpToken(t)
	for deadline := time.Now().Add(10 * time.Second); w.server.alive(t, last); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) { // Vault ends a token of no more uses in the background
			t.Fatal("the token has more uses than it should")
		}
	}
	w.wantAsked(t, p, 1)
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	w.wantAsked(t, p, 2)
}

// More requests at once than one token has uses: each is served.
func TestTokenGrantUsesRunOut(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "token")
	p := w.typist(t)
	a := w.agent(t, p, "num_uses = 3")
	for _, g := range w.get().together(t, a.addr, 5) {
		g.wantStatus(t, 200)
	}
	w.wantAsked(t, p, 2)
}

// The app's token may not create tokens at the path at all: that is said, and
// nobody is asked.
func TestTokenGrantMayNotMint(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "token")
	stranger := w.server.newUser(t).token(t)
	p := typist(t, w.codes)
	a := w.agent(t, p)
	g := request("GET", w.path, stranger).send(t, a.addr)
	if g.status != 403 || len(p.prompts(t)) > 0 || !strings.Contains(g.body, w.source) {
		t.Errorf("status %d after %d prompts\n%s", g.status, len(p.prompts(t)), g.body)
	}
}

// eager asks before the first request is refused, so Vault sees only requests
// that it allows.
func TestGrantEager(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *fixture) {
		a, p := w.steppedUp(t, "eager = true")
		w.get().send(t, a.addr).wantStep(t, 200, "cached")
		w.wantAsked(t, p, 1)
		for _, s := range w.gate.Seen("/v1/" + w.path) {
			if s.Token == w.token || s.Status != 200 {
				t.Errorf("%s with the app's own token or refused: %d", s.Path, s.Status)
			}
		}
	})
}

func TestGrantWrapped(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *fixture) {
		a := w.agent(t, w.typist(t))
		for _, outcome := range []string{"approved", "cached"} {
			g := request("GET", w.path, w.token, "X-Vault-Wrap-TTL: 60s").send(t, a.addr)
			g.wantStep(t, 200, outcome)
			equal(t, "inside", g.unwrap(t, a.addr).text(t, "data", "data", "key"), "value")
		}
	})
}
