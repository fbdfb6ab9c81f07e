package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/e2e/okta"
)

// An oktaMount is a mount of the real server's own Okta plugin, with one user.
type oktaMount struct {
	phone
	path string // "auth/okta7"
	user string
	pass string
}

// newOktaMount has the account a behind it; its password is made up.
func newOktaMount(t *testing.T, a okta.Account) *oktaMount {
	t.Helper()
	srv := needVault(t)
	needHashiCorp(t, "Okta auth method")
	needOkta(t)
	n := users.Add(1)
	m := &oktaMount{newPhone(), fmt.Sprintf("auth/okta%d", n), fmt.Sprintf("user%d", n), fmt.Sprintf("pw-of-okta-%d", n)}
	srv.write(t, "sys/"+m.path, map[string]any{"type": "okta"})
	settings := world.okta.Settings()
	settings["token_ttl"] = "1h"
	srv.write(t, m.path+"/config", settings)
	a.Password = m.pass
	world.okta.Open(m.user, a)
	world.okta.Give(m.user, m.phone.okta)
	return m
}

// agent starts one that knows the mount.
func (m *oktaMount) agent(t *testing.T, p *responder) *agent {
	t.Helper()
	return startAgent(t, setup{responder: p, extra: fmt.Sprintf("login_mfa { okta_mounts = [%q] }", m.path), hide: []string{m.pass}})
}

// login is one of an app that knows nothing of numbers.
func (m *oktaMount) login(t *testing.T, a *agent) <-chan got {
	t.Helper()
	return request("PUT", m.path+"/login/"+m.user, "").with(fmt.Sprintf(`{"password":%q}`, m.pass)).async(t, a.addr)
}

func (m *oktaMount) wantPushes(t *testing.T, n int) {
	t.Helper()
	equal(t, "pushes", world.okta.Pushes(m.user), n)
}

// notified shows pushes until they are decided, and allows no other prompt.
func notified(t *testing.T) *responder {
	t.Helper()
	return newResponder(t, func(ctx context.Context, a asked) answer {
		if a.Kind != "push" {
			t.Errorf("asked %+v, want only to be told", a)
		}
		<-ctx.Done()
		return answer{}
	})
}

// numberOf waits for a prompt with a number.
func numberOf(t *testing.T, p *responder) asked {
	t.Helper()
	for n := 0; ; n++ {
		if a := p.wait(t, n); a.Number != "" {
			return a
		}
	}
}

func TestOktaNumberChallenge(t *testing.T) {
	t.Parallel()
	m := newOktaMount(t, okta.Account{Number: 42})
	p := notified(t)
	a := m.agent(t, p)
	done := m.login(t, a)
	m.waitForPush(t)
	if q := numberOf(t, p); q.Number != "42" || q.Message != "tap 42 in Okta Verify" || q.Path != m.path+"/login/"+m.user {
		t.Errorf("told %+v", q)
	}
	m.say(t, approves)
	g := <-done
	g.wantStep(t, 200, "approved")
	if g.text(t, "auth", "client_token") == "" {
		t.Errorf("no token: %s", g.body)
	}
	m.wantPushes(t, 1)
}

func TestOktaLoginIsRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		says    phoneAnswer
		outcome string
		text    string
	}{
		{refuses, "denied", "multi-factor authentication denied"},
		{ignores, "timeout", "failed to complete multi-factor authentication"},
	} {
		t.Run(string(test.says), func(t *testing.T) {
			t.Parallel()
			m := newOktaMount(t, okta.Account{})
			p := notified(t)
			a := m.agent(t, p)
			done := m.login(t, a)
			m.waitForPush(t)
			p.wait(t, 0)
			m.say(t, test.says)
			g := <-done
			g.wantStep(t, 403, test.outcome)
			if !slices.Contains(g.errors(t), test.text) {
				t.Errorf("errors %q", g.errors(t))
			}
			(<-m.login(t, a)).wantStep(t, 403, "cooldown")
			m.wantPushes(t, 1)
		})
	}
}

func TestOktaCode(t *testing.T) {
	t.Parallel()
	m := newOktaMount(t, okta.Account{Codes: []string{"135790"}})
	answers := make(chan string, 2)
	answers <- "000000"
	answers <- "135790"
	p := newResponder(t, func(ctx context.Context, a asked) answer {
		if a.Kind == "push" { // a slow machine: told before Vault had said what it wants
			<-ctx.Done()
			return answer{}
		}
		return code(<-answers)
	})
	g := <-m.login(t, m.agent(t, p))
	g.wantStep(t, 200, "approved")
	codes := 0
	for _, q := range p.prompts(t) {
		if q.Kind == "passcode" && q.MethodType == "okta" {
			codes++
		}
	}
	equal(t, "prompts for a code", codes, 2)
}

// Vault's own client brings a nonce and shows the number itself: it is left alone.
func TestOktaLoginCLI(t *testing.T) {
	t.Parallel()
	m := newOktaMount(t, okta.Account{Number: 7})
	known := make(chan struct{}, 1)
	front := serve(t, watchedProxy(t, needVault(t), func(r *http.Response) error {
		if strings.Contains(r.Request.URL.Path, "/verify/") && r.StatusCode == http.StatusOK {
			known <- struct{}{}
		}
		return nil
	}))
	a := startAgent(t, setup{responder: noPrompt(t), upstream: front.URL, extra: fmt.Sprintf("login_mfa { okta_mounts = [%q] }", m.path)})
	vault, _ := cli(t, a.addr)
	run := vault.start(t, "login", "-no-store", "-format=json", "-method=okta", "-path="+strings.TrimPrefix(m.path, "auth/"),
		"username="+m.user, "password="+m.pass)
	m.waitForPush(t)
	select {
	case <-known:
	case <-time.After(patience):
		t.Fatal("vault login asks for no number")
	}
	// Vault asks Okta each second: by then the client has printed it.
	polls := world.okta.Polls(m.user)
	eventually(t, "vault asks on", func() bool { return world.okta.Polls(m.user) > polls+1 })
	m.say(t, approves)
	contains(t, "vault login", run.ok(t).stderr, `tap the number "7"`)
}

// A renewal logs in with Okta once more; with a number it cannot.
func TestOktaRenewal(t *testing.T) {
	t.Parallel()
	m := newOktaMount(t, okta.Account{})
	p := notified(t)
	a := m.agent(t, p)
	done := m.login(t, a)
	m.waitForPush(t)
	m.say(t, approves)
	renew := request("PUT", "auth/token/renew-self", (<-done).text(t, "auth", "client_token")).with("{}")
	renewed := renew.async(t, a.addr)
	m.waitForPush(t)
	renewals := func() (n int) {
		for _, q := range p.prompts(t) {
			if q.Message == "renewing your Okta token sends a push" {
				n++
			}
		}
		return n
	}
	eventually(t, "the user is told of the renewal", func() bool { return renewals() == 1 })
	m.say(t, approves)
	(<-renewed).wantStep(t, 200, "approved")
	world.okta.Open(m.user, okta.Account{Password: m.pass, Number: 42})
	renewed = renew.async(t, a.addr)
	m.waitForPush(t)
	g := <-renewed
	g.wantStep(t, 400, "unavailable")
	contains(t, "the answer", g.body, "log in again instead")
	m.say(t, ignores)
}
