package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"path"
	"strings"
	"testing"
)

// What only OpenBao has of the two servers: namespaces, logins inside a request, scans. With Vault there
// is nothing to test.

// onOpenBao is parallel for a test of these; nil with Vault.
func onOpenBao(t *testing.T) *server {
	t.Helper()
	srv := parallel(t)
	if !world.bao {
		return nil
	}
	return srv
}

// newNamespace is a namespace of its own as a server, whose root is that of the whole server, with
// userpass at its usual place, and a secret at kv/db in a store of version 1.
func (s *server) newNamespace(t *testing.T) (in *server, name string) {
	t.Helper()
	name = fmt.Sprintf("ns%d", users.Add(1))
	s.write(t, "sys/namespaces/"+name, nil)
	in = &server{addr: s.addr, root: s.root.WithNamespace(path.Join(s.root.Namespace(), name))}
	in.write(t, "sys/auth/userpass", map[string]any{"type": "userpass"})
	in.write(t, "sys/mounts/kv", map[string]any{"type": "kv"})
	in.write(t, "kv/db", map[string]any{"key": "value"})
	return in, name
}

// spellings are a request for a path in a namespace, as clients write it.
func spellings(ns string) map[string]func(method, path, token string) call {
	return map[string]func(method, path, token string) call{
		"header":              func(m, p, token string) call { return request(m, p, token, "X-Vault-Namespace: "+ns) },
		"header with slashes": func(m, p, token string) call { return request(m, p, token, "X-Vault-Namespace: /"+ns+"/") },
		"path":                func(m, p, token string) call { return request(m, ns+"/"+p, token) },
	}
}

// A held login is completed in the namespace that it is in.
func TestNamespaceLogin(t *testing.T) {
	srv := onOpenBao(t)
	if srv == nil {
		return
	}
	outer, ns := srv.newNamespace(t)
	inner, below := outer.newNamespace(t)
	type where struct {
		server *server
		send   func(method, path, token string) call
	}
	tests := map[string]where{"half and half": {inner, func(m, p, token string) call {
		return request(m, below+"/"+p, token, "X-Vault-Namespace: "+ns)
	}}}
	for name, send := range spellings(ns) {
		tests[name] = where{server: outer, send: send}
	}
	each(t, tests, func(t *testing.T, w where) {
		u, c := w.server.newMFAUser(t)
		p := corrector(t, c)
		a := startAgent(t, setup{responder: p, hide: []string{u.password, c.secret}})
		login := w.send("POST", "auth/userpass/login/"+u.name, "").with(fmt.Sprintf(`{"password":%q}`, u.password))
		u.wantLogin(t, login.send(t, a.addr))
		for _, q := range p.wantAsked(t, 2) {
			if !strings.HasSuffix(q.Path, "auth/userpass/login/"+u.name) || !strings.Contains(q.Namespace+"/"+q.Path, ns) || q.Method != c.name {
				t.Errorf("asked %+v", q)
			}
		}
	})
}

// typist answers the prompts of a login grant.
func (u user) typist(t *testing.T, c *codes) *responder {
	t.Helper()
	return newResponder(t, func(_ context.Context, a asked) answer {
		if a.Kind == "password" {
			return answer{text: u.password}
		}
		return code(c.next())
	})
}

// A rule that names a namespace gets its step-up token there, however the request says where it goes, for a
// caller of that namespace and for one of the root above it.
func TestNamespaceGrantLogin(t *testing.T) {
	srv := onOpenBao(t)
	if srv == nil {
		return
	}
	for _, from := range []string{"caller of the namespace", "caller of root"} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			in, ns := srv.newNamespace(t)
			u, c := in.newMFAUser(t)
			in.write(t, "auth/userpass/users/"+u.name, map[string]any{
				"password": u.password, "token_policies": in.policy(t, `path "kv/db" { capabilities = ["read"] }`),
			})
			token := srv.newUser(t).token(t)
			if from != "caller of root" {
				token = in.write(t, "auth/token/create", map[string]any{"policies": []string{"default"}}).Auth.ClientToken
			}
			p := u.typist(t, c)
			a := startAgent(t, setup{responder: p, hide: []string{u.password, c.secret, token}, extra: fmt.Sprintf(`
step_up "db" {
  namespace = %q
  paths     = ["kv/db"]
  grant "login" {
    path     = "auth/userpass/login/%s"
    password = "prompt"
  }
}
`, ns, u.name)})
			outcome := "approved"
			for _, send := range spellings(ns) {
				g := send("GET", "kv/db", token).send(t, a.addr)
				g.wantStep(t, 200, outcome)
				equal(t, "the secret", g.text(t, "data", "key"), "value")
				outcome = "cached"
			}
			request("GET", "kv/db", token).send(t, a.addr).wantPlain(t, 403) // in root
			equal(t, "prompts", p.kinds(t), "password passcode")
			// After it is revoked, the caller is served no more, and nobody is asked.
			srv.write(t, "auth/token/revoke", map[string]any{"token": token})
			eventually(t, "the caller is seen to be dead", func() bool {
				return request("GET", "kv/db", token, "X-Vault-Namespace: "+ns).send(t, a.addr).status == 403
			})
			equal(t, "prompts", p.kinds(t), "password passcode")
		})
	}
}

// inline are the headers of a login inside a request.
func (u user) inline() []string {
	parameter := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"key":"password","value":%q}`, u.password))
	return []string{
		"X-Vault-Inline-Auth-Path: auth/userpass/login/" + u.name, "X-Vault-Inline-Auth-Operation: update",
		"X-Vault-Inline-Auth-Parameter-Password: " + parameter,
	}
}

// A login inside a request cannot be held: with single_phase it is asked about, without it OpenBao's own
// answer says what is missing.
func TestInlineAuthentication(t *testing.T) {
	srv := onOpenBao(t)
	if srv == nil {
		return
	}
	at := fmt.Sprintf("secret/data/inline%d", users.Add(1))
	srv.secret(t, at)
	newReader := func(t *testing.T) (user, *codes) {
		u := srv.newUser(t, srv.policy(t, fmt.Sprintf("path %q { capabilities = [\"read\"] }", at)))
		c := u.totp(t)
		u.enforce(t, c.id)
		return u, c
	}
	t.Run("asked", func(t *testing.T) {
		t.Parallel()
		u, c := newReader(t)
		p := corrector(t, c)
		a := startAgent(t, setup{responder: p, extra: singlePhase(c.name), hide: []string{u.password, c.secret}})
		g := request("GET", at, "", u.inline()...).send(t, a.addr)
		g.wantStep(t, 200, "approved")
		equal(t, "the secret", g.text(t, "data", "data", "key"), "value")
		p.wantAsked(t, 2)
	})
	t.Run("denied", func(t *testing.T) {
		t.Parallel()
		u, c := newReader(t)
		a := startAgent(t, setup{responder: denier(t), extra: singlePhase(c.name)})
		request("GET", at, "", u.inline()...).send(t, a.addr).wantStep(t, 403, "denied")
	})
	t.Run("not asked", func(t *testing.T) {
		t.Parallel()
		u, c := newReader(t)
		a := startAgent(t, setup{responder: noPrompt(t), extra: singlePhase(c.name)})
		u.password = "wrong"
		request("GET", at, "", u.inline()...).send(t, a.addr).wantPlain(t, 400)
	})
	t.Run("not configured", func(t *testing.T) {
		t.Parallel()
		u, _ := newReader(t)
		a := startAgent(t, setup{responder: noPrompt(t)})
		g := request("GET", at, "", u.inline()...).send(t, a.addr)
		g.wantPlain(t, 500)
		contains(t, "OpenBao's error", g.errors(t)[0], "use the X-Vault-MFA header")
		a.wantLog(t, "single_phase in login_mfa asks for it")
	})
}

// A scan is stepped up by both its spellings, where the rule names it.
func TestScan(t *testing.T) {
	srv := onOpenBao(t)
	if srv == nil {
		return
	}
	folder := fmt.Sprintf("secret/metadata/scan%d/", users.Add(1))
	srv.secret(t, strings.Replace(folder, "metadata", "data", 1)+"a/b")
	u, c := srv.newMFAUser(t)
	token := srv.newUser(t).token(t)
	srv.write(t, "auth/userpass/users/"+u.name, map[string]any{
		"password": u.password, "token_policies": srv.policy(t, fmt.Sprintf(`path "%s*" { capabilities = ["scan"] }`, folder)),
	})
	p := u.typist(t, c)
	a := startAgent(t, setup{responder: p, hide: []string{u.password, c.secret, token}, extra: fmt.Sprintf(`
step_up "names" {
  paths        = ["%s*"]
  capabilities = ["scan"]
  grant "login" {
    path     = "auth/userpass/login/%s"
    password = "prompt"
  }
}
`, folder, u.name)})
	request("LIST", folder, token).send(t, a.addr).wantPlain(t, 403)
	outcome := "approved"
	for _, c := range []call{request("SCAN", folder, token), request("GET", folder+"?scan=true", token), request("GET", strings.TrimSuffix(folder, "/")+"?scan=true", token)} {
		g := c.send(t, a.addr)
		g.wantStep(t, 200, outcome)
		contains(t, "the names", g.body, "a/b")
		outcome = "cached"
	}
	equal(t, "prompts", p.kinds(t), "password passcode")
}
