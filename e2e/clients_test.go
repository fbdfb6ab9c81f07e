package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A client is a program or library that reads a secret through stepup, as it is.
// docs/clients.md has the same list.
type client struct {
	name   string
	exe    string                         // that stepup shows as the requester
	unix   bool                           // speaks to a unix socket
	logsIn bool                           // can log in by itself; the others are given a token
	mute   bool                           // keeps Vault's reasons to itself
	read   func(*testing.T, visit) result // the value is in stdout where code is 0
}

// A visit is what a client needs to read one secret.
type visit struct {
	addr   string // VAULT_ADDR: http://… or unix://…
	socket string // "" for TCP
	token  string // "" for a login
	user   user
	path   string // secret/data/…
}

func clients() []client {
	return []client{
		{name: "vault CLI", exe: "vault", unix: true, logsIn: true, read: readByCLI},
		{name: "vault/api", exe: filepath.Base(os.Args[0]), unix: true, logsIn: true, read: readByAPI},
		{name: "consul-template", exe: "consul-template", unix: true, read: readByConsulTemplate},
		{name: "Terraform provider", exe: "terraform-provider-vault", logsIn: true, mute: true, read: readByTerraform},
		{name: "Vault Agent", exe: "vault", unix: true, read: readByAgentTemplate},
		{name: "Vault Proxy in front", exe: "vault", unix: true, logsIn: true, read: readByProxy},
		{name: "node-vault", exe: "node", unix: true, logsIn: true, read: readByNode},
		{name: "curl", exe: "curl", unix: true, logsIn: true, read: readByCurl},
		{name: "Python", exe: "python3", unix: true, logsIn: true, read: readByPython},
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
	more := []string{"VAULT_ADDR=" + v.addr, "STEPUP_PATH=" + v.path, "STEPUP_SOCKET=" + v.socket}
	if v.token != "" {
		return cleanEnv(tempDir(t), append(more, "VAULT_TOKEN="+v.token)...)
	}
	return cleanEnv(tempDir(t), append(more, "STEPUP_USER="+v.user.name, "STEPUP_PASSWORD="+v.user.password)...)
}

// A path behind mfa_methods: the client sends its usual request, the user
// types a code.
func TestClientsRead(t *testing.T) {
	forClients(t, func(t *testing.T, c client, unix bool) {
		w := newFixture(t, "header")
		p := w.typist(t)
		a := w.agent(t, p)
		c.read(t, a.visit(visit{token: w.token, user: w.user, path: w.path}, unix)).wantValue(t)
		q := p.wantAsked(t, 1)[0]
		c.wantAsked(t, q)
		if q.Path != w.path || q.Operation != "read" || q.Rule != "secure" {
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
		c.read(t, a.visit(visit{user: u, path: path}, unix)).wantValue(t)
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
		r := c.read(t, a.visit(visit{token: w.token, user: w.user, path: w.path}, false))
		// Terraform breaks lines where it likes.
		said := strings.Join(strings.Fields(r.stdout+r.stderr), " ")
		if r.code == 0 || !c.mute && !strings.Contains(said, "stepup: the second factor was denied") {
			t.Errorf("exit %d: %s", r.code, said)
		}
		if n, sent := len(p.prompts(t)), len(w.sent()); n != 1 || sent != 1 {
			t.Errorf("%d prompts and %d requests, want 1", n, sent)
		}
	})
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
	readByCLI(t, a.visit(visit{token: w.token, path: w.path}, false)).wantValue(t)
	p.wantAsked(t, 1)
	if lines := w.sent(); !slices.ContainsFunc(lines, func(l []string) bool { return len(l) == 1 }) {
		t.Errorf("X-Vault-MFA did not get through the proxy: %q", lines)
	}
}
