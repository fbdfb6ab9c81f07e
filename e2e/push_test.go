package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// slowThumb is longer than stepup waits for an answer that needs no phone (3 s).
const slowThumb = 3500 * time.Millisecond

// A pushFixture is a vault command whose second factor is a push to a phone, and a
// user at a terminal with "stepup attach".
type pushFixture struct {
	*pushMethod
	w      *fixture // with mfa_methods on a path; nil at a login
	agent  *agent
	screen *terminal
	vault  program
	args   []string // of the command
	wants  string   // as the prompt says it
}

// newPushFixture makes a login ("login"), or the read of a path ("rule"). The agent has
// these lines in its prompt block.
func newPushFixture(t *testing.T, kind string, push provider, lines ...string) *pushFixture {
	t.Helper()
	if kind == "login" {
		return newPushLogin(t, needVault(t).newUser(t), push)
	}
	w := newFixture(t, "header", "phone")
	p := &pushFixture{w: w, pushMethod: push(t, w.user), args: []string{"read", "-format=json", w.path}, wants: "read " + w.path}
	p.name = "phone"
	w.gate.AddPush("phone", p.throughVault(t))
	s := w.setup(nil)
	s.extra = strings.Replace(s.extra, `type = "totp"`, `type = "`+p.kind+`"`, 1)
	s.prompt = strings.Join(lines, "\n")
	p.begin(t, s, "VAULT_TOKEN="+w.token)
	return p
}

func newPushLogin(t *testing.T, u user, push provider) *pushFixture {
	t.Helper()
	p := &pushFixture{pushMethod: push(t, u), args: u.loginArgs("-format=json"), wants: "log in at auth/userpass/login/" + u.name}
	u.enforce(t, p.id)
	p.begin(t, setup{upstream: u.server.addr, hide: []string{u.password}})
	return p
}

func (p *pushFixture) begin(t *testing.T, s setup, env ...string) {
	t.Helper()
	p.agent = startAgent(t, s)
	p.screen = p.agent.attach(t)
	p.vault, _ = cli(t, p.agent.addr, env...)
}

// start runs the command, and returns when the user is told and the phone rings. Vault
// may have given the push up by then.
func (p *pushFixture) start(t *testing.T) *running {
	t.Helper()
	command := p.vault.start(t, p.args...)
	p.screen.wait(t, byServer("vault", "bao")+" (pid ")
	p.screen.waitNotice(t, p.wants, p.pushMethod)
	p.waitForPush(t)
	return command
}

// started is start for a push that is still open.
func (p *pushFixture) started(t *testing.T) *running {
	t.Helper()
	command := p.start(t)
	if command.ended() {
		t.Fatalf("vault does not wait for the phone: %+v", command.wait(t))
	}
	return command
}

// wantServed checks that the command got its token or its secret.
func (p *pushFixture) wantServed(t *testing.T, command *running) {
	t.Helper()
	if p.w != nil {
		command.ok(t).wantSecret(t)
		return
	}
	p.user.wantToken(t, dig(command.ok(t).fields(t), "auth", "client_token"))
}

// wantRefused checks that the command got Vault's own refusal and our words, after one
// push.
func (p *pushFixture) wantRefused(t *testing.T, command *running, words string) {
	t.Helper()
	texts := []string{"Code: 403", "* stepup: " + words}
	if p.w != nil {
		texts = append(texts, "* permission denied")
		equal(t, "requests, each of them a push", len(p.w.sent()), 1)
	}
	command.wait(t).wantFailure(t, 2, texts...)
	p.wantPushes(t, 1)
}

// wantCooldown checks that the next request is refused without another push.
func (p *pushFixture) wantCooldown(t *testing.T) {
	t.Helper()
	g := p.user.login
	if p.w != nil {
		g = func(t *testing.T, addr string, _ ...string) got { return p.w.get().send(t, addr) }
	}
	g(t, p.agent.addr).wantStep(t, 403, "cooldown")
	p.wantPushes(t, 1)
}

// throughVault lets the real Vault push to the phone, for a gate that enforces
// mfa_methods: by a login of the same user, for which Vault requires the method. An
// error is a refusal; the push ends with ctx.
func (p *pushMethod) throughVault(t *testing.T) func(context.Context, string) error {
	t.Helper()
	p.user.enforce(t, p.id)
	client, err := p.user.server.client(p.user.server.addr, "")
	check(t, err)
	client.SetMaxRetries(0)
	client.SetClientTimeout(0)
	return func(ctx context.Context, entity string) error {
		if entity != p.user.entity {
			return errors.New("the phone of another user")
		}
		login, err := client.Logical().WriteWithContext(ctx, "auth/userpass/login/"+p.user.name, map[string]any{"password": p.user.password})
		if err != nil {
			return err
		}
		_, err = client.Sys().MFAValidateWithContext(ctx, login.Auth.MFARequirement.MFARequestID, map[string]any{p.id: []string{""}})
		return err
	}
}

// onlyPrompt is the ID of the prompt that is open.
func (a *agent) onlyPrompt(t *testing.T) string {
	t.Helper()
	var list struct{ Prompts []struct{ ID string } }
	text := a.stepup("").ok(t, "prompts", "--format", "json").stdout
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list.Prompts) != 1 {
		t.Fatalf("want one open prompt: %v\n%s", err, text)
	}
	return list.Prompts[0].ID
}

// wantAudit waits until the audit log is these events, besides challenges.
func (a *agent) wantAudit(t *testing.T, events ...string) {
	t.Helper()
	var got []string
	eventually(t, fmt.Sprintf("the audit log has %q", events), func() bool {
		got = nil
		for _, e := range a.audit() {
			if name, _ := e["event"].(string); name != "challenge" {
				got = append(got, name)
			}
		}
		return len(got) >= len(events)
	})
	equal(t, "audit log", got, events)
}

// forPushes runs a test with each kind of phone, at a login and at a rule's path.
func forPushes(t *testing.T, test func(*testing.T, *pushFixture)) {
	t.Helper()
	forProviders(t, func(t *testing.T, push provider) {
		for _, kind := range []string{"login", "rule"} {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				test(t, newPushFixture(t, kind, push))
			})
		}
	})
}

// The command waits for an approval that takes longer than any code would.
func TestPushApproved(t *testing.T) {
	forProviders(t, func(t *testing.T, push provider) {
		for name, test := range map[string]struct {
			kind  string
			after time.Duration
		}{"quick login": {"login", 0}, "slow login": {"login", slowThumb}, "slow rule": {"rule", slowThumb}} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := newPushFixture(t, test.kind, push)
				command := p.started(t)
				time.Sleep(test.after)
				p.say(t, approves)
				p.wantServed(t, command)
				p.screen.wait(t, "done")
				p.agent.wantAudit(t, "prompt", "approved")
				p.wantPushes(t, 1)
				equal(t, "notices", p.screen.count("wants to"), 1)
			})
		}
	})
}

// A refusal on the phone is final: a repetition would push again.
func TestPushRefused(t *testing.T) {
	forPushes(t, func(t *testing.T, p *pushFixture) {
		command := p.started(t)
		p.say(t, refuses)
		p.wantRefused(t, command, "the push was refused on the phone")
		p.wantCooldown(t)
		p.screen.wait(t, "refused")
		p.agent.wantAudit(t, "prompt", "denied")
	})
}

// The phone is not touched: Okta gives up by itself, PingID is given up by Vault.
func TestPushTimeout(t *testing.T) {
	parallel(t)
	wantTimeout := func(t *testing.T, p *pushFixture, command *running) {
		t.Helper()
		p.wantRefused(t, command, "the push was refused on the phone, or nobody answered it")
		p.wantCooldown(t)
	}
	for _, kind := range []string{"login", "rule"} {
		t.Run("okta "+kind, func(t *testing.T) {
			t.Parallel()
			p := newPushFixture(t, kind, oktaPhone)
			command := p.started(t)
			if kind == "rule" {
				time.Sleep(slowThumb)
			}
			p.say(t, ignores)
			wantTimeout(t, p, command)
			if kind == "login" { // the answer to a rule's path does not tell the two apart
				p.agent.wantAudit(t, "prompt", "timeout")
			}
		})
	}
	t.Run("pingid", func(t *testing.T) {
		t.Parallel()
		srv, err := world.hasty()
		check(t, err)
		p := newPushLogin(t, srv.newUser(t), pingPhone)
		wantTimeout(t, p, p.start(t))
		p.agent.wantAudit(t, "prompt", "timeout")
		p.wantDropped(t)
	})
}

// A denial at the terminal drops the request, and with it the push.
func TestPushRuleDenied(t *testing.T) {
	forProviders(t, func(t *testing.T, push provider) {
		p := newPushFixture(t, "rule", push)
		command := p.started(t)
		p.agent.stepup("").ok(t, "deny", p.agent.onlyPrompt(t))
		p.wantDropped(t)
		command.wait(t).wantFailure(t, 2, "Code: 403", "* stepup: the second factor was denied")
		p.wantPushes(t, 1)
	})
}

// After a denial at the terminal, Vault lets the login be tried again.
func TestPushLoginDenied(t *testing.T) {
	forProviders(t, func(t *testing.T, push provider) {
		srv := needVault(t)
		tapped := newTap(t, srv)
		u := srv.newUser(t)
		u.server = &server{addr: tapped.addr, root: srv.root}
		p := newPushLogin(t, u, push)
		command := p.started(t)
		p.agent.stepup("").ok(t, "deny", p.agent.onlyPrompt(t))
		p.screen.wait(t, "denied")
		p.wantRefused(t, command, "the second factor was denied")
		p.wantCooldown(t)
		p.wantDropped(t)
		p.agent.wantAudit(t, "prompt", "denied")

		// A request ID belongs to one validation at a time; now it is free.
		if p.kind == "okta" {
			p.say(t, refuses) // the push that was left alone; nothing asks for its result
		}
		id := tapped.requestID(t)
		answered := async(func() got {
			g := validate(t, srv.addr, id, p.id, "")
			for g.status == http.StatusBadRequest && t.Context().Err() == nil {
				time.Sleep(10 * time.Millisecond)
				g = validate(t, srv.addr, id, p.id, "")
			}
			return g
		})
		p.waitForPush(t)
		p.say(t, approves)
		u.wantToken(t, (<-answered).text(t, "auth", "client_token"))
	})
}

// The command is interrupted while the phone rings. That is no denial: the next login
// pushes again.
func TestPushLeaves(t *testing.T) {
	forPushes(t, func(t *testing.T, p *pushFixture) {
		command := p.started(t)
		command.interrupt(t)
		if got := command.wait(t); got.code == 0 {
			t.Errorf("vault succeeded without its phone:\n%s", got.stdout)
		}
		p.wantDropped(t)
		if list := p.agent.stepup("").ok(t, "prompts").stdout; strings.Contains(list, strings.TrimPrefix(p.wants, "read ")) {
			t.Errorf("the push is still listed:\n%s", list)
		}
		if p.w != nil {
			return
		}
		again := p.vault.start(t, p.args...)
		p.screen.waitNotice(t, p.wants, p.pushMethod)
		p.waitForPush(t)
		if p.kind == "okta" {
			p.say(t, refuses) // to the push that was left alone; nothing asks for its result
		}
		p.say(t, approves)
		p.wantServed(t, again)
		p.wantPushes(t, 2)
	})
}

// The same request, sent again while the phone rings, pushes no second time and gets
// the same answer.
func TestPushRuleShared(t *testing.T) {
	forProviders(t, func(t *testing.T, push provider) {
		p := newPushFixture(t, "rule", push)
		const more = 4
		answers := make(chan got, 1+more)
		ask := func() { answers <- p.w.get().send(t, p.agent.addr) }
		go ask()
		p.screen.waitNotice(t, p.wants, p.pushMethod)
		p.waitForPush(t)
		for range more {
			go ask()
		}
		time.Sleep(slowThumb)
		if n, sent := p.pushes(), len(p.w.sent()); n != 1 || sent != 1 {
			t.Errorf("%d pushes and %d requests before the phone has decided, want 1", n, sent)
		}
		p.say(t, approves)
		late := 0 // too late to share: a push of its own, which may be too quick to be told of
		for n := 0; n < 1+more; {
			select {
			case g := <-answers:
				if late == 0 {
					g.wantStep(t, 200, "approved")
				} else {
					g.wantStatus(t, 200)
				}
				n++
			case <-p.pushed:
				p.say(t, approves)
				late++
			}
		}
	})
}

// With confirm_push the prompt comes before the phone rings at all.
func TestPushRuleConfirm(t *testing.T) {
	parallel(t)
	for _, yes := range []bool{true, false} {
		t.Run(fmt.Sprintf("yes %v", yes), func(t *testing.T) {
			t.Parallel()
			p := newPushFixture(t, "rule", pingPhone, "confirm_push = true")
			command := p.vault.start(t, p.args...)
			p.screen.wait(t, "wants to "+p.wants, "Allow it? (y/N")
			equal(t, "requests without a yes", len(p.w.sent()), 0)
			if !yes {
				p.screen.press(t, "n\r")
				command.wait(t).wantFailure(t, 2, "* stepup: the second factor was denied")
				p.wantPushes(t, 0)
				equal(t, "requests without a yes", len(p.w.sent()), 0)
				return
			}
			p.screen.press(t, "y\r")
			p.screen.waitNotice(t, p.wants, p.pushMethod)
			p.waitForPush(t)
			p.say(t, approves)
			p.wantServed(t, command)
		})
	}
}

// A login over HTTP, with a prompt command that is told of the push until it is
// decided.
func TestPushLogin(t *testing.T) {
	srv := parallel(t)
	for says, outcome := range map[phoneAnswer]string{approves: "approved", refuses: "denied"} {
		t.Run(outcome, func(t *testing.T) {
			t.Parallel()
			u := srv.newUser(t)
			m := pingPhone(t, u)
			u.enforce(t, m.id)
			p := notified(t)
			a := startAgent(t, setup{responder: p})
			answered := async(func() got { return u.login(t, a.addr) })
			if q := p.wait(t, 0); q.MethodType != "pingid" || q.Method != m.name {
				t.Errorf("told %+v", q)
			}
			m.waitForPush(t)
			select {
			case g := <-answered:
				t.Fatalf("answered before the phone: %d %s", g.status, g.body)
			case m.says <- says:
			}
			if g := <-answered; says == approves {
				u.wantLogin(t, g)
			} else {
				g.wantStep(t, 403, outcome)
			}
			eventually(t, "the notice is taken away", func() bool { return p.ended() == 1 })
			m.wantPushes(t, 1)
		})
	}
}

// The push does not wait for a prompt command that is slow to read the notice.
func TestPushLoginCLI(t *testing.T) {
	u := parallel(t).newUser(t)
	m := pingPhone(t, u)
	u.enforce(t, m.id)
	a := startAgent(t, setup{responder: silent(t)})
	vault, _ := cli(t, a.addr)
	command := vault.start(t, u.loginArgs("-format=json")...)
	m.waitForPush(t)
	m.say(t, approves)
	u.wantToken(t, dig(command.ok(t).fields(t), "auth", "client_token"))
}

// An app that leaves takes its push with it; nothing is sent again.
func TestPushLoginLeaves(t *testing.T) {
	srv := parallel(t)
	u := srv.newUser(t)
	m := pingPhone(t, u)
	u.enforce(t, m.id)
	p := silent(t)
	a := startAgent(t, setup{responder: p})
	client, err := srv.client(a.addr, "")
	check(t, err)
	ctx, leave := context.WithCancel(t.Context())
	left := async(func() error {
		_, err := client.Logical().WriteWithContext(ctx, "auth/userpass/login/"+u.name, map[string]any{"password": u.password})
		return err
	})
	p.wait(t, 0)
	m.waitForPush(t)
	leave()
	if err := <-left; err == nil {
		t.Fatal("the login succeeded without its phone")
	}
	m.wantDropped(t)
	m.wantPushes(t, 1)
}
