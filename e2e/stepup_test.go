package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// The set-ups are what they claim: without stepup the app's token sees nothing,
// and a step-up token is not to be had without the second factor.
func TestFactsOfElevation(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *elevated) {
		w.get().send(t, w.addr).wantPlain(t, 403)
		w.call("GET", "sys/internal/ui/mounts/"+strings.Replace(w.path, "/data/", "/", 1)).send(t, w.addr).wantPlain(t, 403)
		vault, _ := cli(t, w.addr, "VAULT_TOKEN="+w.token)
		if r := vault.run(t, "kv", "get", strings.Replace(w.path, "/data/", "/", 1)); r.code != 2 || !strings.Contains(r.stderr, "preflight") {
			t.Errorf("vault kv get: exit %d\n%s", r.code, r.stderr)
		}
		if w.kind == "login" {
			g := call{"POST", "/v1/" + w.source, nil, fmt.Sprintf(`{"password":%q}`, w.password)}.send(t, w.addr)
			g = validate(t, w.addr, requirement(t, g), w.codes.id, w.codes.next())
			if g.status != 200 {
				t.Errorf("status %d\n%s", g.status, g.body)
			}
			return
		}
		mint := w.call("POST", w.source)
		mint.body = "{}"
		mint.send(t, w.addr).wantPlain(t, 403)
		mint.header = append(mint.header, "X-Vault-MFA: corp_totp:"+w.codes.next())
		mint.send(t, w.addr).wantPlain(t, 200)
	})
}

// One password and one code, or one code, and then silence: the CLI in both its
// spellings, a program of Go, and curl.
func TestStepUpOnce(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *elevated) {
		p := w.typist(t)
		a := w.agent(t, p)
		vault, _ := cli(t, a.addr, "VAULT_TOKEN="+w.token)
		short := strings.TrimPrefix(w.path, "secret/data/")
		for _, args := range [][]string{{"secret/" + short}, {"-mount=secret", short}} {
			out := vault.ok(t, append([]string{"kv", "get", "-format=json"}, args...)...).fields(t)
			if dig(out, "data", "data", "key") != "value" {
				t.Errorf("vault kv get %q: %v", args, out)
			}
		}
		vault.ok(t, "kv", "put", "-mount=secret", short+"2", "a=b")
		if data := w.server.read(t, w.path+"2").Data["data"]; dig(data, "a") != "b" {
			t.Errorf("the server holds %v", data)
		}
		client, err := w.server.client(a.addr, w.token)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := client.KVv2("secret").Get(t.Context(), short)
		if err != nil || secret.Data["key"] != "value" {
			t.Errorf("vault/api: %v, %v", secret, err)
		}
		w.get().send(t, a.addr).wantStep(t, 200, "cached")
		w.wantAsked(t, p, 1)
		for i, q := range p.prompts(t) {
			wantKind := []string{"password", "passcode"}[i+2-w.asks]
			if q.Kind != wantKind || q.Rule != "secure" || q.Vault != "corp" || q.Operation != "read" || q.Attempt != 1 ||
				!strings.HasSuffix(q.Requester.Exe, "vault") || (q.Kind == "password" && q.Method != w.source) {
				t.Errorf("asked %+v", q)
			}
		}
	})
}

// A hundred at once: all of them are refused before the person answers, and all
// are served with what one step-up gave. It runs alone: a hundred programs take a
// small machine for themselves, and elsewhere an answer that takes more than three
// seconds means that somebody was asked on a phone.
func TestStepUpManyAtOnce(t *testing.T) {
	forEachGrant(t, func(t *testing.T, newElevated func(*testing.T) *elevated) {
		w := newElevated(t)
		path, err := exec.LookPath("curl")
		if err != nil {
			t.Skip("needs curl")
		}
		const n = 100
		p := newPerson(t, func(ctx context.Context, a asked) answer {
			for len(w.gate.Seen("/v1/"+w.path)) < n && ctx.Err() == nil {
				time.Sleep(10 * time.Millisecond)
			}
			return w.answer(t, a)
		})
		a := w.agent(t, p)
		curl := program{path: path, env: cleanEnv(t.TempDir())}
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
			if s != "200 approved" {
				t.Errorf("curl says %q", s)
			}
		}
		w.wantAsked(t, p, 1)
		w.stepUpToken(t)
		if n := len(w.gate.Seen("/v1/" + w.source)); n != 1 {
			t.Errorf("%d requests at %s, want 1", n, w.source)
		}
		for _, g := range w.get().together(t, a.addr, 20) {
			g.wantStep(t, 200, "cached")
		}
		w.wantAsked(t, p, 1)
	})
}

// The step-up token goes to the rule's paths and nowhere else, though Vault
// would take it.
func TestStepUpNowhereElse(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *elevated) {
		p := w.typist(t)
		a := w.agent(t, p)
		w.get().send(t, a.addr).wantStep(t, 200, "approved")
		elevatedToken := w.stepUpToken(t)
		direct := call{"GET", "/v1/" + w.outside, []string{tokenHeader(elevatedToken)}, ""}
		direct.send(t, w.addr).wantPlain(t, 200) // so the 403 below is for want of it
		before := len(w.gate.Seen(""))
		for _, path := range []string{
			w.outside, "sys/internal/ui/mounts/" + strings.Replace(w.outside, "/data/", "/", 1),
			"secret/data/x/../" + strings.TrimPrefix(w.outside, "secret/data/"), strings.TrimSuffix(w.folder, "/"),
			"sys/policies/acl/" + w.policy,
		} {
			w.call("GET", path).send(t, a.addr).wantPlain(t, 403)
		}
		for _, path := range []string{ // that end like a path of the rule, or are read as one by some
			"kv1/" + w.path, "secret/data/" + w.path, "x/sys/internal/ui/mounts/" + w.path,
			"sys/mounts/..%2f..%2f" + w.path, "sys/mounts/%2e%2e/%2e%2e/" + w.path, w.folder + "..%2f..%2f..%2fsys/mounts", w.path + "%2f%2fx", "kv1//" + w.path + "%2fx",
		} {
			w.call("GET", path).send(t, a.addr).wantPlain(t, 403)
			w.call("POST", path).send(t, a.addr).wantPlain(t, 403)
		}
		self := w.call("GET", "auth/token/lookup-self").send(t, a.addr)
		self.wantPlain(t, 200)
		if id := dig(self.json(t), "data", "id"); id != w.token {
			t.Error("lookup-self is not about the app's own token")
		}
		for _, s := range w.gate.Seen("")[before:] {
			if s.Token == elevatedToken {
				t.Errorf("the step-up token went to %s %s", s.Method, s.Path)
			}
		}
		w.wantAsked(t, p, 1)
	})
}

// The CLI looks at a mount before it reads. That look costs no code unless it is about a
// path of the rule; a token that is there serves it.
func TestLookAtAMountAsksNobody(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *elevated) {
		p := w.typist(t)
		a := w.agent(t, p)
		vault, _ := cli(t, a.addr, "VAULT_TOKEN="+w.token)
		short := strings.TrimPrefix(w.path, "secret/data/")
		for _, path := range []string{strings.TrimPrefix(w.outside, "secret/data/"), short} {
			if r := vault.run(t, "kv", "get", "-mount=secret", path); r.code != 2 || !strings.Contains(r.stderr, "preflight") {
				t.Errorf("vault kv get -mount=secret %s: exit %d\n%s", path, r.code, r.stderr)
			}
		}
		if n := len(p.prompts(t)); n != 0 {
			t.Fatalf("%d prompts for a look at the mount", n)
		}
		vault.ok(t, "kv", "get", "secret/"+short)
		vault.ok(t, "kv", "get", "-mount=secret", short)
		w.wantAsked(t, p, 1)
	})
}

// A token is its caller's own.
func TestStepUpOfAnother(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *elevated) {
		stranger := w.server.newUser(t).token(t)
		p := w.patient(t, 1)
		a := w.agent(t, p)
		w.get().send(t, a.addr).wantStep(t, 200, "approved")
		w.wantAsked(t, p, 1)

		anonymous := call{method: "GET", target: "/v1/" + w.path}
		anonymous.send(t, a.addr).wantPlain(t, 403)
		bad := call{"GET", "/v1/" + w.path, []string{tokenHeader("hvs.nonsense")}, ""}
		bad.send(t, a.addr).wantPlain(t, 403)
		own := call{"GET", "/v1/" + w.path, []string{tokenHeader(w.token), "X-Vault-MFA: x:1"}, ""}
		own.send(t, a.addr).wantPlain(t, 403) // brings a factor of its own: nothing of ours
		w.wantAsked(t, p, 1)

		other := call{"GET", "/v1/" + w.path, []string{tokenHeader(stranger)}, ""}
		other.send(t, a.addr).wantStep(t, 403, "denied")
		if n := len(p.prompts(t)); n != w.asks+1 {
			t.Errorf("%d prompts, want one more for the stranger", n)
		}
		// Neither the stranger's "no" nor their requests cost the first one anything.
		w.get().send(t, a.addr).wantStep(t, 200, "cached")
		bearer := call{"GET", "/v1/" + w.path, []string{"Authorization: Bearer " + w.token}, ""}
		bearer.send(t, a.addr).wantStep(t, 200, "cached")
	})
}

func TestStepUpDenied(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *elevated) {
		p := newPerson(t, func(context.Context, asked) answer { return deny() })
		a := w.agent(t, p)
		g := w.get().send(t, a.addr)
		g.wantStep(t, 403, "denied")
		if errs := g.errors(t); len(errs) != 2 || errs[0] != "1 error occurred:\n\t* permission denied\n\n" {
			t.Errorf("errors %q, want Vault's own and one more", errs)
		}
		w.get().send(t, a.addr).wantStep(t, 403, "cooldown")
		vault, _ := cli(t, a.addr, "VAULT_TOKEN="+w.token)
		if r := vault.run(t, "kv", "get", strings.Replace(w.path, "/data/", "/", 1)); r.code != 2 || !strings.Contains(r.stderr, "stepup: ") {
			t.Errorf("vault kv get: exit %d\n%s", r.code, r.stderr)
		}
		if n := len(p.prompts(t)); n != 1 || len(w.gate.Seen("/v1/"+w.source)) != 0 {
			t.Errorf("%d prompts, want 1 and nothing sent to %s", n, w.source)
		}
	})
}

// A wrong password and a wrong code are told apart.
func TestStepUpWrongThenRight(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *elevated) {
		p := newPerson(t, func(_ context.Context, a asked) answer {
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
		if have, want := strings.Join(story, ", "), strings.Join(want[4-2*w.asks:], ", "); have != want {
			t.Errorf("asked %q, want %q", have, want)
		}
	})
}

func TestStepUpWrongToTheEnd(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *elevated) {
		p := newPerson(t, func(_ context.Context, a asked) answer {
			if a.Kind == "password" {
				return answer{text: w.password}
			}
			return code(w.codes.wrong())
		})
		s := w.setup(p)
		s.attempts = 2
		a := w.start(t, s)
		w.get().send(t, a.addr).wantStep(t, 403, "rejected")
		if n := len(p.prompts(t)); n != w.asks+1 {
			t.Errorf("%d prompts, want %d", n, w.asks+1)
		}
		w.get().send(t, a.addr).wantStep(t, 403, "cooldown")
	})
}

// An app that leaves does not end a step-up: the next one finds the token.
func TestStepUpOutlivesItsApp(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *elevated) {
		left := make(chan struct{})
		p := newPerson(t, func(_ context.Context, a asked) answer {
			<-left
			return w.answer(t, a)
		})
		a := w.agent(t, p)
		client, err := w.server.client(a.addr, w.token)
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := client.Logical().ReadWithContext(ctx, w.path)
			gone <- err
		}()
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

// Nobody is asked for an app whose own token is dead, not even before Vault was
// asked, and not even where there was a step-up token.
func TestStepUpForDeadCaller(t *testing.T) {
	forBothGrants(t, func(t *testing.T, w *elevated) {
		p := w.typist(t)
		a := w.agent(t, p, "eager = true")
		read, write := w.get(), w.call("POST", w.path)
		read.header = []string{tokenHeader("hvs.nonsense")}
		write.header, write.body = read.header, bigBody()
		for _, c := range []call{read, write} {
			c.send(t, a.addr).wantPlain(t, 403)
		}
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
