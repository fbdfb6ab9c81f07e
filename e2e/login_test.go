package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// login logs u in by HTTP, as a library would.
func (u user) login(t *testing.T, addr string, header ...string) got {
	t.Helper()
	return request("POST", "auth/userpass/login/"+u.name, "", header...).with(fmt.Sprintf(`{"password":%q}`, u.password)).send(t, addr)
}

// loginArgs log u in by the CLI.
func (u user) loginArgs(flags ...string) []string {
	return append(append([]string{"login", "-method=userpass"}, flags...), "username="+u.name, "password="+u.password)
}

// wantToken checks that the server knows the token as u's.
func (u user) wantToken(t *testing.T, token any) {
	t.Helper()
	text, _ := token.(string)
	if text == "" {
		t.Fatalf("no token: %v", token)
	}
	if info := u.server.lookup(t, text); info["entity_id"] != u.entity {
		t.Errorf("the token is not %s's: %v", u.name, info)
	}
}

// wantLogin checks a login that a factor completed.
func (u user) wantLogin(t *testing.T, g got) {
	t.Helper()
	g.wantStep(t, 200, "approved")
	u.wantToken(t, g.text(t, "auth", "client_token"))
}

// wantPlainLogin checks a login that stepup had no part in.
func (u user) wantPlainLogin(t *testing.T, g got) {
	t.Helper()
	g.wantPlain(t, 200)
	u.wantToken(t, g.text(t, "auth", "client_token"))
}

func TestLoginCLI(t *testing.T) {
	srv := parallel(t)
	t.Run("one enforcement, the token is stored and works", func(t *testing.T) {
		t.Parallel()
		u, c := srv.newMFAUser(t)
		p := typist(t, c)
		a := startAgent(t, setup{responder: p, hide: []string{u.password, c.secret}})
		vault, home := cli(t, a.addr)
		vault.ok(t, u.loginArgs()...)
		token, err := os.ReadFile(filepath.Join(home, ".vault-token"))
		check(t, err)
		u.wantToken(t, string(token))
		found := vault.ok(t, "token", "lookup", "-format=json").fields(t)
		equal(t, "vault token lookup", dig(found, "data", "entity_id"), any(u.entity))
		q := p.wantAsked(t, 1)[0]
		if q.Kind != "passcode" || q.Method != c.name || q.MethodType != "totp" || q.Vault != "corp" ||
			q.Path != "auth/userpass/login/"+u.name || q.Operation != "update" || q.Attempt != 1 || q.Attempts != 3 {
			t.Errorf("asked %+v", q)
		}
		if filepath.Base(q.Requester.Exe) != byServer("vault", "bao") || q.Requester.UID != os.Getuid() {
			t.Errorf("requester %+v, want the CLI of uid %d", q.Requester, os.Getuid())
		}
	})
	each(t, map[string][]string{"one enforcement, JSON": {"-non-interactive"}, "two enforcements": nil}, func(t *testing.T, flags []string) {
		u, c := srv.newMFAUser(t)
		methods := []*codes{c}
		if flags == nil {
			methods = append(methods, u.totp(t))
			u.enforce(t, methods[1].id)
		}
		p := typist(t, methods...)
		a := startAgent(t, setup{responder: p})
		vault, _ := cli(t, a.addr)
		out := vault.ok(t, u.loginArgs(append(flags, "-format=json")...)...).fields(t)
		u.wantToken(t, dig(out, "auth", "client_token"))
		p.wantAsked(t, len(methods))
	})
	t.Run("denied", func(t *testing.T) {
		t.Parallel()
		u, _ := srv.newMFAUser(t)
		a := startAgent(t, setup{responder: denier(t)})
		vault, home := cli(t, a.addr)
		vault.run(t, u.loginArgs()...).wantFailure(t, 2, "stepup: ")
		if _, err := os.Stat(filepath.Join(home, ".vault-token")); err == nil {
			t.Error("a token was stored")
		}
	})
}

func TestLoginWrongThenRight(t *testing.T) {
	u, c := parallel(t).newMFAUser(t)
	p := corrector(t, c)
	u.wantLogin(t, u.login(t, startAgent(t, setup{responder: p}).addr))
	if q := p.wantAsked(t, 2)[1]; q.Attempt != 2 || q.Message == "" {
		t.Errorf("want a second prompt with a reason: %+v", q)
	}
}

func TestLoginWrongToTheEnd(t *testing.T) {
	u, c := parallel(t).newMFAUser(t)
	p := mistaken(t, c)
	g := u.login(t, startAgent(t, setup{responder: p, attempts: 2}).addr)
	g.wantStep(t, 403, "rejected")
	contains(t, "Vault's own error", g.errors(t)[0], "failed to satisfy enforcement")
	p.wantAsked(t, 2)
}

// A code is good for one login. The second login within its period is not let
// down: the user is told and types the next one.
func TestLoginReusedCode(t *testing.T) {
	u, c := parallel(t).newMFAUser(t)
	first := c.next()
	var second atomic.Bool
	p := newResponder(t, func(_ context.Context, a asked) answer {
		if !second.Load() || a.Attempt == 1 {
			return code(first)
		}
		return code(c.next())
	})
	a := startAgent(t, setup{responder: p})
	u.login(t, a.addr).wantStep(t, 200, "approved")
	second.Store(true)
	u.wantLogin(t, u.login(t, a.addr))
	asked := p.prompts(t)
	if len(asked) < 3 || asked[len(asked)-1].Message == "" {
		t.Errorf("the user was not told about the used code: %+v", asked)
	}
}

// Vault refuses everything after five wrong codes and says for how long.
func TestLoginRateLimit(t *testing.T) {
	u, c := parallel(t).newMFAUser(t)
	p := newResponder(t, func(_ context.Context, a asked) answer {
		if a.Attempt > 6 {
			return deny()
		}
		return code(c.wrong())
	})
	g := u.login(t, startAgent(t, setup{responder: p, attempts: 9}).addr)
	g.wantStatus(t, 403)
	said := g.errors(t)
	told := said[len(said)-1] // the line of ours
	for _, a := range p.prompts(t) {
		told += a.Message
	}
	if !strings.Contains(told, "second") || strings.Contains(told, "s seconds") {
		t.Errorf("the time to wait is not said, or in Vault's own clumsy words: %s", told)
	}
}

func TestLoginNoPrompter(t *testing.T) {
	u, c := parallel(t).newMFAUser(t)
	a := startAgent(t, setup{responder: absent(t)})
	g := u.login(t, a.addr)
	g.wantStep(t, 200, "unavailable")
	id := requirement(t, g)
	if !slices.ContainsFunc(texts(g.json(t)["warnings"]), func(s string) bool { return strings.HasPrefix(s, "stepup: ") }) {
		t.Fatalf("want our warning: %s", g.body)
	}
	// The app can finish by itself.
	u.wantPlainLogin(t, validate(t, a.addr, id, c.id, c.next()))
}

func TestLoginTimeout(t *testing.T) {
	u, _ := parallel(t).newMFAUser(t)
	p := silent(t)
	a := startAgent(t, setup{responder: p, timeout: "6s"})
	u.login(t, a.addr).wantStep(t, 403, "timeout")
	eventually(t, "the prompt command is killed", func() bool { return p.ended() == 1 })
}

// Either of two methods of one enforcement will do: the user chooses, or the
// configuration does.
func TestLoginAnyOfTwo(t *testing.T) {
	srv := parallel(t)
	each(t, map[string]bool{"the user chooses": false, "the configuration prefers": true}, func(t *testing.T, prefers bool) {
		u := srv.newUser(t)
		one, two := u.totp(t), u.totp(t)
		u.enforce(t, one.id, two.id)
		p := newResponder(t, func(_ context.Context, a asked) answer {
			if a.Kind != "choose" {
				return code(two.next())
			}
			i := slices.IndexFunc(a.Choices, func(s string) bool { return strings.Contains(s, two.name) })
			if i < 0 || len(a.Choices) != 2 {
				t.Errorf("choices %q, want both methods", a.Choices)
				return deny()
			}
			return answer{text: a.Choices[i]}
		})
		s, kinds := setup{responder: p}, "choose passcode"
		if prefers {
			s.extra, kinds = fmt.Sprintf("login_mfa { prefer = [%q] }", two.name), "passcode"
		}
		u.login(t, startAgent(t, s).addr).wantStep(t, 200, "approved")
		all := p.prompts(t)
		if p.kinds(t) != kinds || all[len(all)-1].Method != two.name {
			t.Errorf("asked %+v", all)
		}
	})
}

// A sealed and unsealed Vault has forgotten the login that the user is being
// asked about, as it does after five minutes.
func TestLoginRequestGone(t *testing.T) {
	t.Parallel()
	srv, key := startRaft(t)
	srv.write(t, "sys/auth/userpass", map[string]any{"type": "userpass"})
	u, c := srv.newMFAUser(t)
	release := make(chan struct{})
	p := newResponder(t, func(ctx context.Context, _ asked) answer {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return code(c.next())
	})
	a := startAgent(t, setup{upstream: srv.addr, responder: p})
	answered := async(func() got { return u.login(t, a.addr) })
	p.wait(t, 0)
	check(t, srv.root.Sys().Seal())
	srv.unseal(t, key)
	close(release)
	select {
	case g := <-answered:
		if g.status != 403 || !strings.Contains(g.body, "stepup: ") || g.header.Get("Stepup-Outcome") == "" {
			t.Errorf("status %d, outcome %q\n%s", g.status, g.header.Get("Stepup-Outcome"), g.body)
		}
	case <-time.After(2 * patience):
		t.Fatal("the login does not end")
	}
}

// A login grant whose held login is lost with its node logs in anew with the password at hand:
// nobody is asked twice.
func TestLoginGrantOutlivesItsNode(t *testing.T) {
	t.Parallel()
	srv, key := startRaft(t)
	srv.write(t, "sys/auth/userpass", map[string]any{"type": "userpass"})
	srv.write(t, "sys/mounts/kv", map[string]any{"type": "kv"})
	srv.write(t, "kv/prod", map[string]any{"key": "value"})
	u := srv.newUser(t)
	token := u.token(t) // without the policy
	policy := srv.policy(t, `path "kv/prod" { capabilities = ["read"] }`)
	srv.write(t, "auth/userpass/users/"+u.name, map[string]any{"password": u.password, "token_policies": policy})
	c := u.totp(t)
	u.enforce(t, c.id)
	release := make(chan struct{})
	p := newResponder(t, func(ctx context.Context, a asked) answer {
		if a.Kind == "password" {
			return answer{text: u.password}
		}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return code(c.next())
	})
	a := startAgent(t, setup{upstream: srv.addr, responder: p, hide: []string{u.password, token, c.secret}, extra: fmt.Sprintf(`
step_up "prod" {
  paths = ["kv/prod"]
  grant "login" {
    path     = "auth/userpass/login/%s"
    password = "prompt"
  }
}
`, u.name)})
	answered := async(func() got { return request("GET", "kv/prod", token).send(t, a.addr) })
	p.wait(t, 1)
	check(t, srv.root.Sys().Seal())
	srv.unseal(t, key)
	close(release)
	select {
	case g := <-answered:
		g.wantStep(t, 200, "approved")
	case <-time.After(2 * patience):
		t.Fatal("the request does not end")
	}
	equal(t, "prompts", p.kinds(t), "password passcode")
}

// A login without any enforcement, a wrong password and a login with a factor of
// its own are relayed as they are.
func TestLoginOrdinary(t *testing.T) {
	srv := parallel(t)
	a := startAgent(t, setup{responder: noPrompt(t)})
	plain := srv.newUser(t)
	plain.wantPlainLogin(t, plain.login(t, a.addr))
	wrong := plain
	wrong.password = "not it"
	wrong.login(t, a.addr).wantPlain(t, 400)
	u, c := srv.newMFAUser(t)
	u.wantPlainLogin(t, u.login(t, a.addr, "X-Vault-MFA: "+c.name+":"+c.next()))
	u.login(t, a.addr, "X-Vault-MFA: "+c.name+":"+c.wrong()).wantPlain(t, 403)
}
