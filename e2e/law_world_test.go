package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vault-stepup/stepup/e2e/gate"
	"github.com/vault-stepup/stepup/e2e/pingid"
)

// What the law is tried on: a server of its own, whose audit log says which path Vault routed and with
// which token, and an agent for each grant.

// probe is the header that names a request of the law in Vault's audit log.
const probe = "X-Probe"

// capabilities are all of the server's.
func capabilities() []string {
	return append([]string{"create", "read", "update", "patch", "delete", "list"}, byServer(nil, []string{"scan"})...)
}

// everything is what an elevated token may, with more in the same block: much more than the rules cover, so
// that it shows wherever it goes astray.
func everything(more string) string {
	return fmt.Sprintf("path \"*\" { capabilities = [%s] %s }\n", quoted(capabilities()), more)
}

// own is what every caller may without a second factor, some of it below a rule.
const own = `
path "kv/data/own/*" { capabilities = ["create", "read", "update", "patch", "delete"] }
path "kv/metadata/own/*" { capabilities = ["read", "list"] }
path "kv/data/deploy/open/*" { capabilities = ["read"] }
path "kv1/own/*" { capabilities = ["create", "read", "update", "list"] }
`

// lawRules are the rules of every agent, by name.
var lawRules = map[string]lawRule{
	"all": {paths: []string{
		"kv/data/deploy/*", "kv/metadata/deploy/*", "kv/data/+/plus", "kv/data/exact", "kv1/team/+/deep/*", "kv1/lists/dir",
	}},
	"readers": {paths: []string{"kv/data/ro/*"}, operations: []string{"read"}},
}

// A lawRule is what a step_up block says of paths.
type lawRule struct {
	paths      []string
	operations []string // nil is all
}

// An entry is a request in Vault's audit log, as it was routed.
type entry struct {
	path, operation, token string
	factor                 bool // it brought X-Vault-MFA
}

// A caller is a token of the law and what is known of it.
type caller struct {
	token    string
	id       string            // of the token, as the audit log has it: what clients hold says more than that
	dead     bool              // Vault does not know it any more
	elevated map[string]string // step-up tokens by rule
}

// A lawGrant is one agent and its callers.
type lawGrant struct {
	kind    string // of the grant
	front   string // what the agent has for a Vault
	agent   *agent
	callers map[string]*caller
	code    atomic.Int64 // the last code that was typed, for a header grant
	deny    atomic.Bool  // every prompt is denied from now on
}

// A lawWorld is the server and the agents.
type lawWorld struct {
	server *server
	grants []*lawGrant

	mu      sync.Mutex
	entries map[string][]entry // of the audit log, by probe
}

func newLawWorld(t *testing.T) *lawWorld {
	t.Helper()
	needVault(t)
	dir := tempDir(t)
	srv, err := startDev(filepath.Join(dir, "vault"), "")
	check(t, err)
	t.Cleanup(srv.stop)
	w := &lawWorld{server: srv, entries: map[string][]entry{}}
	srv.write(t, "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	srv.write(t, "sys/mounts/kv1", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	w.fill(t)
	w.listen(t, filepath.Join(dir, "audit.sock"))
	w.grants = []*lawGrant{w.login(t), w.token(t), w.header(t)}
	for _, g := range w.grants {
		eventually(t, "the token expires", func() bool { return !srv.alive(t, g.callers["expired"].token) })
		for _, name := range []string{"expired", "revoked", "left"} {
			g.callers[name].dead = true
		}
		g.deny.Store(g.kind != "header")
	}
	return w
}

// fill writes what the requests find: one secret of each path for those that read, one for those that
// write, and none for those that delete, so that no request changes the answer to another.
func (w *lawWorld) fill(t *testing.T) {
	t.Helper()
	secret := map[string]any{"data": map[string]any{"key": "value"}}
	// A new store of version 2 upgrades itself first, and refuses writes meanwhile.
	eventually(t, "kv/ is there", func() bool {
		_, err := w.server.root.Logical().WriteWithContext(t.Context(), "kv/data/deploy/web", secret)
		return err == nil
	})
	for _, base := range []string{"deploy", "deploy/a", "deploy/open", "deployer", "other", "ro", "own", "team/kv/data/deploy", "exact"} {
		for _, leaf := range []string{"web", "put"} {
			w.server.write(t, "kv/data/"+base+"/"+leaf, secret)
		}
	}
	for _, path := range []string{"kv/data/exact", "kv/data/x/plus", "kv/data/x/y/plus"} {
		w.server.write(t, path, secret)
	}
	for _, base := range []string{
		"kv1/kv/data/deploy", "kv1/kv/data/other", "kv1/team/x/deep", "kv1/team/x/y/deep", "kv1/own", "kv1/lists/dir",
		"kv1/sys/internal/ui/mounts/kv/deploy",
	} {
		for _, leaf := range []string{"web", "put"} {
			w.server.write(t, base+"/"+leaf, secret)
		}
	}
}

// listen takes Vault's audit log: it is written before a request is answered.
func (w *lawWorld) listen(t *testing.T, socket string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	check(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go w.read(conn)
		}
	}()
	for _, name := range []string{probe, "X-Vault-MFA"} {
		w.server.write(t, "sys/config/auditing/request-headers/"+name, map[string]any{"hmac": false})
	}
	w.server.write(t, "sys/audit/law", map[string]any{"type": "socket", "options": map[string]string{
		"address": socket, "socket_type": "unix", "log_raw": "true", "write_timeout": "30s",
	}})
}

func (w *lawWorld) read(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 1<<20)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		if !bytes.Contains(line, []byte(strings.ToLower(probe))) {
			continue
		}
		var e struct {
			Type    string
			Request struct {
				Path, Operation string
				ClientToken     string `json:"client_token"`
				Headers         map[string][]string
			}
		}
		if err := json.Unmarshal(line, &e); err != nil || e.Type != "request" {
			continue
		}
		id := strings.Join(e.Request.Headers[strings.ToLower(probe)], ",")
		w.mu.Lock()
		w.entries[id] = append(w.entries[id], entry{
			e.Request.Path, e.Request.Operation, e.Request.ClientToken, len(e.Request.Headers["x-vault-mfa"]) > 0,
		})
		w.mu.Unlock()
	}
}

// routed are the entries of one probe.
func (w *lawWorld) routed(id string) []entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.entries[id])
}

// settle returns when the audit log is read to here.
func (w *lawWorld) settle(t *testing.T, id string) {
	t.Helper()
	request("GET", "sys/policies/acl/default", "root", probe+": "+id).send(t, w.server.addr)
	eventually(t, "the audit log is read", func() bool { return len(w.routed(id)) > 0 })
}

// config is the rules of an agent, with this grant for each.
func (g *lawGrant) config(grant string) string {
	var b strings.Builder
	for _, name := range []string{"all", "readers"} {
		r := lawRules[name]
		fmt.Fprintf(&b, "step_up %q {\n  paths = [%s]\n", name, quoted(r.paths))
		if r.operations != nil {
			fmt.Fprintf(&b, "  capabilities = [%s]\n", quoted(r.operations))
		}
		fmt.Fprintf(&b, "  %s\n}\n", grant)
	}
	return b.String()
}

// login has a user whose login is held for a push, which is approved at once.
func (w *lawWorld) login(t *testing.T) *lawGrant {
	t.Helper()
	g := &lawGrant{kind: "login", front: w.server.addr}
	robot := w.server.newUser(t, w.server.policy(t, everything("")))
	robot.enforce(t, pingPhone(t, robot).id)
	world.ping.Give(robot.name, func(context.Context, string) pingid.Decision { return pingid.Decision{Approve: true} })
	w.start(t, g, g.config(fmt.Sprintf("grant \"login\" {\n path = \"auth/userpass/login/%s\"\n password = \"prompt\"\n }", robot.name)),
		func(ctx context.Context, a asked) answer {
			if a.Kind == "password" {
				return answer{text: robot.password}
			}
			<-ctx.Done() // told of the push
			return answer{}
		})
	w.callers(t, g, w.server.policy(t, own))
	return g
}

// token has a role behind mfa_methods. What is not guarded goes to Vault straight.
func (w *lawWorld) token(t *testing.T) *lawGrant {
	t.Helper()
	g := &lawGrant{kind: "token"}
	role, policy := fmt.Sprintf("law%d", users.Add(1)), w.server.policy(t, everything(""))
	w.server.write(t, "auth/token/roles/"+role, map[string]any{"allowed_policies": policy})
	upstream, err := url.Parse(w.server.addr)
	check(t, err)
	guard, straight := w.gate(t), &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(upstream)
		p.Out.URL.RawQuery = p.In.URL.RawQuery
	}}
	g.front = serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/auth/token/create/") {
			guard.ServeHTTP(rw, r)
			return
		}
		straight.ServeHTTP(rw, r)
	})).URL
	w.start(t, g, "mfa_method \"law\" { type = \"totp\" }\n"+g.config(fmt.Sprintf(
		"methods = [\"law\"]\n grant \"token\" {\n path = \"auth/token/create/%s\"\n policies = [%q]\n }", role, policy)), g.types)
	w.callers(t, g, w.server.policy(t, own+fmt.Sprintf(
		"path \"auth/token/create/%s\" {\n capabilities = [\"update\"]\n mfa_methods = [\"law\"]\n}\n", role)))
	return g
}

// header has everything behind mfa_methods.
func (w *lawWorld) header(t *testing.T) *lawGrant {
	t.Helper()
	g := &lawGrant{kind: "header"}
	g.front = serve(t, w.gate(t)).URL
	w.start(t, g, "mfa_method \"law\" { type = \"totp\" }\n"+g.config("methods = [\"law\"]\n grant \"header\" {}"), g.types)
	w.callers(t, g, w.server.policy(t, own+everything(`mfa_methods = ["law"]`)))
	return g
}

// gate takes each code of six digits once.
func (w *lawWorld) gate(t *testing.T) *gate.Gate {
	t.Helper()
	g := newGate(t, w.server)
	var used sync.Map
	g.AddPasscodes("law", func(code string) bool {
		_, again := used.LoadOrStore(code, true)
		return len(code) == 6 && !again
	})
	return g
}

// types is an authenticator that never waits.
func (g *lawGrant) types(context.Context, asked) answer {
	return code(fmt.Sprintf("%06d", g.code.Add(1)))
}

// start runs the agent. Its responder calls act, until it denies everything.
func (w *lawWorld) start(t *testing.T, g *lawGrant, rules string, act func(context.Context, asked) answer) {
	t.Helper()
	p := newResponder(t, func(ctx context.Context, a asked) answer {
		if g.deny.Load() {
			return deny()
		}
		return act(ctx, a)
	})
	g.agent = startAgent(t, setup{upstream: g.front, responder: p, extra: rules})
}

// callers are two that live, three that are dead by now but had their step-up, one that never had one,
// junk, and no token at all.
func (w *lawWorld) callers(t *testing.T, g *lawGrant, policy string) {
	t.Helper()
	g.callers = map[string]*caller{
		"junk": {token: "hvs.CAESIJunkJunkJunk", dead: true}, "none": {dead: true},
		"other": {token: w.server.newUser(t, policy).token(t)},
	}
	for _, name := range []string{"expired", "revoked", "left", "first", "second"} {
		u := w.server.newUser(t, policy)
		if name == "expired" {
			w.server.write(t, "auth/userpass/users/"+u.name, map[string]any{"token_ttl": "15s", "token_max_ttl": "15s"})
		}
		c := &caller{token: u.token(t), elevated: map[string]string{}}
		c.id = w.identify(t, c.token)
		g.callers[name] = c
		if g.kind != "header" {
			w.stepUp(t, g, c, "all", "kv/data/deploy/web")
			w.stepUp(t, g, c, "readers", "kv/data/ro/web")
		}
	}
	w.server.write(t, "auth/token/revoke", map[string]any{"token": g.callers["revoked"].token})
	request("POST", "auth/token/revoke-self", g.callers["left"].token).send(t, g.agent.addr).wantPlain(t, 204)
	for _, name := range []string{"junk", "other"} {
		g.callers[name].id = w.identify(t, g.callers[name].token)
	}
}

// identify is a token as the audit log has it.
func (w *lawWorld) identify(t *testing.T, token string) string {
	t.Helper()
	id := fmt.Sprintf("i%d", users.Add(1))
	request("GET", "kv1/own/web", token, probe+": "+id).send(t, w.server.addr)
	eventually(t, "the audit log is read", func() bool { return len(w.routed(id)) > 0 })
	return w.routed(id)[0].token
}

// stepUp gets a step-up token, and finds it in the audit log.
func (w *lawWorld) stepUp(t *testing.T, g *lawGrant, c *caller, rule, path string) {
	t.Helper()
	id := fmt.Sprintf("s%d", users.Add(1))
	request("GET", path, c.token, probe+": "+id).send(t, g.agent.addr).wantStep(t, 200, "approved")
	w.settle(t, id+"s")
	for _, e := range w.routed(id) {
		if e.token != c.id {
			c.elevated[rule] = e.token
		}
	}
	if c.elevated[rule] == "" {
		t.Fatalf("no step-up token in the audit log: %+v", w.routed(id))
	}
}
