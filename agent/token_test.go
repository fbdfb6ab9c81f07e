package agent_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/prompt"
)

// newTokenRig adds a rule of each kind that needs a token: kv/data/deploy/* by
// minting on a guarded path, kv/data/secure/* by logging in again. The base token
// may read neither.
func newTokenRig(t *testing.T) *rig {
	t.Helper()
	return withTokens(t, newRig(t))
}

func withTokens(t *testing.T, r *rig) *rig {
	t.Helper()
	v := r.vault
	v.AddPolicy("minter", devvault.PathRule{Path: "auth/token/create/stepup", Capabilities: []string{"update"}, MFAMethods: []string{"corp"}})
	v.AddPolicy("deploy", devvault.PathRule{Path: "kv/data/deploy/*", Capabilities: []string{"read", "update", "create"}})
	v.AddPolicy("secure", devvault.PathRule{Path: "kv/data/secure/*", Capabilities: []string{"read"}})
	v.AddTokenRole("stepup", devvault.TokenRole{AllowedPolicies: []string{"deploy"}})
	v.AddUser("stepup", "alice", "pw", "secure")
	for _, path := range []string{"kv/data/deploy/web", "kv/data/secure/db"} {
		if err := v.PutSecret(path, map[string]any{"path": path}); err != nil {
			t.Fatal(err)
		}
	}
	r.token = v.CreateToken([]string{"default", "minter"}, "alice")
	c := r.config
	c.Rules = rule.Rules{
		{Name: "deploy", Paths: patterns(t, "kv/data/deploy/*"), Methods: []string{"corp"}, Grant: rule.Grant{
			Kind: rule.TokenGrant, Path: "auth/token/create/stepup", Policies: []string{"deploy"},
		}},
		{Name: "secure", Paths: patterns(t, "kv/data/secure/*"), Grant: rule.Grant{
			Kind: rule.LoginGrant, Path: "auth/stepup/login/alice", Password: "prompt",
		}},
	}
	if err := r.agent.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	r.config = c
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		if q.Kind == prompt.Password {
			return "pw", nil
		}
		return r.code(ctx, q)
	}
	return r
}

func patterns(t *testing.T, text string) []rule.Pattern {
	t.Helper()
	p, err := rule.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return []rule.Pattern{p}
}

func TestTokenGrant(t *testing.T) {
	t.Parallel()
	for path, prompts := range map[string]int{"kv/data/deploy/web": 1, "kv/data/secure/db": 2} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			r := newTokenRig(t)
			for _, want := range []string{"approved", "cached"} {
				got := r.do(t, "GET", "/v1/"+path, "", "X-Vault-Token", r.token)
				if got.status != 200 || got.outcome != want || !strings.Contains(got.body, path) {
					t.Errorf("%s: %+v", want, got)
				}
			}
			if n := len(r.asked.Requests()); n != prompts {
				t.Errorf("%d prompts, want %d", n, prompts)
			}
			other := r.vault.CreateToken([]string{"default"}, "bob")
			r.person = func(context.Context, prompt.Request) (string, error) { return "", prompt.ErrDenied }
			if got := r.do(t, "GET", "/v1/"+path, "", "X-Vault-Token", other); got.status != 403 || got.outcome != "denied" {
				t.Errorf("another caller: %+v", got)
			}
			if got := r.do(t, "GET", "/v1/"+path, ""); got.status != 403 || got.outcome != "" {
				t.Errorf("no token: %+v", got)
			}
		})
	}
}

// What vault kv get does: it asks for the mount first, where the base token
// sees nothing either.
func TestPreflight(t *testing.T) {
	t.Parallel()
	r := newTokenRig(t)
	for _, path := range []string{"sys/internal/ui/mounts/kv/secure/db", "kv/data/secure/db", "sys/internal/ui/mounts/kv"} {
		if got := r.do(t, "GET", "/v1/"+path, "", "X-Vault-Token", r.token); got.status != 200 {
			t.Errorf("%s: %+v", path, got)
		}
	}
	if n := len(r.asked.Requests()); n != 2 {
		t.Errorf("%d prompts, want one for the password and one for the code", n)
	}
}

func TestHundredAtOnce(t *testing.T) {
	t.Parallel()
	r := newTokenRig(t)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if got := r.do(t, "GET", "/v1/kv/data/deploy/web", "", "X-Vault-Token", r.token); got.status != 200 {
				t.Errorf("request %d: %+v", i, got)
			}
		})
	}
	all.Wait()
	if n := len(r.asked.Requests()); n != 1 {
		t.Errorf("%d prompts", n)
	}
	mints := 0
	for _, q := range r.vault.Requests() {
		if strings.HasPrefix(q.RawPath, "/v1/auth/token/create") {
			mints++
		}
	}
	if mints != 1 {
		t.Errorf("%d mints", mints)
	}
}

// The step-up token goes to Vault for the rule's paths and for nothing else.
func TestTokenStaysOnItsPaths(t *testing.T) {
	t.Parallel()
	r := newTokenRig(t)
	for _, path := range []string{"kv/data/deploy/web", "kv/data/deploy/web", "auth/token/lookup-self", "kv/data/secret/else", "kv/data/deploy/../else"} {
		r.do(t, "GET", "/v1/"+path, "", "X-Vault-Token", r.token)
	}
	for _, q := range r.vault.Requests() {
		token := q.Header.Get("X-Vault-Token")
		if token != "" && token != r.token && !strings.HasPrefix(q.RawPath, "/v1/kv/data/deploy/web") {
			t.Errorf("%s %s was sent with another token than the app's", q.Method, q.RawPath)
		}
	}
}

func TestStatusAndLockOfTokens(t *testing.T) {
	t.Parallel()
	r := newTokenRig(t)
	r.do(t, "GET", "/v1/kv/data/deploy/web", "", "X-Vault-Token", r.token)
	client := control.NewClient(filepath.Join(r.dir, "run", agent.ControlSocket))
	s, err := client.Status(t.Context())
	if err != nil || len(s.Tokens) != 1 {
		t.Fatalf("status %+v, %v", s.Tokens, err)
	}
	if got := s.Tokens[0]; got.Rule != "deploy" || got.Vault != "corp" || len(got.Caller) != 8 || got.Expires.IsZero() {
		t.Errorf("token in status: %+v", got)
	}
	result, err := client.Lock(t.Context())
	if err != nil || result.Revoked != 1 || result.Forgotten != 1 || len(result.Notes) != 0 {
		t.Errorf("lock: %+v, %v", result, err)
	}
	if s, err := client.Status(t.Context()); err != nil || len(s.Tokens) != 0 {
		t.Errorf("after the lock: %+v, %v", s.Tokens, err)
	}
	if got := r.do(t, "GET", "/v1/kv/data/deploy/web", "", "X-Vault-Token", r.token); got.outcome != "approved" || len(r.asked.Requests()) != 2 {
		t.Errorf("after the lock: %+v after %d prompts", got, len(r.asked.Requests()))
	}
	r.vault.Close()
	result, err = client.Lock(t.Context())
	if err != nil || result.Revoked != 0 || result.Forgotten != 1 || len(result.Notes) != 1 || !strings.Contains(result.Notes[0], "lives until") {
		t.Errorf("lock without vault: %+v, %v", result, err)
	}
}

// A token that somebody else revoked is stepped up to again, once.
func TestRevokedOutside(t *testing.T) {
	t.Parallel()
	r := newTokenRig(t)
	r.do(t, "GET", "/v1/kv/data/deploy/web", "", "X-Vault-Token", r.token)
	var minted string
	for _, q := range r.vault.Requests() {
		if token := q.Header.Get("X-Vault-Token"); token != r.token && token != "" {
			minted = token
		}
	}
	if got := r.do(t, "POST", "/v1/auth/token/revoke-self", "", "X-Vault-Token", minted); got.status != 204 {
		t.Fatalf("revoke: %+v", got)
	}
	if got := r.do(t, "GET", "/v1/kv/data/deploy/web", "", "X-Vault-Token", r.token); got.status != 200 || got.outcome != "approved" {
		t.Errorf("%+v", got)
	}
}

func TestRevokeOnStop(t *testing.T) {
	t.Parallel()
	var vault *devvault.Server
	t.Run("agent", func(t *testing.T) {
		r := newTokenRig(t)
		vault = r.vault
		c := r.config
		c.Rules = append(rule.Rules{}, c.Rules...)
		c.Rules[0].Grant.RevokeOnStop = true
		if err := r.agent.Reload(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		r.do(t, "GET", "/v1/kv/data/deploy/web", "", "X-Vault-Token", r.token)
	})
	for _, q := range vault.Requests() {
		if q.RawPath == "/v1/auth/token/revoke-self" && q.Status == 204 {
			return
		}
	}
	t.Error("no token was revoked")
}

// The log sends people to the status, whose first answer must know.
func TestStatusOfAKeyringThatIsMissing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.config
	c.Listeners, c.Cache.Store = c.Listeners[:1], agent.StoreKeyring
	missing := &cachetest.Keyring{Before: func(context.Context, string, string) error {
		return &keyring.Error{Condition: keyring.Missing, Why: "no keyring here"}
	}}
	ready := make(chan struct{})
	a := agent.New(c, agent.Options{
		RuntimeDir: filepath.Join(r.dir, "second"), Log: slog.New(slog.DiscardHandler), Keyring: missing, Ready: func() { close(ready) },
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	wait(t, ready)
	if s := a.Status(t.Context()).Cache; s.State != string(keyring.Missing) || s.Reason != "no keyring here" {
		t.Errorf("%+v", s)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
