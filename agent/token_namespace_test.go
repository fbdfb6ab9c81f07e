package agent_test

import (
	"context"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
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
			r := newTokenRig(t)
			ns := r.vault.AddNamespace("ns1")
			ns.AddKV("kv")
			ns.AddTOTPMethod("own")
			ns.AddPolicy("deploy", devvault.PathRule{Path: "kv/data/deploy/*", Capabilities: []string{"read"}})
			ns.AddPolicy("secure", devvault.PathRule{Path: "kv/data/secure/*", Capabilities: []string{"read"}})
			ns.AddPolicy("minter", devvault.PathRule{Path: "auth/token/create/stepup", Capabilities: []string{"update"}, MFAMethods: []string{"corp"}})
			ns.AddTokenRole("stepup", devvault.TokenRole{AllowedPolicies: []string{"deploy"}})
			entity := ns.AddUser("stepup", "nina", "pw", "secure")
			if _, _, err := ns.EnrolTOTP("own", entity); err != nil {
				t.Fatal(err)
			}
			if _, _, err := r.vault.EnrolTOTP("corp", entity); err != nil {
				t.Fatal(err)
			}
			if err := ns.AddLoginEnforcement("ups", []string{"own"}, []string{"stepup"}); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{"kv/data/deploy/web", "kv/data/secure/db"} {
				if err := ns.PutSecret(path, map[string]any{"in": "ns1"}); err != nil {
					t.Fatal(err)
				}
			}
			c := r.config
			c.Rules = append(rule.Rules(nil), c.Rules...)
			for i := range c.Rules {
				c.Rules[i].Namespace = "ns1"
			}
			c.Rules[1].Grant.Path = "auth/stepup/login/nina"
			if err := r.agent.Reload(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			r.person = func(_ context.Context, q prompt.Request) (string, error) {
				switch q.Kind {
				case prompt.Password:
					return "pw", nil
				case prompt.Passcode:
					if strings.Contains(q.Method, "own") {
						return ns.UnusedCode("own", "nina"), nil
					}
					return r.vault.UnusedCode("corp", entity), nil
				}
				return "", prompt.ErrUnavailable
			}
			token := ns.CreateToken([]string{"default", "minter"}, entity)
			for _, want := range []string{"approved", "cached"} {
				got := r.do(t, "GET", "/v1/"+tt.path, "", append([]string{"X-Vault-Token", token}, tt.header...)...)
				if got.status != 200 || got.outcome != want || !strings.Contains(got.body, "ns1") {
					t.Errorf("%s: %+v", want, got)
				}
			}
			if n := len(r.asked.Requests()); n != tt.prompts {
				t.Errorf("%d prompts, want %d", n, tt.prompts)
			}
		})
	}
}
