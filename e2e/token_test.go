package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/e2e/gate"
)

// withPush puts a phone before the minting path, in the place of the code.
func (w *elevated) withPush(decide <-chan error) string {
	w.gate.AddPush("corp_totp", held(decide))
	return strings.Replace(w.rule(), `type = "totp"`, `type = "duo"`, 1)
}

func TestTokenGrantPush(t *testing.T) {
	t.Parallel()
	for _, approve := range []bool{true, false} {
		t.Run(fmt.Sprintf("approved %v", approve), func(t *testing.T) {
			t.Parallel()
			w := newTokenGrant(t)
			decide := make(chan error)
			told := newPerson(t, func(ctx context.Context, _ asked) answer { <-ctx.Done(); return answer{} })
			s := w.setup(told)
			s.extra = w.withPush(decide)
			a := w.start(t, s)
			answered := make(chan got, 1)
			go func() { answered <- w.get().send(t, a.addr) }()
			if q := told.wait(t, 0); q.Kind != "push" || q.Method != "corp_totp" || q.MethodType != "duo" || q.Rule != "secure" {
				t.Errorf("told %+v", q)
			}
			if !approve {
				decide <- context.Canceled
				(<-answered).wantStep(t, 403, "denied")
			} else {
				decide <- nil
				(<-answered).wantStep(t, 200, "approved")
				w.get().send(t, a.addr).wantStep(t, 200, "cached")
			}
			if n := len(w.gate.Seen("/v1/" + w.source)); n != 1 {
				t.Errorf("%d requests at %s, want 1: another is another push", n, w.source)
			}
		})
	}
}

// The factors go to the minting path, with the app's own token, and what comes
// of it to the rule's paths.
func TestTokenGrantOnTheWire(t *testing.T) {
	t.Parallel()
	w := newTokenGrant(t)
	a := w.agent(t, w.typist(t), `ttl = "5m"`)
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
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
	if have, want := strings.Join(wire, "\n"), strings.Join(want, "\n"); have != want {
		t.Errorf("sent\n%s\nwant\n%s", have, want)
	}
	info, err := w.server.root.Auth().Token().LookupWithContext(t.Context(), w.stepUpToken(t))
	if err != nil {
		t.Fatal(err)
	}
	if ttl := fmt.Sprint(info.Data["creation_ttl"]); ttl != "300" || info.Data["orphan"] != false {
		t.Errorf("the token has a TTL of %s s: %v", ttl, info.Data)
	}
}

// With num_uses the token is good for so many requests, and the next one is
// asked about before it is refused.
func TestTokenGrantUses(t *testing.T) {
	t.Parallel()
	w := newTokenGrant(t)
	p := w.typist(t)
	a := w.agent(t, p, "num_uses = 2", "no_parent = true")
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	if r, text := a.status(t); len(r.Tokens) != 1 || r.Tokens[0].Uses != 1 {
		t.Errorf("want a token with one use left:\n%s", text)
	}
	w.get().send(t, a.addr).wantStep(t, 200, "cached")
	if w.server.alive(t, w.stepUpToken(t)) {
		t.Error("the token has more uses than it should")
	}
	w.wantAsked(t, p, 1)
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	w.wantAsked(t, p, 2)
}

// More requests at once than one token has uses: each is served.
func TestTokenGrantUsesRunOut(t *testing.T) {
	t.Parallel()
	w := newTokenGrant(t)
	p := w.typist(t)
	a := w.agent(t, p, "num_uses = 3")
	for _, g := range w.get().together(t, a.addr, 5) {
		if g.status != 200 {
			t.Errorf("status %d, outcome %q\n%s", g.status, g.header.Get("Stepup-Outcome"), g.body)
		}
	}
	w.wantAsked(t, p, 2)
}

// The app's token may not make tokens at the path at all: that is said, and not
// taken for a wrong code.
func TestTokenGrantMayNotMint(t *testing.T) {
	t.Parallel()
	w := newTokenGrant(t)
	stranger := w.server.newUser(t).token(t)
	p := newPerson(t, func(context.Context, asked) answer { return code(w.codes.next()) })
	a := w.agent(t, p)
	g := call{"GET", "/v1/" + w.path, []string{tokenHeader(stranger)}, ""}.send(t, a.addr)
	if g.status != 403 || len(p.prompts(t)) > 1 || !strings.Contains(g.body, w.source) {
		t.Errorf("status %d after %d prompts\n%s", g.status, len(p.prompts(t)), g.body)
	}
}

// eager asks before the first request is refused, so Vault sees only requests
// that it allows.
func TestGrantEager(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *elevated) {
		p := w.typist(t)
		a := w.agent(t, p, "eager = true")
		w.get().send(t, a.addr).wantStep(t, 200, "approved")
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
	forBothGrants(t, func(t *testing.T, w *elevated) {
		a := w.agent(t, w.typist(t))
		read := w.get()
		read.header = append(read.header, "X-Vault-Wrap-TTL: 60s")
		for _, outcome := range []string{"approved", "cached"} {
			g := read.send(t, a.addr)
			g.wantStep(t, 200, outcome)
			wrapping, _ := dig(g.json(t), "wrap_info", "token").(string)
			opened := call{"POST", "/v1/sys/wrapping/unwrap", []string{tokenHeader(wrapping)}, ""}.send(t, a.addr)
			opened.wantPlain(t, 200)
			if v := dig(opened.json(t), "data", "data", "key"); v != "value" {
				t.Errorf("inside is %s", opened.body)
			}
		}
	})
}

// A body over what is kept for repetition is asked about first and sent once.
func TestGrantBigBody(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *elevated) {
		p := w.typist(t)
		a := w.agent(t, p)
		for i, outcome := range []string{"approved", "cached"} {
			path := fmt.Sprintf("%s-big%d", w.path, i)
			post := w.call("POST", path)
			post.body = bigBody()
			post.send(t, a.addr).wantStep(t, 200, outcome)
			var seen []gate.Seen
			eventually(t, "the gate is done with it", func() bool {
				seen = w.gate.Seen("/v1/" + path)
				return len(seen) > 0 && seen[len(seen)-1].Done
			})
			if len(seen) != 1 || seen[0].Token == w.token || seen[0].Read != int64(len(post.body)) {
				t.Errorf("%d requests; want one, whole, with the step-up token", len(seen))
			}
		}
		w.wantAsked(t, p, 1)
	})
}
