package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/e2e/gate"
)

// guarded is one user, one secret path behind mfa_methods, the gate that
// enforces it, and what a test needs to get past it.
type guarded struct {
	user
	gate    *gate.Gate
	addr    string // of the gate
	token   string // the app's own
	path    string // secret/data/...
	methods []string
	codes   map[string]*codes
	rule    string // configuration for it
}

// newGuarded lets capabilities on path only with every one of the TOTP methods.
func newGuarded(t *testing.T, capabilities []string, methods ...string) *guarded {
	t.Helper()
	srv := needVault(t)
	w := &guarded{methods: methods, codes: map[string]*codes{}}
	w.path = fmt.Sprintf("secret/data/guarded%d/x", users.Add(1))
	srv.write(t, w.path, map[string]any{"data": map[string]any{"key": "value"}})
	policy := srv.policy(t, fmt.Sprintf("path %q {\n capabilities = [%s]\n mfa_methods = [%s]\n}\n",
		w.path, quoted(capabilities), quoted(methods)))
	w.user = srv.newUser(t, policy)
	w.token = w.user.token(t)
	g, err := gate.New(srv.root)
	if err != nil {
		t.Fatal(err)
	}
	w.gate = g
	var declared strings.Builder
	for _, name := range methods {
		secret, err := g.AddTOTP(name).Enroll(w.entity)
		if err != nil {
			t.Fatal(err)
		}
		w.codes[name] = &codes{name: name, secret: secret}
		fmt.Fprintf(&declared, "mfa_method %q { type = \"totp\" }\n", name)
	}
	w.addr = serve(t, g).URL
	w.rule = fmt.Sprintf("%s\nstep_up \"guarded\" {\n paths = [%q]\n methods = [%s]\n grant \"header\" {}\n}\n",
		&declared, w.path, quoted(methods))
	return w
}

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(out, ", ")
}

// typist answers every prompt with a fresh code of the method asked for.
func (w *guarded) typist(t *testing.T) *person {
	t.Helper()
	return newPerson(t, func(_ context.Context, a asked) answer {
		c := w.codes[a.Method]
		if c == nil {
			t.Errorf("asked for an unknown method: %+v", a)
			return deny()
		}
		return code(c.next())
	})
}

func (w *guarded) agent(t *testing.T, p *person) *agent {
	t.Helper()
	hide := []string{w.password, w.token}
	for _, c := range w.codes {
		hide = append(hide, c.secret)
	}
	return startAgent(t, setup{upstream: w.addr, person: p, extra: w.rule, hide: hide})
}

func (w *guarded) get() call {
	return call{method: "GET", target: "/v1/" + w.path, header: []string{tokenHeader(w.token)}}
}

// sent are the X-Vault-MFA lines of each request that reached the path.
func (w *guarded) sent() (lines [][]string) {
	for _, s := range w.gate.Seen("/v1/" + w.path) {
		lines = append(lines, s.MFA)
	}
	return lines
}

func TestHeaderGrant(t *testing.T) {
	t.Parallel()
	w := newGuarded(t, []string{"read"}, "corp_totp")
	p := w.typist(t)
	a := w.agent(t, p)
	client, err := w.server.client(a.addr, w.token)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := client.KVv2("secret").Get(t.Context(), strings.TrimPrefix(w.path, "secret/data/"))
	if err != nil || secret.Data["key"] != "value" {
		t.Fatalf("got %v, %v", secret, err)
	}
	asked := p.prompts(t)
	if len(asked) != 1 {
		t.Fatalf("%d prompts, want 1", len(asked))
	}
	q := asked[0]
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if q.Kind != "passcode" || q.Rule != "guarded" || q.Path != w.path || q.Operation != "read" ||
		q.Method != "corp_totp" || q.MethodType != "totp" || q.Digits != 6 || !q.Deadline.After(time.Now().Add(-time.Minute)) {
		t.Errorf("asked %+v", q)
	}
	if q.Requester.PID != os.Getpid() || q.Requester.Exe != self {
		t.Errorf("requester %+v, want pid %d of %s", q.Requester, os.Getpid(), self)
	}
	if lines := w.sent(); len(lines) != 2 || len(lines[0]) != 0 || len(lines[1]) != 1 {
		t.Errorf("requests with X-Vault-MFA lines %q, want one without and one with", lines)
	}
	// MFA is per request: the next one asks again, with a code of its own.
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	if lines := w.sent(); len(lines) != 4 || slices.Equal(lines[1], lines[3]) {
		t.Errorf("a code went out twice: %q", lines)
	}
}

func TestHeaderGrantTwoMethods(t *testing.T) {
	t.Parallel()
	w := newGuarded(t, []string{"create", "update"}, "one", "two")
	p := w.typist(t)
	a := w.agent(t, p)
	g := call{method: "POST", target: "/v1/" + w.path, header: []string{tokenHeader(w.token)}, body: `{"data":{"new":"1"}}`}.send(t, a.addr)
	g.wantStep(t, 200, "approved")
	if data := w.server.read(t, w.path).Data["data"]; dig(data, "new") != "1" {
		t.Errorf("the server holds %v", data)
	}
	lines := w.sent()
	if len(p.prompts(t)) != 2 || len(lines) != 2 || len(lines[1]) != 2 {
		t.Errorf("prompts %+v, lines %q; want one line for each method", p.prompts(t), lines)
	}
}

func TestHeaderGrantWrongThenRight(t *testing.T) {
	t.Parallel()
	w := newGuarded(t, []string{"read"}, "corp_totp")
	c := w.codes["corp_totp"]
	p := newPerson(t, func(_ context.Context, a asked) answer {
		if a.Attempt == 1 {
			return code(c.wrong())
		}
		return code(c.next())
	})
	a := w.agent(t, p)
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	asked := p.prompts(t)
	if len(asked) != 2 || asked[1].Attempt != 2 || asked[1].Message == "" {
		t.Errorf("asked %+v, want a second prompt with a reason", asked)
	}
}

func TestHeaderGrantDenied(t *testing.T) {
	t.Parallel()
	w := newGuarded(t, []string{"read"}, "corp_totp")
	p := newPerson(t, func(context.Context, asked) answer { return deny() })
	a := w.agent(t, p)
	g := w.get().send(t, a.addr)
	g.wantStep(t, 403, "denied")
	if errs := g.errors(t); len(errs) != 2 || errs[0] != "1 error occurred:\n\t* permission denied\n\n" {
		t.Errorf("errors %q, want Vault's own and one more", errs)
	}
	// A "no" holds for a while, without another prompt.
	w.get().send(t, a.addr).wantStep(t, 403, "cooldown")
	if n := len(p.prompts(t)); n != 1 {
		t.Errorf("%d prompts, want 1", n)
	}
	// The library takes it as a refusal: one request, no repetition.
	client, err := w.server.client(a.addr, w.token)
	if err != nil {
		t.Fatal(err)
	}
	before := len(w.sent())
	_, err = client.Logical().ReadWithContext(t.Context(), w.path)
	if err == nil || !strings.Contains(err.Error(), "stepup: ") {
		t.Errorf("vault/api got %v", err)
	}
	if n := len(w.sent()) - before; n != 1 {
		t.Errorf("vault/api sent %d requests, want 1", n)
	}
}

// bigBody is a KV write over the 1 MiB that is kept for repetition, and under
// the 1 MiB that Vault allows for a value in JSON.
func bigBody() string {
	value := strings.Repeat("0123456789abcdef", 45<<10) // 720 KiB each
	return fmt.Sprintf(`{"data":{"a":%q,"b":%q}}`, value, value)
}

func TestHeaderGrantBigBody(t *testing.T) {
	t.Parallel()
	w := newGuarded(t, []string{"create", "update"}, "corp_totp")
	post := call{method: "POST", target: "/v1/" + w.path, header: []string{tokenHeader(w.token)}, body: bigBody()}
	p := w.typist(t)
	a := w.agent(t, p)
	g := post.send(t, a.addr)
	if g.status != 200 {
		t.Fatalf("status %d, outcome %q\n%.300s", g.status, g.header.Get("Stepup-Outcome"), g.body)
	}
	var seen []gate.Seen
	eventually(t, "the gate is done with it", func() bool {
		seen = w.gate.Seen("/v1/" + w.path)
		return len(seen) > 0 && seen[len(seen)-1].Done
	})
	if len(p.prompts(t)) != 1 || len(seen) != 1 || len(seen[0].MFA) != 1 || seen[0].Read != int64(len(post.body)) {
		t.Errorf("prompts %d, requests %+v; want it asked about first and sent once", len(p.prompts(t)), seen)
	}
}

// Nobody is asked when a code would not help.
func TestHeaderGrantNoPrompt(t *testing.T) {
	t.Parallel()
	w := newGuarded(t, []string{"read"}, "corp_totp")
	a := w.agent(t, nobody(t))
	tests := []struct {
		name string
		call call
		same bool // as the server's own answer
	}{
		{"the policy does not grant it", call{method: "POST", target: "/v1/" + w.path, header: []string{tokenHeader(w.token)}, body: `{"data":{}}`}, true},
		{"a bad token", call{method: "GET", target: "/v1/" + w.path, header: []string{tokenHeader("hvs.nonsense")}}, true},
		{"no token", call{method: "GET", target: "/v1/" + w.path}, true},
		{"a code of its own", call{method: "GET", target: "/v1/" + w.path, header: []string{tokenHeader(w.token), "X-Vault-MFA: corp_totp:" + w.codes["corp_totp"].wrong()}}, true},
		{"presence only", call{method: "GET", target: "/v1/" + w.path, header: []string{tokenHeader(w.token), "X-Vault-MFA: corp_totp"}}, true},
		{"another path", call{method: "GET", target: "/v1/" + w.path + "y", header: []string{tokenHeader(w.token)}}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			direct, through := test.call.send(t, w.addr), test.call.send(t, a.addr)
			through.wantPlain(t, 403)
			if diff := different(direct, through); diff != "" {
				t.Error(diff)
			}
		})
	}
	right := "X-Vault-MFA: corp_totp:" + w.codes["corp_totp"].next()
	call{method: "GET", target: "/v1/" + w.path, header: []string{tokenHeader(w.token), right}}.send(t, a.addr).wantPlain(t, 200)
	root := call{method: "GET", target: "/v1/" + w.path, header: []string{tokenHeader("root")}}
	root.send(t, a.addr).wantPlain(t, 200)
}

// A push on a rule's path has no 403: the request just stays open, and the
// person is told.
func TestHeaderGrantPush(t *testing.T) {
	t.Parallel()
	for _, approve := range []bool{true, false} {
		t.Run(fmt.Sprintf("approved %v", approve), func(t *testing.T) {
			t.Parallel()
			w := newGuarded(t, []string{"read"}, "phone")
			decide := make(chan error)
			w.gate.AddPush("phone", held(decide))
			rule := strings.Replace(w.rule, `type = "totp"`, `type = "duo"`, 1)
			told := newPerson(t, func(ctx context.Context, _ asked) answer { <-ctx.Done(); return answer{} })
			a := startAgent(t, setup{upstream: w.addr, person: told, extra: rule})
			answered := make(chan got, 1)
			go func() { answered <- w.get().send(t, a.addr) }()
			if q := told.wait(t, 0); q.Kind != "push" || q.Method != "phone" || q.MethodType != "duo" || q.Rule != "guarded" {
				t.Errorf("told %+v", q)
			}
			if approve {
				decide <- nil
				(<-answered).wantStep(t, 200, "approved")
				return
			}
			// Refused by a person, which takes its time; a quick 403 is none.
			time.Sleep(3500 * time.Millisecond)
			decide <- context.Canceled
			(<-answered).wantStep(t, 403, "denied")
			if n := len(w.sent()); n != 1 {
				t.Errorf("%d requests, want 1: another is another push", n)
			}
		})
	}
}

func TestHeaderGrantCLI(t *testing.T) {
	t.Parallel()
	w := newGuarded(t, []string{"read"}, "corp_totp")
	p := w.typist(t)
	a := w.agent(t, p)
	vault, _ := cli(t, a.addr, "VAULT_TOKEN="+w.token)
	out := vault.ok(t, "kv", "get", "-format=json", "-mount=secret", strings.TrimPrefix(w.path, "secret/data/")).fields(t)
	if dig(out, "data", "data", "key") != "value" {
		t.Errorf("vault kv get: %v", out)
	}
	if n := len(p.prompts(t)); n != 1 {
		t.Errorf("%d prompts, want 1", n)
	}
}

// Two readers at once are asked one after the other, and each gets a code of its
// own: a code is good for one request.
func TestHeaderGrantTwoAtOnce(t *testing.T) {
	t.Parallel()
	w := newGuarded(t, []string{"read"}, "corp_totp")
	var open, most atomic.Int64
	p := newPerson(t, func(_ context.Context, a asked) answer {
		most.Store(max(most.Load(), open.Add(1)))
		defer open.Add(-1)
		return code(w.codes[a.Method].next())
	})
	a := w.agent(t, p)
	answers := make(chan got, 2)
	for range 2 {
		go func() { answers <- w.get().send(t, a.addr) }()
	}
	for range 2 {
		(<-answers).wantStep(t, 200, "approved")
	}
	if n := most.Load(); n != 1 {
		t.Errorf("%d prompts were open at once", n)
	}
	sent := map[string]int{}
	for _, lines := range w.sent() {
		for _, line := range lines {
			sent[line]++
		}
	}
	for line, n := range sent {
		if n != 1 {
			t.Errorf("%q was sent %d times", line, n)
		}
	}
	if len(sent) != 2 {
		t.Errorf("codes sent: %v, want one for each reader", sent)
	}
}
