package agent_test

import (
	"testing"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/rule"
)

// What is explained is where the request goes, wherever its namespace was written.
func TestExplainNamespacesAndMounts(t *testing.T) {
	t.Parallel()
	pattern := func(text string) []rule.Pattern {
		p, err := rule.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		return []rule.Pattern{p}
	}
	grant := rule.Grant{Kind: rule.LoginGrant, Path: "auth/x/login/alice"}
	c := agent.Config{
		Vaults: []agent.Vault{{Name: "corp", Namespace: "team"}}, LoginMFA: agent.LoginMFA{Enabled: true},
		Rules: rule.Rules{
			{Name: "ns1", Namespace: "ns1", Paths: pattern("kv/data/*"), Grant: grant},
			{Name: "any", Paths: pattern("secret/data/*"), Grant: grant},
		},
	}
	for _, tt := range []struct {
		path, operation, namespace string
		want                       control.Explanation
	}{
		{"kv/data/x", "", "ns1", control.Explanation{Rule: "ns1", Namespace: "ns1", Path: "kv/data/x"}},
		{"ns1/kv/data/x", "", "root", control.Explanation{Rule: "ns1", Namespace: "ns1", Path: "kv/data/x"}},
		{"ns1/kv/data/x", "", "", control.Explanation{Namespace: "team", Path: "ns1/kv/data/x"}},
		{"secret/data/x", "", "", control.Explanation{Rule: "any", Namespace: "team", Path: "secret/data/x"}},
		{"ns2/secret/data/x", "", "root", control.Explanation{Path: "ns2/secret/data/x"}},
		{"secret/data/x", "scan", "root", control.Explanation{Rule: "any", Path: "secret/data/x/"}},
		{"ns2/auth/x/login/alice", "update", "", control.Explanation{Namespace: "team/ns2", Path: "auth/x/login/alice", Login: true}},
		{"sys/internal/ui/mounts/secret/x", "", "root", control.Explanation{Rule: "any", Path: "sys/internal/ui/mounts/secret/x", Preflight: true}},
		{"sys/internal/ui/mounts/secret", "", "root", control.Explanation{Rule: "any", Path: "sys/internal/ui/mounts/secret", Preflight: true, KeptOnly: true}},
	} {
		e, err := agent.Explain(c, control.Explain{Path: tt.path, Operation: tt.operation, Namespace: tt.namespace})
		if err != nil {
			t.Fatal(err)
		}
		got := control.Explanation{Rule: e.Rule, Namespace: e.Namespace, Path: e.Path, Login: e.Login, Preflight: e.Preflight, KeptOnly: e.KeptOnly}
		if got.Rule != tt.want.Rule || got.Namespace != tt.want.Namespace || got.Path != tt.want.Path || got.Login != tt.want.Login ||
			got.Preflight != tt.want.Preflight || got.KeptOnly != tt.want.KeptOnly {
			t.Errorf("%s in %q: %+v", tt.path, tt.namespace, got)
		}
	}
}
