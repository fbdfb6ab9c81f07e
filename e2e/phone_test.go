package e2e

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/e2e/okta"
	"github.com/vault-stepup/stepup/e2e/pingid"
)

// What a phone can answer.
type phoneAnswer string

const (
	approves phoneAnswer = "approves"
	refuses  phoneAnswer = "refuses"
	ignores  phoneAnswer = "ignores it until the provider gives up" // Okta only
)

// A phone gets pushes, and gives the answers of the test.
type phone struct {
	pushed chan struct{}    // gets an element with each push
	says   chan phoneAnswer // the decision on the push that is open
}

func newPhone() phone { return phone{make(chan struct{}, 16), make(chan phoneAnswer)} }

// waitForPush waits until a push arrives.
func (p phone) waitForPush(t *testing.T) {
	t.Helper()
	select {
	case <-p.pushed:
	case <-time.After(patience):
		t.Fatal("no push arrives")
	}
}

// say decides on the push that is open.
func (p phone) say(t *testing.T, what phoneAnswer) {
	t.Helper()
	select {
	case p.says <- what:
	case <-time.After(patience):
		t.Fatal("no push waits for the phone")
	}
}

// decide is the answer of the phone to a push that ends with ctx; "" is nothing.
func (p phone) decide(ctx context.Context) phoneAnswer {
	p.pushed <- struct{}{}
	select {
	case says := <-p.says:
		return says
	case <-ctx.Done():
		return ""
	}
}

// okta is decide for the stub of Okta.
func (p phone) okta(ctx context.Context) okta.Result {
	switch p.decide(ctx) {
	case approves:
		return okta.Approved
	case refuses:
		return okta.Rejected
	default:
		return okta.TimedOut
	}
}

// A pushMethod is a method of the real server that pushes to the phone of one
// user, and the phone.
type pushMethod struct {
	phone
	id, name string
	kind     string // Vault's type
	user     user
}

// A provider makes a method that pushes, and the phone of the user.
type provider func(*testing.T, user) *pushMethod

// forProviders runs a test with each provider of pushes.
func forProviders(t *testing.T, test func(*testing.T, provider)) {
	t.Helper()
	parallel(t)
	each(t, map[string]provider{"pingid": pingPhone, "okta": oktaPhone}, test)
}

func newPushMethod(t *testing.T, kind string, u user, settings map[string]any) *pushMethod {
	t.Helper()
	p := &pushMethod{kind: kind, user: u, name: fmt.Sprintf("%s%d", kind, users.Add(1)), phone: newPhone()}
	maps.Copy(settings, map[string]any{"method_name": p.name, "username_format": "{{identity.entity.name}}"})
	p.id = u.server.write(t, "identity/mfa/method/"+kind, settings).Data["method_id"].(string)
	return p
}

// pingPhone is reached by one call of Vault's, which is open until the decision.
func pingPhone(t *testing.T, u user) *pushMethod {
	t.Helper()
	p := newPushMethod(t, "pingid", u, map[string]any{"settings_file_base64": world.ping.Settings()})
	world.ping.Give(u.name, func(ctx context.Context, _ string) pingid.Decision {
		says := p.phone.decide(ctx)
		return pingid.Decision{Approve: says == approves, Message: map[phoneAnswer]string{refuses: "not me", "": "gave up"}[says]}
	})
	return p
}

// oktaPhone is asked by Vault each second.
func oktaPhone(t *testing.T, u user) *pushMethod {
	t.Helper()
	needOkta(t)
	settings := world.okta.Settings()
	settings["mount_accessor"] = u.server.accessor(t, "userpass")
	p := newPushMethod(t, "okta", u, settings)
	world.okta.Give(u.name, p.phone.okta)
	return p
}

func needOkta(t *testing.T) {
	t.Helper()
	if world.okta == nil {
		t.Skip("needs port 443, which root may listen at: " + world.noOkta)
	}
}

// pushes counts them.
func (p *pushMethod) pushes() int {
	if p.kind == "okta" {
		return world.okta.Pushes(p.user.name)
	}
	return world.ping.Pushes(p.user.name)
}

func (p *pushMethod) wantPushes(t *testing.T, n int) {
	t.Helper()
	equal(t, "pushes", p.pushes(), n)
}

// wantDropped waits until Vault has given up on the push that is open, although
// the phone has not decided.
func (p *pushMethod) wantDropped(t *testing.T) {
	t.Helper()
	if p.kind == "okta" {
		// Vault asks each second. That it has not for three is the sign.
		eventually(t, "vault asks okta no more", func() bool { return time.Since(world.okta.Polled(p.user.name)) > 3*time.Second })
		return
	}
	eventually(t, "vault's call to pingid is dropped", func() bool { return world.ping.Open(p.user.name) == 0 })
}
