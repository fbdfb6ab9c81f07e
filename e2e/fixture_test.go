package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/e2e/gate"
)

// A fixture is a user who cannot read a secret without a second factor, a gate in
// front of Vault that enforces mfa_methods, and a rule with a grant of one kind.
type fixture struct {
	user
	kind    string // of the grant: header, login or token
	gate    *gate.Gate
	front   *httptest.Server // of the gate
	addr    string           // of the gate
	token   string           // the app's own
	folder  string           // secret/data/secureN/, the rule's paths
	path    string           // in the folder, and a step-up grants everything there
	closed  string           // in the folder, and no token may read it
	outside string           // not in the folder, and a step-up token may read it
	cipher  string           // transit/decrypt/…, another path of the rule
	policy  string           // of the step-up token
	source  string           // where the step-up token comes from
	methods []*codes         // TOTP methods of the rule
	codes   *codes           // the first of them
	asks    int              // prompts for one step-up
}

// newFixture makes the secret and a way to it: with a header grant, mfa_methods on the
// path itself, all of these methods; with a token grant, on a path that makes tokens;
// with a login grant, a second userpass mount with Login MFA.
func newFixture(t *testing.T, kind string, methods ...string) *fixture {
	t.Helper()
	srv := needVault(t)
	n := users.Add(1)
	w := &fixture{kind: kind, folder: fmt.Sprintf("secret/data/secure%d/", n), outside: fmt.Sprintf("secret/data/outside%d/x", n), asks: 1}
	w.path, w.closed, w.cipher = w.folder+"db", w.folder+"closed", fmt.Sprintf("transit/decrypt/secure%d", n)
	for _, path := range []string{w.path, w.closed, w.outside} {
		srv.secret(t, path)
	}
	w.policy = srv.policy(t, fmt.Sprintf(`
path "%s*" { capabilities = ["create", "read", "update", "delete"] }
path %q { capabilities = ["read"] }
path %q { capabilities = ["update"] }
`, w.path, w.outside, w.cipher))
	if len(methods) == 0 {
		methods = []string{"corp_totp"}
	}
	var own []string
	switch kind {
	case "header":
		own = []string{srv.policy(t, fmt.Sprintf(`
path "%s*" {
  capabilities = ["create", "read", "update"]
  mfa_methods  = [%[3]s]
}
path %[2]q {
  capabilities = ["update"]
  mfa_methods  = [%[3]s]
}
`, w.path, w.cipher, quoted(methods)))}
	case "token":
		w.source = fmt.Sprintf("auth/token/create/stepup%d", n)
		own = []string{srv.policy(t, fmt.Sprintf("path %q {\n capabilities = [\"update\"]\n mfa_methods = [%s]\n}\n", w.source, quoted(methods)))}
		srv.write(t, strings.Replace(w.source, "/create/", "/roles/", 1), map[string]any{"allowed_policies": w.policy})
	}
	w.user = srv.newUser(t, own...)
	w.token = w.user.token(t)
	w.gate = newGate(t, srv)
	w.front = serve(t, w.gate)
	w.addr = w.front.URL
	if kind == "login" {
		w.mountLogin(t, fmt.Sprintf("stepup%d", n))
	} else {
		for _, name := range methods {
			secret, err := w.gate.AddTOTP(name).Enroll(w.entity)
			check(t, err)
			w.methods = append(w.methods, &codes{name: name, secret: secret})
		}
	}
	w.codes = w.methods[0]
	return w
}

func newGate(t *testing.T, srv *server) *gate.Gate {
	t.Helper()
	g, err := gate.New(srv.root)
	check(t, err)
	return g
}

// mountLogin makes the second userpass mount of a login grant; the policy is only on
// its user.
func (w *fixture) mountLogin(t *testing.T, mount string) {
	t.Helper()
	w.server.write(t, "sys/auth/"+mount, map[string]any{"type": "userpass"})
	w.source, w.asks = "auth/"+mount+"/login/"+w.name, 2
	w.stepUpUser(t, nil)
	accessor := w.server.accessor(t, mount)
	w.server.write(t, "identity/entity-alias", map[string]any{"name": w.name, "canonical_id": w.entity, "mount_accessor": accessor})
	c := w.totp(t)
	w.methods = []*codes{c}
	w.server.write(t, "identity/mfa/login-enforcement/"+mount, map[string]any{
		"mfa_method_ids": []string{c.id}, "auth_method_accessors": []string{accessor},
	})
}

// stepUpUser writes the user of the step-up mount, with these settings as well.
func (w *fixture) stepUpUser(t *testing.T, settings map[string]any) {
	t.Helper()
	data := map[string]any{"password": w.password, "token_policies": w.policy}
	maps.Copy(data, settings)
	w.server.write(t, strings.Replace(w.source, "/login/", "/users/", 1), data)
}

// forBothGrants runs a test with each grant that gets a step-up token.
func forBothGrants(t *testing.T, test func(t *testing.T, w *fixture)) {
	t.Helper()
	forGrants(t, test, "login", "token")
}

// forEveryGrant runs a test with each kind of grant.
func forEveryGrant(t *testing.T, test func(t *testing.T, w *fixture)) {
	t.Helper()
	forGrants(t, test, "header", "login", "token")
}

func forGrants(t *testing.T, test func(t *testing.T, w *fixture), kinds ...string) {
	t.Helper()
	parallel(t)
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test(t, newFixture(t, kind))
		})
	}
}

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(out, ", ")
}

// rule is the configuration; options are more lines for the grant.
func (w *fixture) rule(options ...string) string {
	var declared, methods string
	if w.kind != "login" {
		var names []string
		for _, c := range w.methods {
			declared += fmt.Sprintf("mfa_method %q { type = \"totp\" }\n", c.name)
			names = append(names, c.name)
		}
		methods = "methods = [" + quoted(names) + "]"
	}
	switch w.kind {
	case "login":
		options = append(options, fmt.Sprintf("path = %q", w.source), `password = "prompt"`)
	case "token":
		options = append(options, fmt.Sprintf("path = %q", w.source), fmt.Sprintf("policies = [%q]", w.policy))
	}
	return fmt.Sprintf(`%s
step_up "secure" {
  paths = ["%s*", %q]
  %s
  grant %q {
    %s
  }
}
`, declared, w.folder, w.cipher, methods, w.kind, strings.Join(options, "\n"))
}

// setup is that of an agent for w. Its caller may change it.
func (w *fixture) setup(p *responder, options ...string) setup {
	hide := []string{w.password, w.token}
	for _, c := range w.methods {
		hide = append(hide, c.secret)
	}
	return setup{upstream: w.addr, responder: p, extra: w.rule(options...), hide: hide}
}

func (w *fixture) agent(t *testing.T, p *responder, options ...string) *agent {
	t.Helper()
	return w.start(t, w.setup(p, options...))
}

// steppedUp makes an agent with one step-up, and the responder that answered.
func (w *fixture) steppedUp(t *testing.T, options ...string) (*agent, *responder) {
	t.Helper()
	p := w.typist(t)
	a := w.agent(t, p, options...)
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	return a, p
}

// start starts an agent that must not let out the step-up tokens either.
func (w *fixture) start(t *testing.T, s setup) *agent {
	t.Helper()
	a := startAgent(t, s)
	if w.kind != "header" {
		t.Cleanup(func() { a.hide = append(a.hide, w.stepUpTokens()...) })
	}
	return a
}

// answer is what the user says to a prompt.
func (w *fixture) answer(t *testing.T, a asked) answer {
	if a.Kind == "password" && w.kind == "login" {
		return answer{text: w.password}
	}
	for _, c := range w.methods {
		if a.Kind == "passcode" && a.Method == c.name {
			return code(c.next())
		}
	}
	t.Errorf("an odd prompt: %+v", a)
	return deny()
}

// typist answers every prompt as it should be.
func (w *fixture) typist(t *testing.T) *responder {
	t.Helper()
	return newResponder(t, func(_ context.Context, a asked) answer { return w.answer(t, a) })
}

// patient answers the prompts of n step-ups, and denies what comes then.
func (w *fixture) patient(t *testing.T, n int) *responder {
	t.Helper()
	var asks atomic.Int64
	return newResponder(t, func(_ context.Context, a asked) answer {
		if asks.Add(1) > int64(n*w.asks) {
			return deny()
		}
		return w.answer(t, a)
	})
}

// wantAsked checks that there were n step-ups, each with its prompts.
func (w *fixture) wantAsked(t *testing.T, p *responder, n int) []asked {
	t.Helper()
	return p.wantAsked(t, n*w.asks)
}

func (w *fixture) get() call { return w.call("GET", w.path) }

// call is one with the app's own token.
func (w *fixture) call(method, path string) call { return request(method, path, w.token) }

// short is a path of the fixture as the KV commands take it, below secret/.
func short(path string) string { return strings.TrimPrefix(path, "secret/data/") }

// sent are the X-Vault-MFA lines of each request that reached the path.
func (w *fixture) sent() (lines [][]string) {
	for _, s := range w.gate.Seen("/v1/" + w.path) {
		lines = append(lines, s.MFA)
	}
	return lines
}

// wantSource checks that n requests came to where step-up tokens come from.
func (w *fixture) wantSource(t *testing.T, n int) {
	t.Helper()
	equal(t, "requests at "+w.source, len(w.gate.Seen("/v1/"+w.source)), n)
}

// stepUpTokens are the tokens other than the app's own that were used in the
// folder, in the order of their first use.
func (w *fixture) stepUpTokens() (tokens []string) {
	for _, s := range w.gate.Seen("") {
		if strings.HasPrefix(s.Path, "/v1/"+w.folder) && s.Token != w.token && s.Token != "" && !slices.Contains(tokens, s.Token) {
			tokens = append(tokens, s.Token)
		}
	}
	return tokens
}

// stepUpToken is the only one.
func (w *fixture) stepUpToken(t *testing.T) string {
	t.Helper()
	tokens := w.stepUpTokens()
	if len(tokens) != 1 {
		t.Fatalf("%d step-up tokens were used, want 1", len(tokens))
	}
	return tokens[0]
}

// wantRevoked checks that the server no longer knows the step-up token, and that the
// agent has none.
func (w *fixture) wantRevoked(t *testing.T, a *agent, token string) {
	t.Helper()
	if w.server.alive(t, token) {
		t.Error("the token lives on at the server")
	}
	a.wantTokens(t, 0)
}

// alive asks the server whether it knows the token.
func (s *server) alive(t *testing.T, token string) bool {
	t.Helper()
	_, err := s.root.Auth().Token().LookupWithContext(t.Context(), token)
	if err != nil && !strings.Contains(err.Error(), "bad token") {
		t.Fatal(err)
	}
	return err == nil
}

// A report is the part of "stepup status --format json" that is about tokens.
type report struct {
	Tokens []struct {
		Rule, Vault, Caller string
		Expires             time.Time
		Uses                int
	}
	Cache struct{ Store, State, Reason string }
}

func (a *agent) status(t *testing.T) (r report, text string) {
	t.Helper()
	text = a.stepup("").ok(t, "status", "--format", "json").stdout
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, text)
	}
	return r, text
}

// wantTokens checks how many step-up tokens the agent has.
func (a *agent) wantTokens(t *testing.T, n int) report {
	t.Helper()
	r, text := a.status(t)
	if len(r.Tokens) != n {
		t.Fatalf("%d tokens, want %d:\n%s", len(r.Tokens), n, text)
	}
	return r
}

// lock runs "stepup lock", which must say each of these texts.
func (a *agent) lock(t *testing.T, texts ...string) {
	t.Helper()
	out := a.stepup("").ok(t, "lock").stdout
	for _, text := range texts {
		contains(t, "stepup lock", out, text)
	}
	if len(texts) == 1 && strings.Contains(out, "note: ") {
		t.Errorf("stepup lock has a note:\n%s", out)
	}
}
