package e2e

import (
	"fmt"
	"testing"
)

// One of a code and a push will do: the phone rings while the code can be typed,
// and whatever comes first decides.
func TestPushOrCode(t *testing.T) {
	forProviders(t, func(t *testing.T, push provider) {
		for name, decide := range map[string]func(*testing.T, *pushOrCode){
			"code": func(t *testing.T, p *pushOrCode) {
				p.waitForPush(t)
				p.typeCode(t)
			},
			"push": func(t *testing.T, p *pushOrCode) {
				p.waitForPush(t)
				p.say(t, approves)
			},
			"push refused, then code": func(t *testing.T, p *pushOrCode) {
				p.waitForPush(t)
				p.say(t, refuses)
				p.screen.wait(t, "push was refused on the phone", "Passcode for "+p.codes.name)
				p.typeCode(t)
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := newPushOrCode(t, push, "")
				p.screen.wait(t, "wants to log in at auth/userpass/login/"+p.user.name, "Passcode for "+p.codes.name)
				decide(t, p)
				p.wantLogin(t, 1)
			})
		}
	})
}

// With a preference there is only one way.
func TestPushOrCodePreferred(t *testing.T) {
	forProviders(t, func(t *testing.T, push provider) {
		t.Run("push", func(t *testing.T) {
			t.Parallel()
			p := newPushOrCode(t, push, "push")
			p.screen.waitNotice(t, "log in at auth/userpass/login/"+p.user.name, p.pushMethod)
			p.waitForPush(t)
			p.say(t, approves)
			p.wantLogin(t, 1)
		})
		t.Run("code", func(t *testing.T) {
			t.Parallel()
			p := newPushOrCode(t, push, "code")
			p.screen.wait(t, "Passcode for "+p.codes.name)
			p.typeCode(t)
			p.wantLogin(t, 0)
		})
	})
}

// A pushOrCode is "vault login" of a user who may do either.
type pushOrCode struct {
	*pushMethod
	codes  *codes
	screen *terminal
	login  *running
}

// newPushOrCode begins the login; prefer is "push", "code" or "".
func newPushOrCode(t *testing.T, push provider, prefer string) *pushOrCode {
	t.Helper()
	u := needVault(t).newUser(t)
	p := &pushOrCode{codes: u.totp(t), pushMethod: push(t, u)}
	u.enforce(t, p.codes.id, p.id)
	extra := ""
	if name := map[string]string{"push": p.name, "code": p.codes.name}[prefer]; name != "" {
		extra = fmt.Sprintf("login_mfa { prefer = [%q] }", name)
	}
	a := startAgent(t, setup{hide: []string{u.password, p.codes.secret}, extra: extra})
	p.screen = a.attach(t)
	vault, _ := cli(t, a.addr)
	p.login = vault.start(t, u.loginArgs("-format=json")...)
	return p
}

func (p *pushOrCode) typeCode(t *testing.T) {
	t.Helper()
	p.screen.press(t, p.codes.next()+"\r")
}

// wantLogin waits for the token, and counts the pushes.
func (p *pushOrCode) wantLogin(t *testing.T, pushes int) {
	t.Helper()
	p.user.wantToken(t, dig(p.login.ok(t).fields(t), "auth", "client_token"))
	p.wantPushes(t, pushes)
}
