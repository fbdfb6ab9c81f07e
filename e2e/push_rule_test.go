package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// decide lets the real Vault push to the phone, for a gate that enforces
// mfa_methods: a login of the same person that waits for the method. An error is
// a no; the push ends with ctx.
func (p *pushMethod) decide(t *testing.T) func(context.Context, string) error {
	t.Helper()
	p.user.enforce(t, p.id)
	client, err := p.user.server.client(p.user.server.addr, "")
	if err != nil {
		t.Fatal(err)
	}
	client.SetMaxRetries(0)
	client.SetClientTimeout(0)
	return func(ctx context.Context, entity string) error {
		if entity != p.user.entity {
			return errors.New("the phone of somebody else")
		}
		login, err := client.Logical().WriteWithContext(ctx, "auth/userpass/login/"+p.user.name, map[string]any{"password": p.user.password})
		if err != nil {
			return err
		}
		_, err = client.Sys().MFAValidateWithContext(ctx, login.Auth.MFARequirement.MFARequestID, map[string]any{p.id: []string{""}})
		return err
	}
}

// A pushRule is a secret that can be read only with a push to a phone, and the
// person at a terminal with "stepup attach".
type pushRule struct {
	*guarded
	*pushMethod
	agent  *agent
	screen *terminal
}

// newPushRule has an agent with these lines in its prompt block.
func newPushRule(t *testing.T, phone newPhone, lines ...string) *pushRule {
	t.Helper()
	w := newGuarded(t, []string{"read"}, "phone")
	p := &pushRule{guarded: w, pushMethod: phone(t, w.user)}
	p.pushMethod.name = "phone"
	w.gate.AddPush("phone", p.decide(t))
	rule := strings.Replace(w.rule, `type = "totp"`, `type = "`+p.kind+`"`, 1)
	p.agent = startAgent(t, setup{
		upstream: w.addr, extra: rule, prompt: strings.Join(lines, "\n"), hide: []string{w.password, w.token},
	})
	p.screen = p.agent.attach(t)
	return p
}

// begin reads the secret with the CLI, and returns when the person is told and
// the phone rings.
func (p *pushRule) begin(t *testing.T) *running {
	t.Helper()
	vault, _ := cli(t, p.agent.addr, "VAULT_TOKEN="+p.token)
	read := vault.start(t, "read", "-format=json", p.path)
	p.screen.wait(t, "stepup: vault (pid ")
	p.screen.waitPush(t, "read "+p.path, p.pushMethod)
	p.ring(t)
	if read.ended() {
		t.Fatalf("vault read does not wait for the phone: %+v", read.wait(t))
	}
	return read
}

// wantFailed checks that the CLI got Vault's own refusal and our words, that Vault
// was asked once, and that the next request is refused without another push.
func (p *pushRule) wantFailed(t *testing.T, read *running, words string) {
	t.Helper()
	got := read.wait(t)
	if got.code != 2 || !strings.Contains(got.stderr, "Code: 403") || !strings.Contains(got.stderr, "* permission denied") ||
		!strings.Contains(got.stderr, "* stepup: "+words) {
		t.Errorf("vault read: exit %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	if n := len(p.sent()); n != 1 {
		t.Errorf("%d requests, want 1: another is another push", n)
	}
	p.get().send(t, p.agent.addr).wantStep(t, 403, "cooldown")
	if n := p.pushes(); n != 1 {
		t.Errorf("%d pushes, want 1", n)
	}
}

func TestPushRuleApproved(t *testing.T) {
	forProviders(t, func(t *testing.T, phone newPhone) {
		p := newPushRule(t, phone)
		read := p.begin(t)
		time.Sleep(slowThumb)
		p.say(t, approves)
		if got := dig(read.ok(t).fields(t), "data", "data", "key"); got != "value" {
			t.Errorf("vault read gives %v", got)
		}
		p.agent.wantAudit(t, "prompt", "approved")
		if n := p.pushes(); n != 1 || p.screen.count("wants to") != 1 {
			t.Errorf("%d pushes, told %d times, want 1", n, p.screen.count("wants to"))
		}
	})
}

// A no on the phone is final: a repetition would push again.
func TestPushRuleRefused(t *testing.T) {
	forProviders(t, func(t *testing.T, phone newPhone) {
		p := newPushRule(t, phone)
		read := p.begin(t)
		p.say(t, refuses)
		p.wantFailed(t, read, "the push was refused on the phone")
	})
}

func TestPushRuleTimeout(t *testing.T) {
	t.Parallel()
	p := newPushRule(t, oktaPhone)
	read := p.begin(t)
	time.Sleep(slowThumb)
	p.say(t, ignores)
	p.wantFailed(t, read, "the push was refused on the phone, or nobody answered it")
}

// Who says no at the terminal drops the request, and with it the push.
func TestPushRuleDenied(t *testing.T) {
	forProviders(t, func(t *testing.T, phone newPhone) {
		p := newPushRule(t, phone)
		read := p.begin(t)
		p.agent.stepup("").ok(t, "deny", p.agent.onlyPrompt(t))
		p.wantDropped(t)
		if got := read.wait(t); got.code != 2 || !strings.Contains(got.stderr, "Code: 403") || !strings.Contains(got.stderr, "* stepup: the second factor was denied") {
			t.Errorf("vault read: exit %d\n%s%s", got.code, got.stdout, got.stderr)
		}
		if n := p.pushes(); n != 1 {
			t.Errorf("%d pushes, want 1", n)
		}
	})
}

func TestPushRuleLeaves(t *testing.T) {
	forProviders(t, func(t *testing.T, phone newPhone) {
		p := newPushRule(t, phone)
		read := p.begin(t)
		read.interrupt(t)
		if got := read.wait(t); got.code == 0 {
			t.Errorf("vault read succeeded without its phone:\n%s", got.stdout)
		}
		p.wantDropped(t)
		if list := p.agent.stepup("").ok(t, "prompts").stdout; strings.Contains(list, p.path) {
			t.Errorf("the push is still listed:\n%s", list)
		}
	})
}

// Requests that are the same, while the phone rings for the first of them, ring no
// second time and get the same answer.
func TestPushRuleShared(t *testing.T) {
	forProviders(t, func(t *testing.T, phone newPhone) {
		p := newPushRule(t, phone)
		const more = 4
		answers := make(chan got, 1+more)
		ask := func() { answers <- p.get().send(t, p.agent.addr) }
		go ask()
		p.screen.waitPush(t, "read "+p.path, p.pushMethod)
		p.ring(t)
		for range more {
			go ask()
		}
		time.Sleep(slowThumb)
		if n, sent := p.pushes(), len(p.sent()); n != 1 || sent != 1 {
			t.Errorf("%d pushes and %d requests before the phone has decided, want 1", n, sent)
		}
		p.say(t, approves)
		late := 0 // too late to share: a push of its own, which may be too quick to be told of
		for n := 0; n < 1+more; {
			select {
			case g := <-answers:
				if late == 0 {
					g.wantStep(t, 200, "approved")
				} else if g.status != 200 {
					t.Errorf("status %d\n%s", g.status, g.body)
				}
				n++
			case <-p.rings:
				p.say(t, approves)
				late++
			}
		}
	})
}

// With confirm_push the person is asked before the phone rings at all.
func TestPushRuleConfirm(t *testing.T) {
	t.Parallel()
	needVault(t)
	for _, yes := range []bool{true, false} {
		t.Run(fmt.Sprintf("yes %v", yes), func(t *testing.T) {
			t.Parallel()
			p := newPushRule(t, pingPhone, "confirm_push = true")
			vault, _ := cli(t, p.agent.addr, "VAULT_TOKEN="+p.token)
			read := vault.start(t, "read", "-format=json", p.path)
			p.screen.wait(t, "wants to read "+p.path, "go on? y/N")
			if n := len(p.sent()); n != 0 {
				t.Errorf("%d requests before the person has said yes", n)
			}
			if !yes {
				p.screen.press(t, "n\r")
				if got := read.wait(t); got.code != 2 || !strings.Contains(got.stderr, "* stepup: the second factor was denied") {
					t.Errorf("vault read: exit %d\n%s%s", got.code, got.stdout, got.stderr)
				}
				if n, sent := p.pushes(), len(p.sent()); n != 0 || sent != 0 {
					t.Errorf("%d pushes and %d requests after a no", n, sent)
				}
				return
			}
			p.screen.press(t, "y\r")
			p.screen.waitPush(t, "read "+p.path, p.pushMethod)
			p.ring(t)
			p.say(t, approves)
			if got := dig(read.ok(t).fields(t), "data", "data", "key"); got != "value" {
				t.Errorf("vault read gives %v", got)
			}
		})
	}
}
