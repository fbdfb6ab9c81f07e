package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A token that somebody else has ended is noticed at its next use, and stepped
// up to once more.
func TestTokenRevokedOutside(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *elevated) {
		p := w.typist(t)
		a := w.agent(t, p)
		w.get().send(t, a.addr).wantStep(t, 200, "approved")
		info, err := w.server.root.Auth().Token().LookupWithContext(t.Context(), w.stepUpToken(t))
		if err != nil {
			t.Fatal(err)
		}
		w.server.write(t, "auth/token/revoke-accessor", map[string]any{"accessor": info.Data["accessor"]})
		w.get().send(t, a.addr).wantStep(t, 200, "approved")
		w.wantAsked(t, p, 2)
		if n := len(w.stepUpTokens()); n != 2 {
			t.Errorf("%d step-up tokens, want 2", n)
		}
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
			forBothGrants(t, func(t *testing.T, w *elevated) {
				w.limit(t, settings)
				p := w.typist(t)
				a := w.agent(t, p)
				w.get().send(t, a.addr).wantStep(t, 200, "approved")
				want := call{"GET", "/v1/" + w.closed, []string{tokenHeader(w.stepUpToken(t))}, ""}.send(t, w.addr)
				for range 2 {
					have := w.call("GET", w.closed).send(t, a.addr)
					if have.header.Get("Stepup-Outcome") != "cached" {
						t.Errorf("outcome %q", have.header.Get("Stepup-Outcome"))
					}
					have.header.Del("Stepup-Outcome")
					if diff := different(want, have); diff != "" {
						t.Error(diff)
					}
				}
				w.wantAsked(t, p, 1)
				w.get().send(t, a.addr).wantStep(t, 200, "cached")
			})
		})
	}
}

// limit changes what Vault makes of the next step-up token.
func (w *elevated) limit(t *testing.T, settings map[string]any) {
	t.Helper()
	if w.kind == "login" {
		w.stepUpUser(t, settings)
		return
	}
	data := map[string]any{"allowed_policies": w.policy}
	for name, value := range settings {
		data[name] = value
	}
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
			forBothGrants(t, func(t *testing.T, w *elevated) {
				w.limit(t, test.settings)
				p := w.typist(t)
				a := w.agent(t, p, test.options...)
				w.get().send(t, a.addr).wantStep(t, 200, "approved")
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
	forBothGrants(t, func(t *testing.T, w *elevated) {
		p := w.typist(t)
		a := w.agent(t, p)
		w.get().send(t, a.addr).wantStep(t, 200, "approved")
		token := w.stepUpToken(t)
		if !w.server.alive(t, token) {
			t.Fatal("the server does not know the step-up token")
		}
		if out := a.stepup("").ok(t, "lock").stdout; !strings.Contains(out, "1 token revoked") || strings.Contains(out, "note: ") {
			t.Errorf("stepup lock says\n%s", out)
		}
		if w.server.alive(t, token) {
			t.Error("the token lives on at the server")
		}
		if r, text := a.status(t); len(r.Tokens) != 0 {
			t.Errorf("the token is still there:\n%s", text)
		}
		w.get().send(t, a.addr).wantStep(t, 200, "approved")
		w.wantAsked(t, p, 2)
	})
}

func TestLockWithoutVault(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *elevated) {
		a := w.agent(t, w.typist(t))
		w.get().send(t, a.addr).wantStep(t, 200, "approved")
		token := w.stepUpToken(t)
		w.front.Close()
		out := a.stepup("").ok(t, "lock").stdout
		if !strings.Contains(out, "1 token forgotten") || !strings.Contains(out, "note: ") || !strings.Contains(out, "secure") {
			t.Errorf("stepup lock does not say what is left:\n%s", out)
		}
		if r, text := a.status(t); len(r.Tokens) != 0 {
			t.Errorf("the token is still there:\n%s", text)
		}
		if !w.server.alive(t, token) {
			t.Error("the token is gone, so there was nothing to say")
		}
	})
}

// A lock reaches those who wait, too, and no token comes of it.
func TestLockEndsStepUp(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *elevated) {
		p := silent(t)
		a := w.agent(t, p)
		answered := make(chan got, 1)
		go func() { answered <- w.get().send(t, a.addr) }()
		p.wait(t, 0)
		a.stepup("").ok(t, "lock")
		(<-answered).wantStep(t, 403, "denied")
		if n := len(w.gate.Seen("/v1/" + w.source)); n != 0 {
			t.Errorf("%d requests at %s", n, w.source)
		}
	})
}

func TestStopRevokes(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		t.Run(fmt.Sprint(wanted), func(t *testing.T) {
			forBothGrants(t, func(t *testing.T, w *elevated) {
				a := w.agent(t, w.typist(t), fmt.Sprintf("revoke_on_stop = %v", wanted))
				w.get().send(t, a.addr).wantStep(t, 200, "approved")
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
	forBothGrants(t, func(t *testing.T, w *elevated) {
		a := w.agent(t, w.typist(t), `max_ttl = "10m"`)
		if r, text := a.status(t); len(r.Tokens) != 0 || r.Cache.Store != "memory" {
			t.Errorf("before:\n%s", text)
		}
		w.get().send(t, a.addr).wantStep(t, 200, "approved")
		r, text := a.status(t)
		if len(r.Tokens) != 1 {
			t.Fatalf("%d tokens:\n%s", len(r.Tokens), text)
		}
		token := r.Tokens[0]
		if left := time.Until(token.Expires); left < time.Minute || left > 10*time.Minute {
			t.Errorf("the token has %v left", left)
		}
		if token.Rule != "secure" || token.Vault != "corp" || len(token.Caller) < 6 || len(token.Caller) > 16 || strings.Contains(w.token, token.Caller) {
			t.Errorf("status: %+v", token)
		}
		human := a.stepup("").ok(t, "status").stdout
		if !strings.Contains(human, token.Caller) || !strings.Contains(human, "s left") {
			t.Errorf("stepup status does not show the caller and the time left:\n%s", human)
		}
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
	w := newLoginGrant(t)
	p := w.typist(t)
	a := w.agent(t, p)
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	file := filepath.Join(a.dir, "stepup.hcl")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, strings.Replace(string(text), `attempts = 3`, `attempts = 5`, 1))
	eventually(t, "the configuration is in force", func() bool { return strings.Contains(a.log.String(), "config reloaded") })
	w.get().send(t, a.addr).wantStep(t, 200, "cached")
	w.wantAsked(t, p, 1)
}

// Nobody can be asked: the app gets Vault's own answer and a word about it.
func TestStepUpNoPrompter(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *elevated) {
		a := w.agent(t, newPerson(t, func(context.Context, asked) answer { return answer{exit: 2} }))
		for range 2 { // nobody said no, so nothing cools down
			w.get().send(t, a.addr).wantStep(t, 403, "unavailable")
		}
	})
}
