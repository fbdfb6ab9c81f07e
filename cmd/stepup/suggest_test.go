package main

import (
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/config"
)

const suggestAround = `vault "corp" { address = "https://vault.example:8200" }
vault "other" { address = "https://other.example:8200" }
listener "tcp" {
  address = "127.0.0.1:8100"
  vault   = "corp"
}
`

// suggested loads what is suggested for a request.
func suggested(t *testing.T, s rule.Suggestion) (*agent.Config, string) {
	t.Helper()
	hcl := s.HCL()
	file := suggestAround
	if s.Method != "" {
		file += "mfa_method \"corp\" { type = \"totp\" }\n"
	}
	c, diagnostics := config.Parse("x.hcl", []byte(file+hcl), config.Options{Env: func(string) string { return "" }, Home: "/home/alice"})
	if err := diagnostics.Err(); err != nil {
		t.Fatalf("%v\n%s", err, hcl)
	}
	return c, hcl
}

func TestSuggestion(t *testing.T) {
	t.Parallel()
	const end = "] # what the policy names in mfa_methods\n  grant \"header\" {}\n}\n"
	for name, tt := range map[string]struct {
		in   rule.Suggestion
		want string
	}{
		"a path": {
			rule.Suggestion{Path: "kv/data/prod/db", Operations: []rule.Operation{rule.Read, rule.Update}, Method: "corp"},
			"step_up \"kv-data-prod-db\" {\n  paths        = [\"kv/data/prod/db\"]\n  capabilities = [\"read\", \"update\"]\n  methods      = [\"corp\"" + end,
		},
		"everything": {
			rule.Suggestion{Path: "kv/metadata/", Operations: []rule.Operation{rule.List}, Namespace: "ns1/a", Vault: "other", Taken: map[string]bool{"kv-metadata": true, "kv-metadata-2": true}},
			"mfa_method \"corp_totp\" { # its name in Vault\n  type = \"totp\" # or duo, okta, pingid\n}\n" +
				"step_up \"kv-metadata-3\" {\n  paths        = [\"kv/metadata/\"]\n  capabilities = [\"list\"]\n  namespace    = \"ns1/a\"\n  vault        = \"other\"\n  methods      = [\"corp_totp\"" + end,
		},
		"what HCL would read": {
			rule.Suggestion{Path: `kv/${env.HOME}/%{if}"\a`, Method: "corp"},
			"step_up \"kv-env-HOME-if-a\" {\n  paths        = [\"kv/\\u0024{env.HOME}/\\u0025{if}\\\"\\\\a\"]\n  methods      = [\"corp\"" + end,
		},
		"what cannot be written": {
			rule.Suggestion{Path: "kv/data/a\nb/\u202ex/e\u0301/x", Method: "corp"},
			"step_up \"kv-data-a-b-x-e-x\" {\n  paths        = [\"kv/data/+/+/+/x\"]\n  methods      = [\"corp\"" + end,
		},
		"nothing would be left": {rule.Suggestion{Path: "\n/\t"}, ""},
		"a rule for everything": {rule.Suggestion{Path: "*"}, ""},
		"too long":              {rule.Suggestion{Path: strings.Repeat("a", 600)}, ""},
		"no path":               {rule.Suggestion{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, hcl := suggested(t, tt.in); hcl != tt.want {
				t.Errorf("got\n%s\nwant\n%s", hcl, tt.want)
			}
		})
	}
}

// The law: whatever the path and the namespace of a request, what is suggested for
// it loads, is a single rule, and matches the request.
func FuzzSuggestion(f *testing.F) {
	for _, path := range []string{
		"kv/data/prod/db", "kv/${env.HOME}", "$${", "%%{x", `a"b\`, "v1/x", "a+*", "+/+", "a*", "é/e\u0301", "a\x00b", "\xff/x", "x/\u2028", "{}", "a/", "kv/$\u0338{x",
	} {
		f.Add(path, "ns1")
	}
	f.Add("x", "${home}/\"")
	f.Add("kv/data/x", ".") // a header may hold it, and no rule
	f.Fuzz(func(t *testing.T, path, namespace string) {
		path, namespace = strings.TrimLeft(path, "/"), rule.Namespace(namespace)
		s := rule.Suggestion{Path: path, Namespace: namespace, Operations: []rule.Operation{rule.Read}, Vault: "corp", Method: "corp"}
		c, hcl := suggested(t, s)
		if hcl == "" {
			return
		}
		if len(c.Rules) != 1 || c.Rules[0].Grant.Kind != rule.HeaderGrant {
			t.Fatalf("%d rules in\n%s", len(c.Rules), hcl)
		}
		if _, ok := c.Rules.Match(rule.Request{Namespace: namespace, Path: path, Operation: rule.Read}); !ok {
			t.Errorf("%q in %q is not matched by\n%s", path, namespace, hcl)
		}
	})
}
