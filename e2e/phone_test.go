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

// What a phone can say.
type thumb string

const (
	approves thumb = "approves"
	refuses  thumb = "refuses"
	ignores  thumb = "ignores it until the provider gives up" // Okta only
)

// A pushMethod is a method of the real server that pushes to the phone of one
// user, and the phone.
type pushMethod struct {
	id, name string
	kind     string // Vault's type
	user     user
	rings    chan struct{} // gets an element with each push
	says     chan thumb    // the decision on the push that is open
}

// A newPhone makes a method that pushes, and the phone of the user.
type newPhone func(*testing.T, user) *pushMethod

// providers are those who push, by Vault's type.
func providers() map[string]newPhone {
	return map[string]newPhone{"pingid": pingPhone, "okta": oktaPhone}
}

func newPushMethod(kind string, u user) *pushMethod {
	return &pushMethod{
		kind: kind, user: u, name: fmt.Sprintf("%s%d", kind, users.Add(1)),
		rings: make(chan struct{}, 16), says: make(chan thumb),
	}
}

// pingPhone is reached by one call of Vault's, which is open until the decision.
func pingPhone(t *testing.T, u user) *pushMethod {
	t.Helper()
	p := newPushMethod("pingid", u)
	p.id = u.server.write(t, "identity/mfa/method/pingid", map[string]any{
		"method_name": p.name, "settings_file_base64": world.ping.Settings(), "username_format": "{{identity.entity.name}}",
	}).Data["method_id"].(string)
	world.ping.Give(u.name, func(ctx context.Context, _ string) pingid.Decision {
		p.rings <- struct{}{}
		select {
		case says := <-p.says:
			return pingid.Decision{Approve: says == approves, Message: "not me"}
		case <-ctx.Done():
			return pingid.Decision{Message: "gave up"}
		}
	})
	return p
}

// oktaPhone is asked by Vault each second.
func oktaPhone(t *testing.T, u user) *pushMethod {
	t.Helper()
	if world.okta == nil {
		t.Skip("needs port 443, which root may listen at: " + world.noOkta)
	}
	p := newPushMethod("okta", u)
	mounts, err := u.server.root.Sys().ListAuthWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data := world.okta.Settings()
	maps.Copy(data, map[string]any{
		"method_name": p.name, "username_format": "{{identity.entity.name}}", "mount_accessor": mounts["userpass/"].Accessor,
	})
	p.id = u.server.write(t, "identity/mfa/method/okta", data).Data["method_id"].(string)
	world.okta.Give(u.name, func(ctx context.Context) okta.Result {
		p.rings <- struct{}{}
		select {
		case says := <-p.says:
			return map[thumb]okta.Result{approves: okta.Approved, refuses: okta.Rejected, ignores: okta.TimedOut}[says]
		case <-ctx.Done():
			return okta.TimedOut
		}
	})
	return p
}

// ring waits until the phone rings.
func (p *pushMethod) ring(t *testing.T) {
	t.Helper()
	select {
	case <-p.rings:
	case <-time.After(patience):
		t.Fatal("the phone does not ring")
	}
}

// say decides on the push that is open.
func (p *pushMethod) say(t *testing.T, what thumb) {
	t.Helper()
	select {
	case p.says <- what:
	case <-time.After(patience):
		t.Fatal("nobody waits for the phone")
	}
}

// pushes counts them.
func (p *pushMethod) pushes() int {
	if p.kind == "okta" {
		return world.okta.Pushes(p.user.name)
	}
	return world.ping.Pushes(p.user.name)
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
