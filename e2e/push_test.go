package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/e2e/pingid"
)

// A phone in the test's hand: what is sent to it is the decision on one push.
func (u user) phone() chan<- pingid.Decision {
	decide := make(chan pingid.Decision)
	world.ping.Give(u.name, func(ctx context.Context, _ string) pingid.Decision {
		select {
		case d := <-decide:
			return d
		case <-ctx.Done():
			return pingid.Decision{Message: "gave up"}
		}
	})
	return decide
}

func TestPushLogin(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	tests := []struct {
		name    string
		say     pingid.Decision
		status  int
		outcome string
	}{
		{"approved", pingid.Decision{Approve: true}, 200, "approved"},
		{"refused", pingid.Decision{Message: "not me"}, 403, "denied"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			u := srv.newUser(t)
			id, name := u.pingid(t)
			u.enforce(t, id)
			phone := u.phone()
			p := newPerson(t, func(ctx context.Context, a asked) answer {
				if a.Kind != "push" {
					t.Errorf("asked %+v, want only to be told of a push", a)
				}
				<-ctx.Done() // told until it is decided
				return answer{}
			})
			a := startAgent(t, setup{person: p})
			answered := make(chan got, 1)
			go func() { answered <- u.login(t, a.addr) }()
			told := p.wait(t, 0)
			if told.MethodType != "pingid" || told.Method != name {
				t.Errorf("told %+v", told)
			}
			select {
			case g := <-answered:
				t.Fatalf("answered before the phone: %d %s", g.status, g.body)
			case phone <- test.say:
			}
			g := <-answered
			g.wantStep(t, test.status, test.outcome)
			if test.status == 200 {
				u.wantToken(t, dig(g.json(t), "auth", "client_token"))
			}
			eventually(t, "the notice is taken away", func() bool { return p.ended() == 1 })
			if n := world.ping.Pushes(u.name); n != 1 {
				t.Errorf("%d pushes, want 1", n)
			}
		})
	}
}

func TestPushLoginCLI(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	u := srv.newUser(t)
	id, _ := u.pingid(t)
	u.enforce(t, id)
	world.ping.Give(u.name, func(context.Context, string) pingid.Decision { return pingid.Decision{Approve: true} })
	// Slow to read the notice: the push does not wait for it.
	p := newPerson(t, func(ctx context.Context, _ asked) answer { <-ctx.Done(); return answer{} })
	a := startAgent(t, setup{person: p})
	vault, _ := cli(t, a.addr)
	out := vault.ok(t, u.loginArgs("-format=json")...).fields(t)
	u.wantToken(t, dig(out, "auth", "client_token"))
}

// An app that leaves takes its push with it; nothing is sent again.
func TestPushLoginLeaves(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	u := srv.newUser(t)
	id, _ := u.pingid(t)
	u.enforce(t, id)
	gone := make(chan struct{})
	world.ping.Give(u.name, func(ctx context.Context, _ string) pingid.Decision {
		<-ctx.Done()
		close(gone)
		return pingid.Decision{}
	})
	p := newPerson(t, func(ctx context.Context, _ asked) answer { <-ctx.Done(); return answer{} })
	a := startAgent(t, setup{person: p})
	client, err := srv.client(a.addr, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := client.Logical().WriteWithContext(ctx, "auth/userpass/login/"+u.name, map[string]any{"password": u.password})
		left <- err
	}()
	p.wait(t, 0)
	leave()
	if err := <-left; err == nil {
		t.Fatal("the login succeeded without its phone")
	}
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("the push goes on after the app has left")
	}
	if n := world.ping.Pushes(u.name); n != 1 {
		t.Errorf("%d pushes, want 1", n)
	}
}
