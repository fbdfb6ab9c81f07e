package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// forProviders runs a test with each kind of phone.
func forProviders(t *testing.T, test func(*testing.T, newPhone)) {
	t.Helper()
	t.Parallel()
	needVault(t)
	for name, phone := range providers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, phone)
		})
	}
}

// A pushLogin is "vault login" of somebody whose phone rings, and the person
// at a terminal with "stepup attach".
type pushLogin struct {
	*pushMethod
	agent  *agent
	screen *terminal
	vault  program
}

func newPushLogin(t *testing.T, u user, phone newPhone) *pushLogin {
	t.Helper()
	p := &pushLogin{pushMethod: phone(t, u)}
	u.enforce(t, p.id)
	p.agent = startAgent(t, setup{upstream: u.server.addr, hide: []string{u.password}})
	p.screen = p.agent.attach(t)
	p.vault, _ = cli(t, p.agent.addr)
	return p
}

// begin logs in, and returns when the person is told and the phone rings.
func (p *pushLogin) begin(t *testing.T) *running {
	t.Helper()
	login := p.start(t)
	if login.ended() {
		t.Fatalf("vault login does not wait for the phone: %+v", login.wait(t))
	}
	return login
}

// start is begin for a push that Vault may have given up by then.
func (p *pushLogin) start(t *testing.T) *running {
	t.Helper()
	login := p.vault.start(t, p.user.loginArgs("-format=json")...)
	p.screen.wait(t, "stepup: vault (pid ")
	p.screen.waitPush(t, "log in at auth/userpass/login/"+p.user.name, p.pushMethod)
	p.ring(t)
	return login
}

// wantFailed checks that the CLI failed with our words, and that the next login
// is refused without another push.
func (p *pushLogin) wantFailed(t *testing.T, login *running, words string) {
	t.Helper()
	got := login.wait(t)
	if got.code != 2 || !strings.Contains(got.stderr, "Code: 403") || !strings.Contains(got.stderr, "* stepup: "+words) {
		t.Errorf("vault login: exit %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	p.user.login(t, p.agent.addr).wantStep(t, 403, "cooldown")
	if n := p.pushes(); n != 1 {
		t.Errorf("%d pushes, want 1", n)
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
		text, err := os.ReadFile(filepath.Join(a.dir, "state", "audit.jsonl"))
		if err != nil {
			return false
		}
		for line := range strings.Lines(string(text)) {
			var e struct{ Event string }
			if json.Unmarshal([]byte(line), &e) != nil {
				return false // a line that is being written
			}
			if e.Event != "challenge" {
				got = append(got, e.Event)
			}
		}
		return len(got) >= len(events)
	})
	if !slices.Equal(got, events) {
		t.Errorf("audit log: %q, want %q", got, events)
	}
}

func TestPushCLIApproved(t *testing.T) {
	forProviders(t, func(t *testing.T, phone newPhone) {
		p := newPushLogin(t, needVault(t).newUser(t), phone)
		login := p.begin(t)
		p.say(t, approves)
		p.user.wantToken(t, dig(login.ok(t).fields(t), "auth", "client_token"))
		p.screen.wait(t, "done")
		p.agent.wantAudit(t, "prompt", "approved")
		if n := p.pushes(); n != 1 || p.screen.count("wants to") != 1 {
			t.Errorf("%d pushes, told %d times, want 1", n, p.screen.count("wants to"))
		}
	})
}

func TestPushCLIRefused(t *testing.T) {
	forProviders(t, func(t *testing.T, phone newPhone) {
		p := newPushLogin(t, needVault(t).newUser(t), phone)
		login := p.begin(t)
		p.say(t, refuses)
		p.wantFailed(t, login, "the push was refused on the phone")
		p.screen.wait(t, "refused")
		p.agent.wantAudit(t, "prompt", "denied")
	})
}

// Nobody touches the phone: Okta gives up by itself, PingID is given up by Vault.
func TestPushCLITimeout(t *testing.T) {
	t.Parallel()
	needVault(t)
	t.Run("okta", func(t *testing.T) {
		t.Parallel()
		p := newPushLogin(t, needVault(t).newUser(t), oktaPhone)
		login := p.begin(t)
		p.say(t, ignores)
		p.wantTimeout(t, login)
	})
	t.Run("pingid", func(t *testing.T) {
		t.Parallel()
		srv, err := world.hasty()
		if err != nil {
			t.Fatal(err)
		}
		p := newPushLogin(t, srv.newUser(t), pingPhone)
		p.wantTimeout(t, p.start(t))
		p.wantDropped(t)
	})
}

func (p *pushLogin) wantTimeout(t *testing.T, login *running) {
	t.Helper()
	p.wantFailed(t, login, "the push was refused on the phone, or nobody answered it")
	p.agent.wantAudit(t, "prompt", "timeout")
}

// The person says no at the terminal: the phone is left alone, and Vault lets the
// login be tried again.
func TestPushCLIDenied(t *testing.T) {
	forProviders(t, func(t *testing.T, phone newPhone) {
		srv := needVault(t)
		tapped := newTap(t, srv)
		u := srv.newUser(t)
		u.server = &server{addr: tapped.addr, root: srv.root}
		p := newPushLogin(t, u, phone)
		login := p.begin(t)
		p.agent.stepup("").ok(t, "deny", p.agent.onlyPrompt(t))
		p.screen.wait(t, "denied")
		p.wantFailed(t, login, "the second factor was denied")
		p.wantDropped(t)
		p.agent.wantAudit(t, "prompt", "denied")

		// A request ID belongs to one validation at a time; now it is free.
		if p.kind == "okta" {
			p.say(t, refuses) // the push that was left alone; nobody asks for its result
		}
		id := tapped.requestID(t)
		answered := make(chan got, 1)
		go func() {
			g := validate(t, srv.addr, id, p.id, "")
			for g.status == http.StatusBadRequest && t.Context().Err() == nil {
				time.Sleep(10 * time.Millisecond)
				g = validate(t, srv.addr, id, p.id, "")
			}
			answered <- g
		}()
		p.ring(t)
		p.say(t, approves)
		u.wantToken(t, dig((<-answered).json(t), "auth", "client_token"))
	})
}

// The phone takes longer than any code would: the app waits, and gets its login.
func TestPushCLISlow(t *testing.T) {
	forProviders(t, func(t *testing.T, phone newPhone) {
		p := newPushLogin(t, needVault(t).newUser(t), phone)
		login := p.begin(t)
		time.Sleep(slowThumb)
		p.say(t, approves)
		p.user.wantToken(t, dig(login.ok(t).fields(t), "auth", "client_token"))
		p.agent.wantAudit(t, "prompt", "approved")
		if n := p.pushes(); n != 1 {
			t.Errorf("%d pushes, want 1", n)
		}
	})
}

// slowThumb is longer than stepup waits for an answer that needs no phone (3 s).
const slowThumb = 3500 * time.Millisecond

// Whoever runs "vault login" ends it while the phone rings.
func TestPushCLILeaves(t *testing.T) {
	forProviders(t, func(t *testing.T, phone newPhone) {
		p := newPushLogin(t, needVault(t).newUser(t), phone)
		login := p.begin(t)
		login.interrupt(t)
		if got := login.wait(t); got.code == 0 {
			t.Errorf("vault login succeeded without its phone:\n%s", got.stdout)
		}
		p.wantDropped(t)
		if list := p.agent.stepup("").ok(t, "prompts").stdout; strings.Contains(list, p.user.name) {
			t.Errorf("the push is still listed:\n%s", list)
		}
		// That was nobody's no: the next login pushes again.
		again := p.vault.start(t, p.user.loginArgs("-format=json")...)
		p.screen.waitPush(t, "log in at auth/userpass/login/"+p.user.name, p.pushMethod)
		p.ring(t)
		if p.kind == "okta" {
			p.say(t, refuses) // to the push that was left alone; nobody asks for its result
		}
		p.say(t, approves)
		p.user.wantToken(t, dig(again.ok(t).fields(t), "auth", "client_token"))
		if n := p.pushes(); n != 2 {
			t.Errorf("%d pushes, want one for each login", n)
		}
	})
}
