package agent_test

import (
	"context"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/prompt"
)

// A grant's path is in the namespace in which the rule's paths are, whether the app
// names that in the header or in front of the path.
func TestTokenGrantInANamespace(t *testing.T) {
	t.Parallel()
	in := []string{"X-Vault-Namespace", "ns1"}
	tests := map[string]struct {
		path    string
		header  []string
		prompts int
	}{
		"token, in the header": {"kv/data/deploy/web", in, 1},
		"token, in the path":   {"ns1/kv/data/deploy/web", nil, 1},
		"login, in the header": {"kv/data/secure/db", in, 2},
		"login, in the path":   {"ns1/kv/data/secure/db", nil, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTokenFixture(t)
			ns := r.vault.AddNamespace("ns1")
			ns.AddKV("kv")
			ns.AddTOTPMethod("own")
			ns.AddPolicy("deploy", devvault.PathRule{Path: "kv/data/deploy/*", Capabilities: []string{"read"}})
			ns.AddPolicy("secure", devvault.PathRule{Path: "kv/data/secure/*", Capabilities: []string{"read"}})
			ns.AddPolicy("minter", devvault.PathRule{Path: "auth/token/create/stepup", Capabilities: []string{"update"}, MFAMethods: []string{"corp"}})
			ns.AddTokenRole("stepup", devvault.TokenRole{AllowedPolicies: []string{"deploy"}})
			entity := ns.AddUser("stepup", "nina", "pw", "secure")
			enrol(t, ns, "own", entity)
			enrol(t, r.vault, "corp", entity)
			must(t, ns.AddLoginEnforcement("ups", []string{"own"}, []string{"stepup"}))
			for _, path := range []string{"kv/data/deploy/web", "kv/data/secure/db"} {
				must(t, ns.PutSecret(path, map[string]any{"in": "ns1"}))
			}
			r.change(t, func(c *agent.Config) {
				c.Rules[0].Namespace, c.Rules[1].Namespace = "ns1", "ns1"
				c.Rules[1].Grant.Path = "auth/stepup/login/nina"
			})
			r.person = func(_ context.Context, q prompt.Request) (string, error) {
				switch {
				case q.Kind == prompt.Password:
					return "pw", nil
				case q.Kind != prompt.Passcode:
					return "", prompt.ErrUnavailable
				case strings.Contains(q.Method, "own"):
					return ns.UnusedCode("own", "nina"), nil
				}
				return r.vault.UnusedCode("corp", entity), nil
			}
			r.token = ns.CreateToken([]string{"default", "minter"}, entity)
			check(t, r.read(t, tt.path, tt.header...), reply{200, "ns1", "approved"})
			check(t, r.read(t, tt.path, tt.header...), reply{200, "ns1", "cached"})
			r.wantAsked(t, tt.prompts)
		})
	}
}
