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
	return call{method: "POST", target: "/v1/auth/userpass/login/" + u.name, header: header,
		body: fmt.Sprintf(`{"password":%q}`, u.password)}.send(t, addr)
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
	info, err := u.server.root.Auth().Token().LookupWithContext(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	if info.Data["entity_id"] != u.entity {
		t.Errorf("the token is not %s's: %v", u.name, info.Data)
	}
}

func TestLoginCLI(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	t.Run("one enforcement, the token is stored and works", func(t *testing.T) {
		t.Parallel()
		u := srv.newUser(t)
		c := u.totp(t)
		u.enforce(t, c.id)
		p := typist(t, c)
		a := startAgent(t, setup{person: p, hide: []string{u.password, c.secret}})
		vault, home := cli(t, a.addr)
		vault.ok(t, u.loginArgs()...)
		token, err := os.ReadFile(filepath.Join(home, ".vault-token"))
		if err != nil {
			t.Fatal(err)
		}
		u.wantToken(t, string(token))
		found := vault.ok(t, "token", "lookup", "-format=json").fields(t)
		if dig(found, "data", "entity_id") != u.entity {
			t.Errorf("vault token lookup: %v", found)
		}
		asked := p.prompts(t)
		if len(asked) != 1 {
			t.Fatalf("%d prompts, want 1", len(asked))
		}
		want := asked[0]
		if want.Kind != "passcode" || want.Method != c.name || want.MethodType != "totp" || want.Vault != "corp" ||
			want.Path != "auth/userpass/login/"+u.name || want.Operation != "update" || want.Attempt != 1 || want.Attempts != 3 {
			t.Errorf("asked %+v", want)
		}
		if filepath.Base(want.Requester.Exe) != "vault" || want.Requester.UID != os.Getuid() {
			t.Errorf("requester %+v, want the vault CLI of uid %d", want.Requester, os.Getuid())
		}
	})
	t.Run("one enforcement, JSON", func(t *testing.T) {
		t.Parallel()
		u := srv.newUser(t)
		c := u.totp(t)
		u.enforce(t, c.id)
		a := startAgent(t, setup{person: typist(t, c)})
		vault, _ := cli(t, a.addr)
		out := vault.ok(t, u.loginArgs("-format=json", "-non-interactive")...).fields(t)
		u.wantToken(t, dig(out, "auth", "client_token"))
	})
	t.Run("two enforcements", func(t *testing.T) {
		t.Parallel()
		u := srv.newUser(t)
		one, two := u.totp(t), u.totp(t)
		u.enforce(t, one.id)
		u.enforce(t, two.id)
		p := newPerson(t, func(_ context.Context, a asked) answer {
			return code(map[string]*codes{one.name: one, two.name: two}[a.Method].next())
		})
		a := startAgent(t, setup{person: p})
		vault, _ := cli(t, a.addr)
		out := vault.ok(t, u.loginArgs("-format=json")...).fields(t)
		u.wantToken(t, dig(out, "auth", "client_token"))
		if n := len(p.prompts(t)); n != 2 {
			t.Errorf("%d prompts, want one for each method", n)
		}
	})
	t.Run("denied", func(t *testing.T) {
		t.Parallel()
		u := srv.newUser(t)
		c := u.totp(t)
		u.enforce(t, c.id)
		a := startAgent(t, setup{person: newPerson(t, func(context.Context, asked) answer { return deny() })})
		vault, home := cli(t, a.addr)
		r := vault.run(t, u.loginArgs()...)
		if r.code == 0 || !strings.Contains(r.stderr, "stepup: ") {
			t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		if _, err := os.Stat(filepath.Join(home, ".vault-token")); err == nil {
			t.Error("a token was stored")
		}
	})
}

func TestLoginWrongThenRight(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	u := srv.newUser(t)
	c := u.totp(t)
	u.enforce(t, c.id)
	p := newPerson(t, func(_ context.Context, a asked) answer {
		if a.Attempt == 1 {
			return code(c.wrong())
		}
		return code(c.next())
	})
	a := startAgent(t, setup{person: p})
	g := u.login(t, a.addr)
	g.wantStep(t, 200, "approved")
	u.wantToken(t, dig(g.json(t), "auth", "client_token"))
	asked := p.prompts(t)
	if len(asked) != 2 || asked[1].Attempt != 2 || asked[1].Message == "" {
		t.Errorf("want a second prompt with a reason: %+v", asked)
	}
}

func TestLoginWrongToTheEnd(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	u := srv.newUser(t)
	c := u.totp(t)
	u.enforce(t, c.id)
	p := newPerson(t, func(context.Context, asked) answer { return code(c.wrong()) })
	a := startAgent(t, setup{person: p, attempts: 2})
	g := u.login(t, a.addr)
	g.wantStep(t, 403, "rejected")
	if errs := g.errors(t); !strings.Contains(errs[0], "failed to satisfy enforcement") {
		t.Errorf("Vault's own text is not there: %q", errs)
	}
	if n := len(p.prompts(t)); n != 2 {
		t.Errorf("%d prompts, want 2", n)
	}
}

// A code is good for one login. The second login within its period is not let
// down: the person is told and types the next one.
func TestLoginReusedCode(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	u := srv.newUser(t)
	c := u.totp(t)
	u.enforce(t, c.id)
	first := c.next()
	var second atomic.Bool
	p := newPerson(t, func(_ context.Context, a asked) answer {
		if !second.Load() || a.Attempt == 1 {
			return code(first)
		}
		return code(c.next())
	})
	a := startAgent(t, setup{person: p})
	u.login(t, a.addr).wantStep(t, 200, "approved")
	second.Store(true)
	g := u.login(t, a.addr)
	g.wantStep(t, 200, "approved")
	u.wantToken(t, dig(g.json(t), "auth", "client_token"))
	asked := p.prompts(t)
	if len(asked) < 3 || asked[len(asked)-1].Message == "" {
		t.Errorf("the person was not told about the used code: %+v", asked)
	}
}

// Vault refuses everything after five wrong codes and says for how long.
func TestLoginRateLimit(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	u := srv.newUser(t)
	c := u.totp(t)
	u.enforce(t, c.id)
	p := newPerson(t, func(_ context.Context, a asked) answer {
		if a.Attempt > 6 {
			return deny()
		}
		return code(c.wrong())
	})
	a := startAgent(t, setup{person: p, attempts: 9})
	g := u.login(t, a.addr)
	if g.status != 403 {
		t.Fatalf("status %d\n%s", g.status, g.body)
	}
	told := g.body
	for _, a := range p.prompts(t) {
		told += a.Message
	}
	if !strings.Contains(told, "second") || strings.Contains(told, "s seconds") {
		t.Errorf("nobody was told how long to wait, or in Vault's own clumsy words: %s", told)
	}
}

func TestLoginNoPrompter(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	u := srv.newUser(t)
	c := u.totp(t)
	u.enforce(t, c.id)
	a := startAgent(t, setup{person: newPerson(t, func(context.Context, asked) answer { return answer{exit: 2} })})
	g := u.login(t, a.addr)
	if g.status != 200 || g.header.Get("Stepup-Outcome") != "unavailable" {
		t.Fatalf("status %d, outcome %q\n%s", g.status, g.header.Get("Stepup-Outcome"), g.body)
	}
	body := g.json(t)
	id, _ := dig(body, "auth", "mfa_requirement", "mfa_request_id").(string)
	warnings := texts(body["warnings"])
	if id == "" || !slices.ContainsFunc(warnings, func(s string) bool { return strings.HasPrefix(s, "stepup: ") }) {
		t.Fatalf("want Vault's requirement and our warning: %s", g.body)
	}
	// The app can finish by itself.
	fin := call{method: "POST", target: "/v1/sys/mfa/validate",
		body: fmt.Sprintf(`{"mfa_request_id":%q,"mfa_payload":{%q:[%q]}}`, id, c.id, c.next())}.send(t, a.addr)
	fin.wantPlain(t, 200)
	u.wantToken(t, dig(fin.json(t), "auth", "client_token"))
}

func TestLoginTimeout(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	u := srv.newUser(t)
	u.enforce(t, u.totp(t).id)
	p := newPerson(t, func(ctx context.Context, _ asked) answer { <-ctx.Done(); return deny() })
	a := startAgent(t, setup{person: p, timeout: "6s"})
	u.login(t, a.addr).wantStep(t, 403, "timeout")
	eventually(t, "the prompt command is killed", func() bool { return p.ended() == 1 })
}

// Either of two methods of one enforcement will do: the person chooses, or the
// configuration does.
func TestLoginAnyOfTwo(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	t.Run("the person chooses", func(t *testing.T) {
		t.Parallel()
		u := srv.newUser(t)
		one, two := u.totp(t), u.totp(t)
		u.enforce(t, one.id, two.id)
		p := newPerson(t, func(_ context.Context, a asked) answer {
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
		a := startAgent(t, setup{person: p})
		u.login(t, a.addr).wantStep(t, 200, "approved")
		asked := p.prompts(t)
		if len(asked) != 2 || asked[0].Kind != "choose" || asked[1].Kind != "passcode" || asked[1].Method != two.name {
			t.Errorf("asked %+v", asked)
		}
	})
	t.Run("the configuration prefers", func(t *testing.T) {
		t.Parallel()
		u := srv.newUser(t)
		one, two := u.totp(t), u.totp(t)
		u.enforce(t, one.id, two.id)
		p := typist(t, two)
		a := startAgent(t, setup{person: p, extra: fmt.Sprintf("login_mfa { prefer = [%q] }", two.name)})
		u.login(t, a.addr).wantStep(t, 200, "approved")
		if asked := p.prompts(t); len(asked) != 1 || asked[0].Method != two.name {
			t.Errorf("asked %+v", asked)
		}
	})
}

// A sealed and unsealed Vault has forgotten the login that the person is being
// asked about, as it does after five minutes.
func TestLoginRequestGone(t *testing.T) {
	t.Parallel()
	srv, key := startRaft(t)
	srv.write(t, "sys/auth/userpass", map[string]any{"type": "userpass"})
	u := srv.newUser(t)
	c := u.totp(t)
	u.enforce(t, c.id)
	release := make(chan struct{})
	p := newPerson(t, func(ctx context.Context, _ asked) answer {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return code(c.next())
	})
	a := startAgent(t, setup{upstream: srv.addr, person: p})
	answered := make(chan got, 1)
	go func() { answered <- u.login(t, a.addr) }()
	p.wait(t, 0)
	if err := srv.root.Sys().Seal(); err != nil {
		t.Fatal(err)
	}
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

// A login without any enforcement, a wrong password and a login with a factor of
// its own are nothing to us.
func TestLoginOrdinary(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	a := startAgent(t, setup{person: nobody(t)})
	plain, guarded := srv.newUser(t), srv.newUser(t)
	c := guarded.totp(t)
	guarded.enforce(t, c.id)

	g := plain.login(t, a.addr)
	g.wantPlain(t, 200)
	plain.wantToken(t, dig(g.json(t), "auth", "client_token"))

	wrong := plain
	wrong.password = "not it"
	wrong.login(t, a.addr).wantPlain(t, 400)

	g = guarded.login(t, a.addr, "X-Vault-MFA: "+c.name+":"+c.next())
	g.wantPlain(t, 200)
	guarded.wantToken(t, dig(g.json(t), "auth", "client_token"))
	guarded.login(t, a.addr, "X-Vault-MFA: "+c.name+":"+c.wrong()).wantPlain(t, 403)
}
