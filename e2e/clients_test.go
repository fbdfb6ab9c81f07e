package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/e2e/clientbin"
)

// A client is a program or library that reads secrets through stepup, as it is.
// docs/clients.md has the same list.
type client struct {
	name    string
	exe     string                         // that stepup shows as the requester
	unix    bool                           // speaks to a unix socket
	logsIn  bool                           // can log in by itself; the others are given a token
	mute    bool                           // keeps Vault's reasons to itself
	many    bool                           // reads many secrets in one run
	transit bool                           // decrypts with a key of Vault, in place of reading a secret
	read    func(*testing.T, visit) result // the value is in stdout where code is 0
}

// A visit is what a client needs to read its secrets, which all have the same value.
type visit struct {
	addr   string // VAULT_ADDR: http://… or unix://…
	socket string // "" for TCP
	token  string // "" for a login
	user   user
	paths  []string // secret/data/…
	cipher string   // transit/decrypt/…
	blind  bool     // the token sees nothing of the mount
	more   []string // of its environment
}

func clients() []client {
	server := byServer("vault", "bao")
	return []client{
		{name: "vault CLI", exe: server, unix: true, logsIn: true, read: readByCLI},
		{name: "vault-api Go", exe: filepath.Base(os.Args[0]), unix: true, logsIn: true, many: true, read: readByAPI},
		{name: "vault-client-go", exe: "vault-client-go", logsIn: true, many: true, read: readByVaultClientGo},
		{name: "consul-template", exe: "consul-template", unix: true, many: true, read: readByConsulTemplate},
		{name: "Terraform provider", exe: "terraform-provider-vault", logsIn: true, mute: true, many: true, read: readByTerraform},
		{name: "Vault Agent", exe: server, unix: true, many: true, read: readByAgentTemplate},
		{name: "Vault Proxy in front", exe: server, unix: true, logsIn: true, read: readByProxy},
		{name: "sops", exe: "sops", unix: true, transit: true, read: readBySops},
		{name: "vals", exe: "vals", unix: true, logsIn: true, many: true, read: readByVals},
		{name: "node-vault", exe: "node", unix: true, logsIn: true, many: true, read: readByLibrary(clientbin.NodeVault())},
		{name: "hashi-vault-js", exe: "node", logsIn: true, many: true, read: readByLibrary(clientbin.HashiVaultJS())},
		{name: "node-vault-client", exe: "node", many: true, read: readByLibrary(clientbin.NodeVaultClient())},
		{name: "vault-api", exe: "node", unix: true, many: true, read: readByLibrary(clientbin.VaultAPI())},
		{name: "Node's fetch", exe: "node", logsIn: true, many: true, read: readByFetch},
		{name: "curl", exe: "curl", unix: true, logsIn: true, read: readByCurl},
		{name: "Python", exe: "python3", unix: true, logsIn: true, many: true, read: readByPython},
		{name: "hvac", exe: "python3", logsIn: true, many: true, read: readByHvac},
		{name: "Ansible", exe: "python3", logsIn: true, mute: true, many: true, read: readByAnsible},
	}
}

// forClients runs a test with each client, over TCP and over the unix socket.
func forClients(t *testing.T, test func(t *testing.T, c client, unix bool)) {
	t.Helper()
	parallel(t)
	for _, c := range clients() {
		for name, unix := range map[string]bool{"tcp": false, "unix": true} {
			if unix && !c.unix {
				continue
			}
			t.Run(c.name+" "+name, func(t *testing.T) {
				t.Parallel()
				test(t, c, unix)
			})
		}
	}
}

func (a *agent) visit(v visit, unix bool) visit {
	v.addr = a.addr
	if unix {
		v.addr, v.socket = "unix://"+a.socket, a.socket
	}
	return v
}

// env is what every client finds in its environment.
func (v visit) env(t *testing.T) []string {
	t.Helper()
	more := append([]string{"VAULT_ADDR=" + v.addr, "STEPUP_PATHS=" + strings.Join(v.paths, " "), "STEPUP_SOCKET=" + v.socket}, v.more...)
	if v.blind {
		more = append(more, "STEPUP_BLIND=1")
	}
	if v.token != "" {
		return cleanEnv(tempDir(t), append(more, "VAULT_TOKEN="+v.token)...)
	}
	return cleanEnv(tempDir(t), append(more, "STEPUP_USER="+v.user.name, "STEPUP_PASSWORD="+v.user.password)...)
}

// visit is one by the user of the fixture, through the agent a.
func (w *fixture) visit(a *agent, unix bool) visit {
	return a.visit(visit{token: w.token, user: w.user, paths: []string{w.path}, cipher: w.cipher, blind: w.kind != "header"}, unix)
}

// A path behind mfa_methods: the client sends its usual request, the user
// types a code.
func TestClientsRead(t *testing.T) {
	forClients(t, func(t *testing.T, c client, unix bool) {
		w := newFixture(t, "header")
		p := w.typist(t)
		a := w.agent(t, p)
		c.read(t, w.visit(a, unix)).wantValue(t)
		q := p.wantAsked(t, 1)[0]
		c.wantAsked(t, q)
		path, operation := w.path, "read"
		if c.transit {
			path, operation = w.cipher, "update"
		}
		if q.Path != path || q.Operation != operation || q.Rule != "secure" {
			t.Errorf("asked %+v", q)
		}
	})
}

// Login MFA: the client logs in with a password and never hears of a factor.
func TestClientsLogin(t *testing.T) {
	forClients(t, func(t *testing.T, c client, unix bool) {
		if !c.logsIn {
			return // it is always given a token
		}
		srv := needVault(t)
		path := fmt.Sprintf("secret/data/client%d/x", users.Add(1))
		srv.secret(t, path)
		u := srv.newUser(t, srv.policy(t, fmt.Sprintf("path %q { capabilities = [\"read\"] }", path)))
		codes := u.totp(t)
		u.enforce(t, codes.id)
		p := typist(t, codes)
		a := startAgent(t, setup{responder: p, hide: []string{u.password, codes.secret}})
		c.read(t, a.visit(visit{user: u, paths: []string{path}}, unix)).wantValue(t)
		q := p.wantAsked(t, 1)[0]
		c.wantAsked(t, q)
		equal(t, "path", q.Path, "auth/userpass/login/"+u.name)
	})
}

// A denial ends the client at once: it does not try again, and it shows why.
func TestClientsDenied(t *testing.T) {
	forClients(t, func(t *testing.T, c client, unix bool) {
		if unix {
			return // as over TCP
		}
		w := newFixture(t, "header")
		p := denier(t)
		a := w.agent(t, p)
		r := c.read(t, w.visit(a, false))
		// Terraform and sops break lines where they like.
		said := strings.Join(strings.Fields(strings.ReplaceAll(r.stdout+r.stderr, "|", "")), " ")
		if r.code == 0 || !c.mute && !strings.Contains(said, "stepup: the second factor was denied") {
			t.Errorf("exit %d: %s", r.code, said)
		}
		path := w.path
		if c.transit {
			path = w.cipher
		}
		if n, sent := len(p.prompts(t)), len(w.gate.Seen("/v1/"+path)); n != 1 || sent != 1 {
			t.Errorf("%d prompts and %d requests, want 1", n, sent)
		}
	})
}

// Fifty secrets of one rule with a grant that makes a token: one step-up, however the
// client spreads its requests.
func TestClientsBurst(t *testing.T) {
	forClients(t, func(t *testing.T, c client, unix bool) {
		if unix || !c.many {
			return
		}
		w := newFixture(t, "token")
		p := w.typist(t)
		a := w.agent(t, p)
		v := w.visit(a, false)
		for i := range 49 {
			path := fmt.Sprintf("%s-%d", w.path, i)
			w.server.secret(t, path)
			v.paths = append(v.paths, path)
		}
		c.read(t, v).wantValue(t)
		c.wantAsked(t, w.wantAsked(t, p, 1)[0])
	})
}

// With the environment of stepup exec no client sends its token to the HTTP proxy of the
// company, although some do without it, and do not understand networks in NO_PROXY.
func TestClientsPastHTTPProxy(t *testing.T) {
	parallel(t)
	w := newFixture(t, "token")
	a, _ := w.steppedUp(t)
	var seen atomic.Int64
	proxy := serve(t, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		seen.Add(1)
		rw.WriteHeader(http.StatusBadGateway)
	}))
	set := []string{"HTTP_PROXY=" + proxy.URL, "http_proxy=" + proxy.URL, "NO_PROXY=127.0.0.0/8,.corp.example"}
	exposed := w.visit(a, false)
	exposed.more = set[:2]
	if r := readByCurl(t, exposed); r.code == 0 || seen.Swap(0) == 0 {
		t.Errorf("curl does not use the proxy at all: exit %d\n%s", r.code, r.stderr)
	}
	inExec := a.stepup("")
	inExec.env = append(slices.Clone(inExec.env), set...)
	var more []string
	for line := range strings.Lines(inExec.ok(t, "exec", "--", "env").stdout) {
		if name, _, _ := strings.Cut(line, "="); strings.HasSuffix(strings.ToLower(name), "_proxy") {
			more = append(more, strings.TrimSpace(line))
		}
	}
	for _, c := range clients() {
		t.Run(c.name, func(t *testing.T) {
			v := w.visit(a, false)
			v.more = more
			c.read(t, v).wantValue(t)
			if n := seen.Swap(0); n != 0 {
				t.Errorf("%d requests went to the proxy", n)
			}
		})
	}
}

// A client that lists the mounts first, with its own token, needs to see the mount
// there: then it comes to the path of the rule.
func TestClientListsMounts(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "token")
	p := w.typist(t)
	a := w.agent(t, p)
	v, read := w.visit(a, false), readByLibrary(clientbin.VaultAPI())
	v.blind = false // it is not told what is there
	if r := read(t, v); r.code == 0 || !strings.Contains(r.stderr, "Missing required configuration") {
		t.Errorf("without the mount: exit %d\n%s", r.code, r.stderr)
	}
	w.wantAsked(t, p, 0)
	visible := w.server.policy(t, `path "secret/metadata/" { capabilities = ["list"] }`)
	w.server.write(t, "identity/entity/id/"+w.entity, map[string]any{"policies": visible})
	read(t, v).wantValue(t)
	w.wantAsked(t, p, 1)
}

// A person who thinks for 40 seconds: each client waits that long with the settings that
// docs/clients.md names. They all wait for the same step-up.
func TestClientsWait(t *testing.T) {
	parallel(t)
	w := newFixture(t, "login")
	answered := make(chan struct{})
	p := newResponder(t, func(ctx context.Context, q asked) answer {
		if q.Kind == "passcode" {
			select {
			case <-time.After(40 * time.Second):
			case <-ctx.Done():
			}
			defer close(answered)
		}
		return w.answer(t, q)
	})
	a := w.agent(t, p)
	var all sync.WaitGroup
	for _, c := range clients() {
		// Each of them is a subtest that runs beside the others, however few may run in parallel.
		all.Go(func() {
			t.Run(c.name, func(t *testing.T) {
				r := c.read(t, w.visit(a, false))
				select {
				case <-answered:
				default:
					t.Error("it ended before the answer")
				}
				r.wantValue(t)
			})
		})
	}
	all.Wait()
	w.wantAsked(t, p, 1)
}

func (r result) wantValue(t *testing.T) {
	t.Helper()
	if r.code != 0 || r.stdout != "value" {
		t.Errorf("read %q, exit %d\n%s", r.stdout, r.code, r.stderr)
	}
}

// wantAsked checks that the prompt names the client.
func (c client) wantAsked(t *testing.T, q asked) {
	t.Helper()
	got := filepath.Base(q.Requester.Exe)
	if !strings.HasPrefix(got, c.exe) {
		t.Errorf("asked for %s, want %s", got, c.exe)
	}
}

// Vault Proxy behind stepup is one more Vault to it.
func TestProxyBehind(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "header")
	p := w.typist(t)
	proxy := startProxy(t, w.addr)
	s := w.setup(p)
	s.upstream = proxy
	a := w.start(t, s)
	readByCLI(t, w.visit(a, false)).wantValue(t)
	p.wantAsked(t, 1)
	if lines := w.sent(); !slices.ContainsFunc(lines, func(l []string) bool { return len(l) == 1 }) {
		t.Errorf("X-Vault-MFA did not get through the proxy: %q", lines)
	}
}
