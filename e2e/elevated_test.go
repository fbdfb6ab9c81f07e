package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/e2e/gate"
)

// An elevated is somebody whose own token sees nothing of a secret, and who gets
// a step-up token that may read it: by a grant of one kind or the other.
type elevated struct {
	user
	gate    *gate.Gate
	front   *httptest.Server // the gate's
	addr    string           // of the gate
	token   string           // the app's own
	folder  string           // secret/data/secureN/, the rule's paths
	path    string           // in the folder, and the step-up token may do all there
	closed  string           // in the folder, and nobody may
	outside string           // not in the folder, and the step-up token may read it
	policy  string           // of the step-up token
	source  string           // where the step-up token comes from
	codes   *codes
	method  string // name of the TOTP method
	kind    string // of the grant
	asks    int    // prompts for one step-up
}

// newElevated has all but a way to the step-up token.
func newElevated(t *testing.T, policies ...string) *elevated {
	t.Helper()
	srv := needVault(t)
	n := users.Add(1)
	w := &elevated{folder: fmt.Sprintf("secret/data/secure%d/", n), outside: fmt.Sprintf("secret/data/outside%d/x", n)}
	w.path, w.closed = w.folder+"db", w.folder+"closed"
	for _, path := range []string{w.path, w.closed, w.outside} {
		srv.write(t, path, map[string]any{"data": map[string]any{"key": "value"}})
	}
	w.policy = srv.policy(t, fmt.Sprintf(`
path "%s*" { capabilities = ["create", "read", "update", "delete"] }
path %q { capabilities = ["read"] }
`, w.path, w.outside))
	w.user = srv.newUser(t, policies...)
	w.token = w.user.token(t)
	g, err := gate.New(srv.root)
	if err != nil {
		t.Fatal(err)
	}
	w.gate = g
	w.front = serve(t, g)
	w.addr = w.front.URL
	return w
}

// newLoginGrant is what community Vault has: another userpass mount with Login
// MFA, and the policy on that mount's user alone.
func newLoginGrant(t *testing.T) *elevated {
	t.Helper()
	w := newElevated(t)
	srv := w.server
	mount := fmt.Sprintf("stepup%d", users.Add(1))
	srv.write(t, "sys/auth/"+mount, map[string]any{"type": "userpass"})
	w.source = "auth/" + mount + "/login/" + w.name
	w.kind, w.asks = "login", 2
	w.stepUpUser(t, nil)
	mounts, err := srv.root.Sys().ListAuthWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	accessor := mounts[mount+"/"].Accessor
	srv.write(t, "identity/entity-alias", map[string]any{"name": w.name, "canonical_id": w.entity, "mount_accessor": accessor})
	w.codes = w.totp(t)
	w.method = w.codes.name
	srv.write(t, "identity/mfa/login-enforcement/"+mount, map[string]any{
		"mfa_method_ids": []string{w.codes.id}, "auth_method_accessors": []string{accessor},
	})
	return w
}

// stepUpUser writes the user of the step-up mount, with these settings as well.
func (w *elevated) stepUpUser(t *testing.T, settings map[string]any) {
	t.Helper()
	data := map[string]any{"password": w.password, "token_policies": w.policy}
	for name, value := range settings {
		data[name] = value
	}
	w.server.write(t, strings.Replace(w.source, "/login/", "/users/", 1), data)
}

// newTokenGrant is what Enterprise has: a path that makes tokens, behind MFA.
func newTokenGrant(t *testing.T) *elevated {
	t.Helper()
	srv := needVault(t)
	role := fmt.Sprintf("stepup%d", users.Add(1))
	source := "auth/token/create/" + role
	w := newElevated(t, srv.policy(t, fmt.Sprintf("path %q {\n capabilities = [\"update\"]\n mfa_methods = [\"corp_totp\"]\n}\n", source)))
	srv.write(t, "auth/token/roles/"+role, map[string]any{"allowed_policies": w.policy})
	w.source = source
	w.kind, w.asks, w.method = "token", 1, "corp_totp"
	secret, err := w.gate.AddTOTP(w.method).Enroll(w.entity)
	if err != nil {
		t.Fatal(err)
	}
	w.codes = &codes{name: w.method, secret: secret}
	return w
}

// forBothGrants runs a test that is the same for both.
func forBothGrants(t *testing.T, test func(t *testing.T, w *elevated)) {
	t.Helper()
	t.Parallel()
	forEachGrant(t, func(t *testing.T, w func(*testing.T) *elevated) {
		t.Parallel()
		test(t, w(t))
	})
}

func forEachGrant(t *testing.T, test func(*testing.T, func(*testing.T) *elevated)) {
	t.Helper()
	needVault(t)
	for name, w := range map[string]func(*testing.T) *elevated{"login": newLoginGrant, "token": newTokenGrant} {
		t.Run(name, func(t *testing.T) { test(t, w) })
	}
}

// rule is the configuration; options are more lines for the grant.
func (w *elevated) rule(options ...string) string {
	more := strings.Join(options, "\n")
	if w.kind == "login" {
		return fmt.Sprintf(`
step_up "secure" {
  paths = ["%s*"]
  grant "login" {
    path     = %q
    password = "prompt"
    %s
  }
}
`, w.folder, w.source, more)
	}
	return fmt.Sprintf(`
mfa_method %q { type = "totp" }
step_up "secure" {
  paths   = ["%s*"]
  methods = [%q]
  grant "token" {
    path     = %q
    policies = [%q]
    %s
  }
}
`, w.method, w.folder, w.method, w.source, w.policy, more)
}

// setup is that of an agent for w. Its caller may change it.
func (w *elevated) setup(p *person, options ...string) setup {
	return setup{
		upstream: w.addr, person: p, extra: w.rule(options...),
		hide: []string{w.password, w.token, w.codes.secret},
	}
}

func (w *elevated) agent(t *testing.T, p *person, options ...string) *agent {
	t.Helper()
	return w.start(t, w.setup(p, options...))
}

// start starts an agent that must not let out the step-up tokens either.
func (w *elevated) start(t *testing.T, s setup) *agent {
	t.Helper()
	a := startAgent(t, s)
	t.Cleanup(func() { a.hide = append(a.hide, w.stepUpTokens()...) })
	return a
}

// answer is what its owner says to a prompt.
func (w *elevated) answer(t *testing.T, a asked) answer {
	switch {
	case a.Kind == "password" && w.kind == "login":
		return answer{text: w.password}
	case a.Kind == "passcode" && a.Method == w.method:
		return code(w.codes.next())
	}
	t.Errorf("an odd prompt: %+v", a)
	return deny()
}

// typist answers every prompt as it should be.
func (w *elevated) typist(t *testing.T) *person {
	t.Helper()
	return newPerson(t, func(_ context.Context, a asked) answer { return w.answer(t, a) })
}

// patient answers the prompts of n step-ups, and denies what comes then.
func (w *elevated) patient(t *testing.T, n int) *person {
	t.Helper()
	var asks atomic.Int64
	return newPerson(t, func(_ context.Context, a asked) answer {
		if asks.Add(1) > int64(n*w.asks) {
			return deny()
		}
		return w.answer(t, a)
	})
}

// wantAsked checks that there were n step-ups, each with its prompts.
func (w *elevated) wantAsked(t *testing.T, p *person, n int) {
	t.Helper()
	if all := p.prompts(t); len(all) != n*w.asks {
		t.Errorf("%d prompts, want %d for %d step-ups: %+v", len(all), n*w.asks, n, all)
	}
}

func (w *elevated) get() call { return w.call("GET", w.path) }

// call is one with the app's own token.
func (w *elevated) call(method, path string) call {
	return call{method: method, target: "/v1/" + path, header: []string{tokenHeader(w.token)}}
}

// stepUpTokens are the tokens other than the app's own that were used in the
// folder, in the order of their first use.
func (w *elevated) stepUpTokens() (tokens []string) {
	for _, s := range w.gate.Seen("") {
		if strings.HasPrefix(s.Path, "/v1/"+w.folder) && s.Token != w.token && s.Token != "" && !slices.Contains(tokens, s.Token) {
			tokens = append(tokens, s.Token)
		}
	}
	return tokens
}

// stepUpToken is the only one.
func (w *elevated) stepUpToken(t *testing.T) string {
	t.Helper()
	tokens := w.stepUpTokens()
	if len(tokens) != 1 {
		t.Fatalf("%d step-up tokens were used, want 1", len(tokens))
	}
	return tokens[0]
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

// together sends the call n times at once.
func (c call) together(t *testing.T, addr string, n int) []got {
	t.Helper()
	answers := make([]got, n)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = c.send(t, addr) })
	}
	all.Wait()
	return answers
}
