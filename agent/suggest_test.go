package agent_test

import (
	"testing"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/devvault"
)

// A guarded path without a rule: the app gets Vault's answer as it is, and the
// status says what is probably missing. An ordinary denial is not mistaken for it.
func TestSuggestion(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.vault.AddPolicy("more",
		devvault.PathRule{Path: "kv/data/forgotten", Capabilities: []string{"read"}, MFAMethods: []string{"corp"}})
	r.token = r.vault.CreateToken([]string{"default", "prod", "more"}, "alice")
	const bare = "{\"errors\":[\"1 error occurred:\\n\\t* permission denied\\n\\n\"]}\n"
	for _, path := range []string{"kv/data/none", "kv/data/forgotten"} {
		if got := r.read(t, path); got != (reply{403, bare, ""}) {
			t.Errorf("%s: %+v", path, got)
		}
	}
	var got []control.Suggestion
	eventually(t, "a rule is suggested", func() bool {
		got = r.agent.Status(t.Context()).Suggestions
		return len(got) > 0
	})
	want := "step_up \"kv-data-forgotten\" {\n  paths        = [\"kv/data/forgotten\"]\n  capabilities = [\"read\"]\n  methods      = [\"corp\"] # what the policy names in mfa_methods\n  grant \"header\" {}\n}\n"
	if len(got) != 1 || got[0].Path != "kv/data/forgotten" || got[0].Vault != "corp" || got[0].Rule != want {
		t.Errorf("%+v", got)
	}
}
