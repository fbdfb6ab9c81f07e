package agent_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/secret"
)

// kinds are the ways to get a step-up token. What each of them outlives differs.
func kinds() map[string]rule.Grant {
	token := func(path string) rule.Grant {
		return rule.Grant{Kind: rule.TokenGrant, Path: path, Policies: []string{"deploy"}, TTL: 10 * time.Minute}
	}
	free := token("auth/token/create/child")
	free.NoParent = true
	return map[string]rule.Grant{
		"child":       token("auth/token/create/child"),
		"orphan role": token("auth/token/create/orphan"),
		"no_parent":   free,
		"batch role":  token("auth/token/create/batch"),
		"login":       {Kind: rule.LoginGrant, Path: "auth/stepup/login/alice", Password: "prompt"},
	}
}

// withKind has one rule, for kv/data/deploy/*, with a grant of that kind.
func withKind(t *testing.T, r *rig, g rule.Grant) *rig {
	t.Helper()
	withTokens(t, r)
	v := r.vault
	v.AddPolicy("minter", devvault.PathRule{Path: "auth/token/create*", Capabilities: []string{"update", "sudo"}, MFAMethods: []string{"corp"}})
	for name, role := range map[string]devvault.TokenRole{"child": {}, "orphan": {Orphan: true}, "batch": {Orphan: true, Batch: true}} {
		role.AllowedPolicies = []string{"deploy"}
		v.AddTokenRole(name, role)
	}
	v.AddUser("stepup", "alice", "pw", "deploy")
	r.token = v.CreateToken([]string{"default", "minter"}, "alice")
	c := r.config
	c.Rules = rule.Rules{{Name: "deploy", Paths: patterns(t, "kv/data/deploy/*"), Methods: []string{"corp"}, Grant: g}}
	if err := r.agent.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	r.config = c
	return r
}

func (r *rig) deploy(t *testing.T) reply {
	t.Helper()
	return r.do(t, "GET", "/v1/kv/data/deploy/web", "", "X-Vault-Token", r.token)
}

// served wants a step-up to have happened, and a use of its token.
func (r *rig) served(t *testing.T) {
	t.Helper()
	for _, want := range []string{"approved", "cached"} {
		if got := r.deploy(t); got.status != 200 || got.outcome != want {
			t.Fatalf("%+v, want %s\n%s", got, want, r.log)
		}
	}
}

// unserved wants Vault's own answer to the dead caller, and nobody to be asked.
func (r *rig) unserved(t *testing.T) {
	t.Helper()
	asked := len(r.asked.Requests())
	for range 2 {
		if got := r.deploy(t); got.status != 403 || got.outcome != "" || strings.Contains(got.body, "stepup") {
			t.Errorf("a dead caller: %+v", got)
		}
	}
	if got := len(r.asked.Requests()); got != asked {
		t.Errorf("asked %d times for a dead caller", got-asked)
	}
}

// stepUpToken is the one that was used last, as it went over the wire.
func (r *rig) stepUpToken() (token string) {
	for _, q := range r.vault.Requests() {
		if other := q.Header.Get("X-Vault-Token"); strings.HasPrefix(q.RawPath, "/v1/kv/data/deploy/") && other != r.token {
			token = other
		}
	}
	return token
}

// direct sends a request to Vault past the agent.
func (r *rig) direct(t *testing.T, method, path, token string) int {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, r.config.Vaults[0].Address.String()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("X-Vault-Token", token)
	resp, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// ended waits until Vault has been told to revoke token.
func (r *rig) ended(t *testing.T, token string) {
	t.Helper()
	told := func() bool {
		return slices.ContainsFunc(r.vault.Requests(), func(q devvault.Recorded) bool {
			return strings.HasSuffix(q.RawPath, "/auth/token/revoke-self") && q.Header.Get("X-Vault-Token") == token
		})
	}
	for deadline := time.Now().Add(time.Minute); !told(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the step-up token was not revoked\n%s", r.log)
		}
	}
}

// A revocation of the caller's own token through the agent ends its step-up tokens at
// once, whatever kind they are of, in whatever way it is revoked.
func TestRevokedCallerIsNotServed(t *testing.T) {
	t.Parallel()
	revoke := map[string]func(t *testing.T, r *rig) reply{
		"revoke-self": func(t *testing.T, r *rig) reply {
			return r.do(t, "POST", "/v1/auth/token/revoke-self", "", "Authorization", "Bearer "+r.token)
		},
		"revoke": func(t *testing.T, r *rig) reply {
			return r.do(t, "POST", "/v1/auth/token/revoke", fmt.Sprintf(`{"token":%q}`, r.token), "X-Vault-Token", r.vault.RootToken())
		},
		"revoke-accessor": func(t *testing.T, r *rig) reply {
			_, accessor, _ := strings.Cut(r.do(t, "GET", "/v1/auth/token/lookup-self", "", "X-Vault-Token", r.token).body, `"accessor":"`)
			accessor, _, _ = strings.Cut(accessor, `"`)
			return r.do(t, "PUT", "/v1/auth/token/revoke-accessor", fmt.Sprintf(`{"accessor":%q}`, accessor), "X-Vault-Token", r.vault.RootToken())
		},
		"revoke-orphan": func(t *testing.T, r *rig) reply {
			return r.do(t, "PUT", "/v1/auth/token/revoke-orphan", fmt.Sprintf(`{"token":%q}`, r.token), "X-Vault-Token", r.vault.RootToken())
		},
	}
	for kind, g := range kinds() {
		for way, revoke := range revoke {
			t.Run(kind+"/"+way, func(t *testing.T) {
				t.Parallel()
				r := withKind(t, newRig(t), g)
				r.served(t)
				token := r.stepUpToken()
				if got := revoke(t, r); got.status != 204 {
					t.Fatalf("%+v", got)
				}
				r.unserved(t)
				r.ended(t, token)
			})
		}
	}
}

// What the keyring has serves nobody whose own token died while no agent ran, and is
// revoked with its first use.
func TestCallerDiesWhileNoAgentRuns(t *testing.T) {
	t.Parallel()
	for _, server := range []devvault.Flavor{devvault.Enterprise, devvault.OpenBao} {
		for kind, g := range kinds() {
			t.Run(string(server)+"/"+kind, func(t *testing.T) {
				t.Parallel()
				r := newRigAt(t, server, &cachetest.Keyring{})
				c := r.config
				c.Cache.Store = agent.StoreKeyring
				if err := r.agent.Reload(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				r.config = c
				withKind(t, r, g)
				r.served(t)
				token := r.stepUpToken()
				r.stop()
				if status := r.direct(t, "POST", "/v1/auth/token/revoke-self", r.token); status != 204 {
					t.Fatal(status)
				}
				r.start(t)
				r.unserved(t)
				r.ended(t, token)
			})
		}
	}
}

// Junk and dead tokens are Vault's to refuse, under every grant and before any
// question. OpenBao says of them what Vault says where there is no token.
func TestJunkIsNotAskedAbout(t *testing.T) {
	t.Parallel()
	grants := map[string]rule.Grant{"header": {Kind: rule.HeaderGrant}, "token": kinds()["child"], "login": kinds()["login"]}
	for _, server := range []devvault.Flavor{devvault.Enterprise, devvault.Community, devvault.OpenBao} {
		for name, g := range grants {
			for _, eager := range []bool{false, true} {
				g.Eager = eager && g.Mints()
				t.Run(fmt.Sprint(server, "/", name, " eager ", eager), func(t *testing.T) {
					t.Parallel()
					r := withKind(t, newRigAt(t, server, nil), g)
					used := r.vault.NewToken(devvault.TokenSpec{Policies: []string{"default"}, NumUses: 1})
					r.direct(t, "GET", "/v1/auth/token/lookup-self", used)
					large := strings.Repeat(" ", 2<<20) + `{"data":{"a":"b"}}`
					for _, token := range []string{"s.junk", "hvs.junk", used} {
						for method, body := range map[string]string{"GET": "", "POST": large} {
							got := r.do(t, method, "/v1/kv/data/deploy/web", body, "X-Vault-Token", token)
							if got.status != 403 || got.outcome != "" || strings.Contains(got.body, "stepup") {
								t.Errorf("%s with %s: %d %q %.200s", method, token[:6], got.status, got.outcome, got.body)
							}
						}
						obtained, err := r.client().Obtain(t.Context(), control.Obtain{Rule: "deploy", Token: secret.Secret(token)})
						if g.Mints() && (err != nil || obtained.Outcome != "unavailable") {
							t.Errorf("obtained %+v, %v", obtained, err)
						}
					}
					if n := len(r.asked.Requests()); n != 0 {
						t.Errorf("asked %d times", n)
					}
				})
			}
		}
	}
}

func (r *rig) client() *control.Client {
	return control.NewClient(filepath.Join(r.dir, "run", agent.ControlSocket))
}
