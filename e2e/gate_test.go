package e2e

import (
	"context"
	"testing"
)

// TestGate holds the stand-in itself against the real server and CLI, without
// stepup.
func TestGate(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "header")
	const want = `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}` + "\n"
	c := w.codes
	fresh := c.next()
	steps := []struct {
		name   string
		header []string
		method string
		status int
		body   string
	}{
		{"no code", nil, "GET", 403, want},
		{"wrong code", []string{"X-Vault-MFA: corp_totp:" + c.wrong()}, "GET", 403, want},
		{"right code", []string{"X-Vault-MFA: corp_totp:" + fresh}, "GET", 200, ""},
		{"used code", []string{"X-Vault-MFA: corp_totp:" + fresh}, "GET", 403, want},
		{"malformed", []string{"X-Vault-MFA: :1"}, "GET", 400, ""},
		{"not granted, so Vault's own answer", nil, "DELETE", 403, want},
	}
	for _, step := range steps {
		g := request(step.method, w.path, w.token, step.header...).send(t, w.addr)
		if g.status != step.status || (step.body != "" && g.body != step.body) {
			t.Errorf("%s: status %d\n%s", step.name, g.status, g.body)
		}
	}
	// The real CLI can bring the code itself.
	vault, _ := cli(t, w.addr, "VAULT_TOKEN="+w.token)
	vault.run(t, "read", w.path).wantFailure(t, 2, "permission denied")
	vault.ok(t, "read", "-mfa=corp_totp:"+c.next(), w.path)
}

// held is a phone whose answers come over a channel.
func held(decide <-chan error) func(context.Context, string) error {
	return func(ctx context.Context, _ string) error {
		select {
		case err := <-decide:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// TestGatePush: a push method blocks without any header, and tells nothing apart.
func TestGatePush(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "header", "phone")
	decide := make(chan error)
	w.gate.AddPush("phone", held(decide))
	for _, err := range []error{nil, context.Canceled} {
		answered := w.get().async(t, w.addr)
		decide <- err
		want := 200
		if err != nil {
			want = 403
		}
		(<-answered).wantStatus(t, want)
	}
}
