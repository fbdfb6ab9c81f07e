package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// The set-ups are what they claim: without stepup the app's token sees nothing,
// and a step-up token is not to be had without the second factor.
func TestFactsOfElevation(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *fixture) {
		w.get().send(t, w.addr).wantPlain(t, 403)
		w.call("GET", "sys/internal/ui/mounts/secret/"+short(w.path)).send(t, w.addr).wantPlain(t, 403)
		vault, _ := cli(t, w.addr, "VAULT_TOKEN="+w.token)
		vault.run(t, "kv", "get", "secret/"+short(w.path)).wantFailure(t, 2, "preflight")
		if w.kind == "login" {
			g := request("POST", w.source, "").with(fmt.Sprintf(`{"password":%q}`, w.password)).send(t, w.addr)
			validate(t, w.addr, requirement(t, g), w.codes.id, w.codes.next()).wantPlain(t, 200)
			return
		}
		create := w.call("POST", w.source).with("{}")
		create.send(t, w.addr).wantPlain(t, 403)
		create.header = append(create.header, "X-Vault-MFA: corp_totp:"+w.codes.next())
		create.send(t, w.addr).wantPlain(t, 200)
	})
}

// One password and one code, or one code, and then no prompt: the CLI in both its
// spellings, a program of Go, and curl.
func TestStepUpOnce(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *fixture) {
		p := w.typist(t)
		a := w.agent(t, p)
		vault, _ := cli(t, a.addr, "VAULT_TOKEN="+w.token)
		vault.ok(t, "kv", "get", "-format=json", "secret/"+short(w.path)).wantSecret(t)
		vault.ok(t, "kv", "get", "-format=json", "-mount=secret", short(w.path)).wantSecret(t)
		vault.ok(t, "kv", "put", "-mount=secret", short(w.path)+"2", "a=b")
		equal(t, "the secret", w.server.read(t, w.path+"2").Data["data"], any(map[string]any{"a": "b"}))
		client, err := w.server.client(a.addr, w.token)
		check(t, err)
		secret, err := client.KVv2("secret").Get(t.Context(), short(w.path))
		if err != nil || secret.Data["key"] != "value" {
			t.Errorf("vault/api: %v, %v", secret, err)
		}
		w.get().send(t, a.addr).wantStep(t, 200, "cached")
		for i, q := range w.wantAsked(t, p, 1) {
			wantKind := []string{"password", "passcode"}[i+2-w.asks]
			if q.Kind != wantKind || q.Rule != "secure" || q.Vault != "corp" || q.Operation != "read" || q.Attempt != 1 ||
				!strings.HasSuffix(q.Requester.Exe, byServer("vault", "bao")) || (q.Kind == "password" && q.Method != w.source) {
				t.Errorf("asked %+v", q)
			}
		}
	})
}

// A hundred at once: all of them are refused before the prompt is answered, and all
// are served with what one step-up gave. It runs alone: a hundred programs take a
// small machine for themselves, and elsewhere an answer that takes more than three
// seconds means that a phone was asked.
func TestStepUpManyAtOnce(t *testing.T) {
	needVault(t)
	for _, kind := range []string{"login", "token"} {
		t.Run(kind, func(t *testing.T) {
			w := newFixture(t, kind)
			curl := program{path: installed(t, "curl"), env: cleanEnv(t.TempDir())}
			const n = 100
			p := newResponder(t, func(ctx context.Context, a asked) answer {
				for len(w.gate.Seen("/v1/"+w.path)) < n && ctx.Err() == nil {
					time.Sleep(10 * time.Millisecond)
				}
				return w.answer(t, a)
			})
			a := w.agent(t, p)
			said := make([]string, n)
			var all sync.WaitGroup
			for i := range said {
				all.Go(func() {
					said[i] = curl.run(t, "-sS", "--max-time", "240", "-H", tokenHeader(w.token), "-o", "/dev/null",
						"-w", "%{http_code} %header{stepup-outcome}", a.addr+"/v1/"+w.path).stdout
				})
			}
			all.Wait()
			for _, s := range said {
				equal(t, "curl says", s, "200 approved")
			}
			w.wantAsked(t, p, 1)
			w.stepUpToken(t)
			w.wantSource(t, 1)
			for _, g := range w.get().together(t, a.addr, 20) {
				g.wantStep(t, 200, "cached")
			}
			w.wantAsked(t, p, 1)
		})
	}
}

// The step-up token goes to the rule's paths and nowhere else, though Vault
// would take it.
func TestStepUpNowhereElse(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *fixture) {
		a, p := w.steppedUp(t)
		token := w.stepUpToken(t)
		request("GET", w.outside, token).send(t, w.addr).wantPlain(t, 200) // so the 403 below is for want of it
		before := len(w.gate.Seen(""))
		for _, path := range []string{
			w.outside, "sys/internal/ui/mounts/secret/" + short(w.outside),
			"secret/data/x/../" + short(w.outside), strings.TrimSuffix(w.folder, "/"),
			"sys/policies/acl/" + w.policy,
		} {
			w.call("GET", path).send(t, a.addr).wantPlain(t, 403)
		}
		for _, path := range []string{ // that end like a path of the rule, or are read as one by some
			"kv1/" + w.path, "secret/data/" + w.path, "x/sys/internal/ui/mounts/" + w.path,
			"sys/mounts/..%2f..%2f" + w.path, "sys/mounts/%2e%2e/%2e%2e/" + w.path, w.folder + "..%2f..%2f..%2fsys/mounts", w.path + "%2f%2fx", "kv1//" + w.path + "%2fx",
		} {
			status := byServer(403, 400) // OpenBao refuses dots wherever they are
			if !hasDots(path) {
				status = 403
			}
			w.call("GET", path).send(t, a.addr).wantPlain(t, status)
			w.call("POST", path).send(t, a.addr).wantPlain(t, status)
		}
		self := w.call("GET", "auth/token/lookup-self").send(t, a.addr)
		self.wantPlain(t, 200)
		equal(t, "the token of lookup-self", self.text(t, "data", "id"), w.token)
		for _, s := range w.gate.Seen("")[before:] {
			if s.Token == token {
				t.Errorf("the step-up token went to %s %s", s.Method, s.Path)
			}
		}
		w.wantAsked(t, p, 1)
	})
}

// A preflight request costs no code unless it is about a path of the rule; an existing
// step-up token serves it.
func TestLookAtAMountAsksNobody(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *fixture) {
		p := w.typist(t)
		a := w.agent(t, p)
		vault, _ := cli(t, a.addr, "VAULT_TOKEN="+w.token)
		for _, path := range []string{w.outside, w.path} {
			vault.run(t, "kv", "get", "-mount=secret", short(path)).wantFailure(t, 2, "preflight")
		}
		w.wantAsked(t, p, 0)
		vault.ok(t, "kv", "get", "secret/"+short(w.path))
		vault.ok(t, "kv", "get", "-mount=secret", short(w.path))
		w.wantAsked(t, p, 1)
	})
}

// A token is its caller's own.
func TestStepUpOfAnother(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *fixture) {
		stranger := w.server.newUser(t).token(t)
		p := w.patient(t, 1)
		a := w.agent(t, p)
		w.get().send(t, a.addr).wantStep(t, 200, "approved")
		request("GET", w.path, "").send(t, a.addr).wantPlain(t, 403)
		request("GET", w.path, "hvs.nonsense").send(t, a.addr).wantPlain(t, 403)
		// A request with a factor of its own gets none of ours.
		request("GET", w.path, w.token, "X-Vault-MFA: x:1").send(t, a.addr).wantPlain(t, 403)
		w.wantAsked(t, p, 1)
		outcome, asks := "denied", w.asks+1
		if w.kind == "token" {
			outcome, asks = "unavailable", w.asks // it may not create tokens, so nobody is asked
		}
		request("GET", w.path, stranger).send(t, a.addr).wantStep(t, 403, outcome)
		p.wantAsked(t, asks)
		// Neither the denial nor the stranger's requests cost the first caller anything.
		w.get().send(t, a.addr).wantStep(t, 200, "cached")
		request("GET", w.path, "", "Authorization: Bearer "+w.token).send(t, a.addr).wantStep(t, 200, "cached")
	})
}

// A denial holds for a while, without another prompt.
func TestStepUpDenied(t *testing.T) {
	forEveryGrant(t, func(t *testing.T, w *fixture) {
		p := denier(t)
		a := w.agent(t, p)
		g := w.get().send(t, a.addr)
		g.wantStep(t, 403, "denied")
		if errs := g.errors(t); len(errs) != 2 || errs[0] != "1 error occurred:\n\t* permission denied\n\n" {
			t.Errorf("errors %q, want Vault's own and one more", errs)
		}
		w.get().send(t, a.addr).wantStep(t, 403, "cooldown")
		vault, _ := cli(t, a.addr, "VAULT_TOKEN="+w.token)
		vault.run(t, "kv", "get", "secret/"+short(w.path)).wantFailure(t, 2, "stepup: ")
		p.wantAsked(t, 1)
		if w.kind != "header" {
			w.wantSource(t, 0)
		}
	})
}

// A wrong password and a wrong code are told apart.
func TestStepUpWrongThenRight(t *testing.T) {
	forEveryGrant(t, func(t *testing.T, w *fixture) {
		p := newResponder(t, func(_ context.Context, a asked) answer {
			switch {
			case a.Attempt > 1:
				return w.answer(t, a)
			case a.Kind == "password":
				return answer{text: "not it"}
			}
			return code(w.codes.wrong())
		})
		a := w.agent(t, p)
		w.get().send(t, a.addr).wantStep(t, 200, "approved")
		var story []string
		for _, q := range p.prompts(t) {
			why := ""
			for _, word := range []string{"password", "code"} {
				if strings.Contains(q.Message, "wrong "+word) {
					why += word
				}
			}
			story = append(story, fmt.Sprintf("%s %d %s", q.Kind, q.Attempt, why))
		}
		want := []string{"password 1 ", "password 2 password", "passcode 1 ", "passcode 2 code"}
		equal(t, "prompts", story, want[4-2*w.asks:])
	})
}

func TestStepUpWrongToTheEnd(t *testing.T) {
	forEveryGrant(t, func(t *testing.T, w *fixture) {
		p := newResponder(t, func(_ context.Context, a asked) answer {
			if a.Kind == "password" {
				return answer{text: w.password}
			}
			return code(w.codes.wrong())
		})
		s := w.setup(p)
		s.attempts = 2
		a := w.start(t, s)
		w.get().send(t, a.addr).wantStep(t, 403, "rejected")
		p.wantAsked(t, w.asks+1)
		w.get().send(t, a.addr).wantStep(t, 403, "cooldown")
	})
}

// An app that leaves does not end a step-up: the next one finds the token.
func TestStepUpOutlivesItsApp(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *fixture) {
		left := make(chan struct{})
		p := newResponder(t, func(_ context.Context, a asked) answer {
			<-left
			return w.answer(t, a)
		})
		a := w.agent(t, p)
		client, err := w.server.client(a.addr, w.token)
		check(t, err)
		ctx, leave := context.WithCancel(t.Context())
		gone := async(func() error {
			_, err := client.Logical().ReadWithContext(ctx, w.path)
			return err
		})
		p.wait(t, 0)
		leave()
		if err := <-gone; err == nil {
			t.Fatal("read without a step-up")
		}
		close(left)
		eventually(t, "the token is there", func() bool {
			r, _ := a.status(t)
			return len(r.Tokens) == 1
		})
		w.get().send(t, a.addr).wantStep(t, 200, "cached")
		w.wantAsked(t, p, 1)
	})
}

// A caller whose own token is dead causes no prompt, not even before Vault was
// asked, and not even where there was a step-up token.
func TestStepUpForDeadCaller(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *fixture) {
		p := w.typist(t)
		a := w.agent(t, p, "eager = true")
		request("GET", w.path, "hvs.nonsense").send(t, a.addr).wantPlain(t, 403)
		request("POST", w.path, "hvs.nonsense").with(bigBody()).send(t, a.addr).wantPlain(t, 403)
		w.wantAsked(t, p, 0)

		w.get().send(t, a.addr).wantStep(t, 200, "approved")
		tokens := w.stepUpTokens() // and the nonsense
		for _, token := range []string{w.token, tokens[len(tokens)-1]} {
			w.server.write(t, "auth/token/revoke", map[string]any{"token": token})
		}
		w.get().send(t, a.addr).wantPlain(t, 403)
		w.wantAsked(t, p, 1)
	})
}

// An open prompt ends with "stepup lock", and nothing comes of it.
func TestLockEndsStepUp(t *testing.T) {
	forEveryGrant(t, func(t *testing.T, w *fixture) {
		p := silent(t)
		a := w.agent(t, p)
		answered := w.get().async(t, a.addr)
		p.wait(t, 0)
		a.stepup("").ok(t, "lock")
		(<-answered).wantStep(t, 403, "denied")
		if w.kind != "header" {
			w.wantSource(t, 0)
		}
	})
}

// The program gets Vault's own answer and a reason, and nothing cools down.
func TestStepUpNoPrompter(t *testing.T) {
	forEveryGrant(t, func(t *testing.T, w *fixture) {
		a := w.agent(t, absent(t))
		for range 2 {
			w.get().send(t, a.addr).wantStep(t, 403, "unavailable")
		}
	})
}
