package agent_test

import (
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/devvault"
)

// A guarded path without a rule: the app gets Vault's answer as it is, and the
// status says what is probably missing. An ordinary denial is not mistaken for it.
func TestSuggestion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.vault.AddPolicy("more",
		devvault.PathRule{Path: "kv/data/forgotten", Capabilities: []string{"read"}, MFAMethods: []string{"corp"}})
	token := r.vault.CreateToken([]string{"default", "prod", "more"}, "alice")
	const bare = "{\"errors\":[\"1 error occurred:\\n\\t* permission denied\\n\\n\"]}\n"
	for _, path := range []string{"/v1/kv/data/none", "/v1/kv/data/forgotten"} {
		if got := r.do(t, "GET", path, "", "X-Vault-Token", token); got != (reply{403, bare, ""}) {
			t.Errorf("%s: %+v", path, got)
		}
	}
	deadline := time.Now().Add(30 * time.Second)
	for len(r.agent.Status(t.Context()).Suggestions) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("nothing is suggested")
		}
		time.Sleep(10 * time.Millisecond)
	}
	got := r.agent.Status(t.Context()).Suggestions
	want := "step_up \"kv-data-forgotten\" {\n  paths        = [\"kv/data/forgotten\"]\n  capabilities = [\"read\"]\n  methods      = [\"corp\"] # what the policy names in mfa_methods\n  grant \"header\" {}\n}\n"
	if len(got) != 1 || got[0].Path != "kv/data/forgotten" || got[0].Vault != "corp" || got[0].Rule != want {
		t.Errorf("%+v", got)
	}
}
