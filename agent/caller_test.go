package agent_test

import (
	"fmt"
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
func withKind(t *testing.T, r *fixture, g rule.Grant) *fixture {
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
	r.change(t, func(c *agent.Config) {
		c.Rules = rule.Rules{{Name: "deploy", Paths: patterns("kv/data/deploy/*"), Methods: []string{"corp"}, Grant: g}}
	})
	return r
}

// served wants a step-up to have happened, and a use of its token.
func (r *fixture) served(t *testing.T) {
	t.Helper()
	r.wantOutcomes(t, "kv/data/deploy/web", "approved", "cached")
}

// unserved wants Vault's own answer to the dead caller, and no question.
func (r *fixture) unserved(t *testing.T) {
	t.Helper()
	asked := len(r.asked.Requests())
	for range 2 {
		checkPassed(t, r.read(t, "kv/data/deploy/web"))
	}
	r.wantAsked(t, asked)
}

// stepUpToken is the one that was used last, as it went over the wire.
func (r *fixture) stepUpToken() (token string) {
	for _, q := range r.vault.Requests() {
		if other := q.Header.Get("X-Vault-Token"); strings.HasPrefix(q.RawPath, "/v1/kv/data/deploy/") && other != r.token {
			token = other
		}
	}
	return token
}

// ended waits until Vault has been told to revoke token.
func (r *fixture) ended(t *testing.T, token string) {
	t.Helper()
	eventually(t, "the step-up token is revoked", func() bool {
		return slices.ContainsFunc(r.vault.Requests(), func(q devvault.Recorded) bool {
			return strings.HasSuffix(q.RawPath, "/auth/token/revoke-self") && q.Header.Get("X-Vault-Token") == token
		})
	})
}

// A revocation of the caller's own token through the agent ends its step-up tokens at
// once, whatever kind they are of, in whatever way it is revoked.
func TestRevokedCallerIsNotServed(t *testing.T) {
	t.Parallel()
	for kind, g := range kinds() {
		for _, call := range []string{"revoke-self", "revoke", "revoke-accessor", "revoke-orphan"} {
			t.Run(kind+"/"+call, func(t *testing.T) {
				t.Parallel()
				r := withKind(t, newFixture(t), g)
				r.served(t)
				token := r.stepUpToken()
				body, header := fmt.Sprintf(`{"token":%q}`, r.token), []string{"X-Vault-Token", r.vault.RootToken()}
				switch call {
				case "revoke-self":
					body, header = "", []string{"Authorization", "Bearer " + r.token}
				case "revoke-accessor":
					body = fmt.Sprintf(`{"accessor":%q}`, member(t, r.read(t, "auth/token/lookup-self"), "accessor"))
				}
				check(t, r.do(t, "PUT", "/v1/auth/token/"+call, body, header...), reply{204, "", ""})
				r.unserved(t)
				r.ended(t, token)
			})
		}
	}
}

// A token in the keyring serves no caller whose own token died while no agent ran, and is
// revoked with its first use.
func TestCallerDiesWhileNoAgentRuns(t *testing.T) {
	t.Parallel()
	for _, server := range []devvault.Flavor{devvault.Enterprise, devvault.OpenBao} {
		for kind, g := range kinds() {
			t.Run(string(server)+"/"+kind, func(t *testing.T) {
				t.Parallel()
				r := newFixtureAt(t, server, &cachetest.Keyring{})
				r.config.Cache.Store = agent.StoreKeyring
				withKind(t, r, g)
				r.served(t)
				token := r.stepUpToken()
				r.stop()
				check(t, r.direct().do(t, "POST", "/v1/auth/token/revoke-self", "", "X-Vault-Token", r.token), reply{204, "", ""})
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
					r := withKind(t, newFixtureAt(t, server, nil), g)
					used := r.vault.NewToken(devvault.TokenSpec{Policies: []string{"default"}, NumUses: 1})
					r.direct().do(t, "GET", "/v1/auth/token/lookup-self", "", "X-Vault-Token", used)
					large := strings.Repeat(" ", 2<<20) + `{"data":{"a":"b"}}`
					for _, token := range []string{"s.junk", "hvs.junk", used} {
						for method, body := range map[string]string{"GET": "", "POST": large} {
							checkPassed(t, r.do(t, method, "/v1/kv/data/deploy/web", body, "X-Vault-Token", token))
						}
						obtained, err := r.control().Obtain(t.Context(), control.Obtain{Rule: "deploy", Token: secret.Secret(token)})
						if g.Mints() && (err != nil || obtained.Outcome != "unavailable") {
							t.Errorf("obtained %+v, %v", obtained, err)
						}
					}
					r.wantAsked(t, 0)
				})
			}
		}
	}
}
