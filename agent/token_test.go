package agent_test

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/prompt"
)

// newTokenFixture adds a rule of each kind that needs a token: kv/data/deploy/* by
// minting on a guarded path, kv/data/secure/* by logging in again. The base token
// may read neither.
func newTokenFixture(t *testing.T) *fixture {
	t.Helper()
	return withTokens(t, newFixture(t))
}

func withTokens(t *testing.T, r *fixture) *fixture {
	t.Helper()
	v := r.vault
	v.AddPolicy("minter", devvault.PathRule{Path: "auth/token/create/stepup", Capabilities: []string{"update"}, MFAMethods: []string{"corp"}})
	v.AddPolicy("deploy", devvault.PathRule{Path: "kv/data/deploy/*", Capabilities: []string{"read", "update", "create"}})
	v.AddPolicy("secure", devvault.PathRule{Path: "kv/data/secure/*", Capabilities: []string{"read"}})
	v.AddTokenRole("stepup", devvault.TokenRole{AllowedPolicies: []string{"deploy"}})
	v.AddUser("stepup", "alice", "pw", "secure")
	for _, path := range []string{"kv/data/deploy/web", "kv/data/secure/db"} {
		must(t, v.PutSecret(path, map[string]any{"path": path}))
	}
	r.token = v.CreateToken([]string{"default", "minter"}, "alice")
	r.config.Rules = rule.Rules{
		{Name: "deploy", Paths: patterns("kv/data/deploy/*"), Methods: []string{"corp"}, Grant: rule.Grant{
			Kind: rule.TokenGrant, Path: "auth/token/create/stepup", Policies: []string{"deploy"},
		}},
		{Name: "secure", Paths: patterns("kv/data/secure/*"), Grant: rule.Grant{
			Kind: rule.LoginGrant, Path: "auth/stepup/login/alice", Password: "prompt",
		}},
	}
	r.reload(t, r.config)
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		if q.Kind == prompt.Password {
			return "pw", nil
		}
		return r.code(ctx, q)
	}
	return r
}

func TestTokenGrant(t *testing.T) {
	t.Parallel()
	for path, prompts := range map[string]int{"kv/data/deploy/web": 1, "kv/data/secure/db": 2} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			r := newTokenFixture(t)
			check(t, r.read(t, path), reply{200, path, "approved"})
			check(t, r.read(t, path), reply{200, path, "cached"})
			r.wantAsked(t, prompts)
			r.person = deny
			r.as(r.vault.CreateToken([]string{"default", "minter"}, "bob")).wantOutcomes(t, path, "denied")
			check(t, r.do(t, "GET", "/v1/"+path, ""), reply{403, "", ""})
		})
	}
}

// Reads with a step-up token that is there take the express lane, and so does what no rule
// is about; a token that turns out to be dead does not.
func TestExpressLane(t *testing.T) {
	t.Parallel()
	if os.Getenv(noLane) != "" {
		t.Skip("is the run without it")
	}
	r := newTokenFixture(t)
	taken := func() int64 {
		s, err := r.control().Status(t.Context())
		must(t, err)
		return s.Vaults[0].Express
	}
	want := int64(0)
	for _, step := range []struct {
		path, outcome string
		express       int64
	}{
		{"auth/token/lookup-self", "", 1},
		{"kv/data/deploy/web", "approved", 0},
		{"kv/data/deploy/web", "cached", 1},
		{"kv/data/deploy/none", "cached", 1}, // 404
		{"kv/data/other", "", 0},             // 403
	} {
		if got := r.read(t, step.path).outcome; got != step.outcome {
			t.Errorf("%s: outcome %q, want %q", step.path, got, step.outcome)
		}
		want += step.express
		if got := taken(); got != want {
			t.Fatalf("after %s: %d requests took the lane, want %d", step.path, got, want)
		}
	}
	r.reload(t, r.config)
	r.wantOutcomes(t, "kv/data/deploy/web", "cached")
	if got := taken(); got != want+1 {
		t.Errorf("after a reload: %d requests took the lane, want %d", got, want+1)
	}
	r.change(t, func(c *agent.Config) { c.Relay.Express = false })
	r.wantOutcomes(t, "kv/data/deploy/web", "cached")
	if got := taken(); got != 0 {
		t.Errorf("without the lane %d requests took it", got)
	}
}

// What vault kv get does: it asks for the mount first, where the base token
// sees nothing either.
func TestPreflight(t *testing.T) {
	t.Parallel()
	r := newTokenFixture(t)
	for _, path := range []string{"sys/internal/ui/mounts/kv/secure/db", "kv/data/secure/db", "sys/internal/ui/mounts/kv"} {
		if got := r.read(t, path); got.status != 200 {
			t.Errorf("%s: %+v", path, got)
		}
	}
	r.wantAsked(t, 2)
}

func TestHundredAtOnce(t *testing.T) {
	t.Parallel()
	r := newTokenFixture(t)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if got := r.read(t, "kv/data/deploy/web"); got.status != 200 {
				t.Errorf("request %d: %+v", i, got)
			}
		})
	}
	all.Wait()
	r.wantAsked(t, 1)
	r.wantSent(t, "/v1/auth/token/create/stepup", 1)
}

// The step-up token goes to Vault for the rule's paths and for nothing else.
func TestTokenStaysOnItsPaths(t *testing.T) {
	t.Parallel()
	r := newTokenFixture(t)
	for _, path := range []string{"kv/data/deploy/web", "kv/data/deploy/web", "auth/token/lookup-self", "kv/data/secret/else", "kv/data/deploy/../else"} {
		r.read(t, path)
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
	r := newTokenFixture(t)
	r.read(t, "kv/data/deploy/web")
	client := r.control()
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
	r.wantOutcomes(t, "kv/data/deploy/web", "approved")
	r.wantAsked(t, 2)
	r.vault.Close()
	result, err = client.Lock(t.Context())
	if err != nil || result.Revoked != 0 || result.Forgotten != 1 || len(result.Notes) != 1 || !strings.Contains(result.Notes[0], "lives until") {
		t.Errorf("lock without vault: %+v, %v", result, err)
	}
}

// A token that was revoked elsewhere is stepped up to again, once.
func TestRevokedOutside(t *testing.T) {
	t.Parallel()
	r := newTokenFixture(t)
	r.read(t, "kv/data/deploy/web")
	check(t, r.do(t, "POST", "/v1/auth/token/revoke-self", "", "X-Vault-Token", r.stepUpToken()), reply{204, "", ""})
	r.wantOutcomes(t, "kv/data/deploy/web", "approved")
}

func TestRevokeOnStop(t *testing.T) {
	t.Parallel()
	var vault *devvault.Server
	t.Run("agent", func(t *testing.T) {
		r := newTokenFixture(t)
		vault = r.vault
		r.change(t, func(c *agent.Config) { c.Rules[0].Grant.RevokeOnStop = true })
		r.read(t, "kv/data/deploy/web")
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
	r := newFixture(t)
	r.config.Cache.Store = agent.StoreKeyring
	a := secondAgent(t, r, &cachetest.Keyring{Before: func(context.Context, string, string) error {
		return &keyring.Error{Condition: keyring.Missing, Why: "no keyring here"}
	}})
	if s := a.Status(t.Context()).Cache; s.State != string(keyring.Missing) || s.Reason != "no keyring here" {
		t.Errorf("%+v", s)
	}
}
