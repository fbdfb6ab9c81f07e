package agent_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/secret"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	corp := []control.Method{{Name: "corp", Type: "totp", Passcode: true}}
	alice, update := secret.Secret(r.token), []string{"create", "read", "update"}
	first, second, neither := []string{"matches", "path"}, []string{"path", "matches"}, []string{"path", "path"}
	// explained has the fields of an explanation in which the cases differ.
	type explained struct {
		Rule, Namespace string
		Why             []string // of each rule
		Methods         []control.Method
		Granted, Caller bool
		Capabilities    []string
		VaultSays       string // a part of the error
	}
	for name, tt := range map[string]struct {
		ask  control.Explain
		want explained
		err  error
	}{
		"a rule":       {control.Explain{Path: "kv/data/prod/db", Token: alice}, explained{Rule: "prod", Why: first, Methods: corp, Granted: true, Caller: true, Capabilities: update}, nil},
		"a push":       {control.Explain{Path: "/v1/kv/data/call/db", Operation: "read", Token: alice}, explained{Rule: "call", Why: second, Methods: []control.Method{{Name: "phone", Type: "okta"}}, Granted: true, Caller: true, Capabilities: []string{"read"}}, nil},
		"not granted":  {control.Explain{Path: "kv/data/prod/db", Operation: "delete", Token: alice}, explained{Rule: "prod", Why: first, Methods: corp, Caller: true, Capabilities: update}, nil},
		"no rule":      {control.Explain{Path: "kv/data/dev/db", Token: alice}, explained{Why: neither, Granted: true, Caller: true, Capabilities: []string{"read"}}, nil},
		"no token":     {control.Explain{Path: "kv/data/dev/db"}, explained{Why: neither}, nil},
		"a dead token": {control.Explain{Path: "kv/data/dev/db", Token: "hvs.dead"}, explained{Why: neither, Caller: true, VaultSays: "does not know this token, which has ended"}, nil},
		"root":         {control.Explain{Path: "kv/data/dev/db", Token: secret.Secret(r.vault.RootToken())}, explained{Why: neither, Caller: true, Capabilities: []string{"root"}}, nil},
		"a namespace":  {control.Explain{Path: "kv/data/prod/db", Namespace: "ns1/", Token: alice}, explained{Rule: "prod", Namespace: "ns1", Why: first, Methods: corp, Caller: true, VaultSays: "no policy of it allows sys/capabilities-self"}, nil},
		"no path":      {control.Explain{Path: "/v1/"}, explained{}, control.ErrNoPath},
		"no operation": {control.Explain{Path: "kv/x", Operation: "sudo"}, explained{}, control.ErrNoPath},
		"no vault":     {control.Explain{Path: "kv/x", Vault: "other"}, explained{}, control.ErrNoVault},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := r.control().Explain(t.Context(), tt.ask)
			if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if tt.err != nil {
				return
			}
			got := explained{
				Rule: e.Rule, Namespace: e.Namespace, Methods: e.Methods, Granted: e.Granted, Caller: e.Caller != "",
				Capabilities: slices.Sorted(slices.Values(e.Capabilities)), VaultSays: e.CapabilitiesError,
			}
			for _, reason := range e.Rules {
				got.Why = append(got.Why, reason.Why)
			}
			if tt.want.VaultSays != "" && strings.Contains(got.VaultSays, tt.want.VaultSays) {
				got.VaultSays = tt.want.VaultSays
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" || !e.Agent || e.Vault != "corp" {
				t.Errorf("%+v (-want +got):\n%s", e, diff)
			}
			text, err := json.Marshal(e)
			if err != nil || tt.ask.Token != "" && strings.Contains(string(text), tt.ask.Token.Reveal()) {
				t.Errorf("the token is in %s (%v)", text, err)
			}
		})
	}
}

// The mount table tells which kind of store a path is in; without it, a name such as kv is
// a reason to say how the path would be written there.
func TestExplainMount(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.vault.AddPolicy("keys", devvault.PathRule{Path: "transit/*", Capabilities: []string{"read"}})
	alice, keys := secret.Secret(r.token), secret.Secret(r.vault.CreateToken([]string{"default", "keys"}, ""))
	kv := &control.Mount{Path: "kv/", Type: "kv", Version: "2"}
	for name, tt := range map[string]struct {
		ask   control.Explain
		mount *control.Mount
		kv2   string
	}{
		"without data":           {control.Explain{Path: "kv/prod/db", Token: alice}, kv, "kv/data/prod/db"},
		"a list":                 {control.Explain{Path: "kv/prod", Operation: "list", Token: alice}, kv, "kv/metadata/prod/"},
		"with data":              {control.Explain{Path: "kv/data/prod/db", Token: alice}, kv, ""},
		"another engine":         {control.Explain{Path: "transit/keys/x", Token: keys}, &control.Mount{Path: "transit/", Type: "transit"}, ""},
		"nothing granted there":  {control.Explain{Path: "kv/prod/db", Token: keys}, nil, "kv/data/prod/db"},
		"no such mount":          {control.Explain{Path: "nope/prod/db", Token: alice}, nil, ""},
		"no token":               {control.Explain{Path: "kv/prod/db"}, nil, "kv/data/prod/db"},
		"no token, another name": {control.Explain{Path: "transit/keys/x"}, nil, ""},
		"Vault's own path":       {control.Explain{Path: "sys/internal/ui/mounts/kv/x", Token: alice}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := r.control().Explain(t.Context(), tt.ask)
			if d := cmp.Diff(tt.mount, e.Mount); err != nil || d != "" || e.KV2Path != tt.kv2 {
				t.Errorf("%q, %v, want %q; mount (-want +got):\n%s", e.KV2Path, err, tt.kv2, d)
			}
		})
	}
	if n := len(r.asked.Requests()); n > 0 {
		t.Errorf("a person was asked %d times", n)
	}
}

// What was decided about a caller a moment ago is told, and asking changes nothing.
func TestExplainAfterADenial(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	client := r.control()
	r.person = deny
	ask := control.Explain{Path: "kv/data/prod/db", Token: secret.Secret(r.token)}
	if e, err := client.Explain(t.Context(), ask); err != nil || e.Paused != "" || len(r.asked.Requests()) > 0 {
		t.Errorf("before: %+v %v", e, err)
	}
	r.read(t, "kv/data/prod/db")
	e, err := client.Explain(t.Context(), ask)
	if err != nil || !strings.Contains(e.Paused, "it was denied a moment ago") {
		t.Errorf("after: %q %v", e.Paused, err)
	}
	ask.Token = "hvs.other"
	if e, err := client.Explain(t.Context(), ask); err != nil || e.Paused != "" {
		t.Errorf("another caller: %q %v", e.Paused, err)
	}
}

// What is explained is where the request goes, wherever its namespace was written.
func TestExplainNamespacesAndMounts(t *testing.T) {
	t.Parallel()
	grant := rule.Grant{Kind: rule.LoginGrant, Path: "auth/x/login/alice"}
	c := agent.Config{
		Vaults: []agent.Vault{{Name: "corp", Namespace: "team"}}, LoginMFA: agent.LoginMFA{Enabled: true},
		Rules: rule.Rules{
			{Name: "ns1", Namespace: "ns1", Paths: patterns("kv/data/*"), Grant: grant},
			{Name: "any", Paths: patterns("secret/data/*"), Grant: grant},
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
		must(t, err)
		got := control.Explanation{Rule: e.Rule, Namespace: e.Namespace, Path: e.Path, Login: e.Login, Preflight: e.Preflight, KeptOnly: e.KeptOnly}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s in %q: (-want +got):\n%s", tt.path, tt.namespace, diff)
		}
	}
}
