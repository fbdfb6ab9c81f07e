package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vault-stepup/stepup/e2e/okta"
)

// An oktaMount is a mount of the real server's own Okta plugin, with one user.
type oktaMount struct {
	path  string // "auth/okta7"
	user  string
	pass  string
	rings chan struct{}
	says  chan thumb
}

// newOktaMount has the account a behind it; its password is made up.
func newOktaMount(t *testing.T, a okta.Account) *oktaMount {
	t.Helper()
	srv := needVault(t)
	if world.okta == nil {
		t.Skip("needs port 443, which root may listen at: " + world.noOkta)
	}
	n := users.Add(1)
	m := &oktaMount{
		path: fmt.Sprintf("auth/okta%d", n), user: fmt.Sprintf("user%d", n), pass: fmt.Sprintf("pw-of-okta-%d", n),
		rings: make(chan struct{}, 16), says: make(chan thumb),
	}
	err := srv.root.Sys().EnableAuthWithOptionsWithContext(t.Context(), strings.TrimPrefix(m.path, "auth/"), &api.EnableAuthOptions{Type: "okta"})
	if err != nil {
		t.Fatal(err)
	}
	settings := world.okta.Settings()
	maps.Copy(settings, map[string]any{"token_ttl": "1h"})
	srv.write(t, m.path+"/config", settings)
	a.Password = m.pass
	world.okta.Open(m.user, a)
	world.okta.Give(m.user, func(ctx context.Context) okta.Result {
		m.rings <- struct{}{}
		select {
		case says := <-m.says:
			return map[thumb]okta.Result{approves: okta.Approved, refuses: okta.Rejected, ignores: okta.TimedOut}[says]
		case <-ctx.Done():
			return okta.TimedOut
		}
	})
	return m
}

// agent starts one that knows the mount.
func (m *oktaMount) agent(t *testing.T, p *person) *agent {
	t.Helper()
	return startAgent(t, setup{person: p, extra: fmt.Sprintf("login_mfa { okta_mounts = [%q] }", m.path), hide: []string{m.pass}, cooldown: "5m"})
}

// login is one of an app that knows nothing of numbers.
func (m *oktaMount) login(t *testing.T, a *agent) <-chan got {
	t.Helper()
	done := make(chan got, 1)
	go func() {
		done <- call{method: "PUT", target: "/v1/" + m.path + "/login/" + m.user, body: fmt.Sprintf(`{"password":%q}`, m.pass)}.send(t, a.addr)
	}()
	return done
}

// ring waits until the phone rings.
func (m *oktaMount) ring(t *testing.T) {
	t.Helper()
	select {
	case <-m.rings:
	case <-time.After(patience):
		t.Fatal("no phone rings")
	}
}

// told holds a person who is told of pushes until they are decided.
func told(t *testing.T) *person {
	t.Helper()
	return newPerson(t, func(ctx context.Context, a asked) answer {
		if a.Kind != "push" {
			t.Errorf("asked %+v, want only to be told", a)
		}
		<-ctx.Done()
		return answer{}
	})
}

// numberOf waits until the person is told a number.
func numberOf(t *testing.T, p *person) asked {
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
	p := told(t)
	a := m.agent(t, p)
	done := m.login(t, a)
	m.ring(t)
	if q := numberOf(t, p); q.Number != "42" || q.Message != "tap 42 in Okta Verify" || q.Path != m.path+"/login/"+m.user {
		t.Errorf("told %+v", q)
	}
	m.says <- approves
	g := <-done
	g.wantStep(t, 200, "approved")
	if dig(g.json(t), "auth", "client_token") == "" {
		t.Errorf("no token: %s", g.body)
	}
	if n := world.okta.Pushes(m.user); n != 1 {
		t.Errorf("%d pushes", n)
	}
}

func TestOktaLoginIsRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		says    thumb
		outcome string
		text    string
	}{
		{refuses, "denied", "multi-factor authentication denied"},
		{ignores, "timeout", "failed to complete multi-factor authentication"},
	} {
		t.Run(string(test.says), func(t *testing.T) {
			t.Parallel()
			m := newOktaMount(t, okta.Account{})
			p := told(t)
			a := m.agent(t, p)
			done := m.login(t, a)
			m.ring(t)
			p.wait(t, 0)
			m.says <- test.says
			g := <-done
			g.wantStep(t, 403, test.outcome)
			if !slices.Contains(g.errors(t), test.text) {
				t.Errorf("errors %q", g.errors(t))
			}
			(<-m.login(t, a)).wantStep(t, 403, "cooldown")
			if n := world.okta.Pushes(m.user); n != 1 {
				t.Errorf("%d pushes", n)
			}
		})
	}
}

func TestOktaCode(t *testing.T) {
	t.Parallel()
	m := newOktaMount(t, okta.Account{Codes: []string{"135790"}})
	answers := make(chan string, 2)
	answers <- "000000"
	answers <- "135790"
	p := newPerson(t, func(ctx context.Context, a asked) answer {
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
	if codes != 2 {
		t.Errorf("asked %d times", codes)
	}
}

// Vault's own client brings a nonce and shows the number itself: it is left alone.
func TestOktaLoginCLI(t *testing.T) {
	t.Parallel()
	m := newOktaMount(t, okta.Account{Number: 7})
	known := make(chan struct{}, 1)
	upstream, err := url.Parse(needVault(t).addr)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(&httputil.ReverseProxy{
		Transport: http.DefaultTransport.(*http.Transport).Clone(),
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		ModifyResponse: func(r *http.Response) error {
			if strings.Contains(r.Request.URL.Path, "/verify/") && r.StatusCode == http.StatusOK {
				known <- struct{}{}
			}
			return nil
		},
	})
	t.Cleanup(front.Close)
	a := startAgent(t, setup{person: nobody(t), upstream: front.URL, extra: fmt.Sprintf("login_mfa { okta_mounts = [%q] }", m.path)})
	vault, _ := cli(t, a.addr)
	run := vault.start(t, "login", "-no-store", "-format=json", "-method=okta", "-path="+strings.TrimPrefix(m.path, "auth/"),
		"username="+m.user, "password="+m.pass)
	m.ring(t)
	select {
	case <-known:
	case <-time.After(patience):
		t.Fatal("vault login asks for no number")
	}
	// Vault asks Okta each second: by then the client has printed it.
	polls := world.okta.Polls(m.user)
	eventually(t, "vault asks on", func() bool { return world.okta.Polls(m.user) > polls+1 })
	m.says <- approves
	if r := run.wait(t); r.code != 0 || !strings.Contains(r.stderr, `tap the number "7"`) {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// A renewal logs in with Okta once more; with a number it cannot.
func TestOktaRenewal(t *testing.T) {
	t.Parallel()
	m := newOktaMount(t, okta.Account{})
	p := told(t)
	a := m.agent(t, p)
	done := m.login(t, a)
	m.ring(t)
	m.says <- approves
	token, _ := dig((<-done).json(t), "auth", "client_token").(string)
	renew := func() <-chan got {
		done := make(chan got, 1)
		go func() {
			done <- call{method: "PUT", target: "/v1/auth/token/renew-self", body: "{}", header: []string{tokenHeader(token)}}.send(t, a.addr)
		}()
		return done
	}
	renewed := renew()
	m.ring(t)
	renewals := func() (n int) {
		for _, q := range p.prompts(t) {
			if q.Message == "renewing your Okta token sends a push" {
				n++
			}
		}
		return n
	}
	eventually(t, "the person is told of the renewal", func() bool { return renewals() == 1 })
	m.says <- approves
	(<-renewed).wantStep(t, 200, "approved")
	world.okta.Open(m.user, okta.Account{Password: m.pass, Number: 42})
	renewed = renew()
	m.ring(t)
	g := <-renewed
	g.wantStep(t, 400, "unavailable")
	if errs := g.errors(t); !strings.Contains(errs[len(errs)-1], "log in again instead") {
		t.Errorf("errors %q", errs)
	}
	m.says <- ignores
}
