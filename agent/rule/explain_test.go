package rule_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/rule"
)

func explained(t *testing.T) rule.Rules {
	t.Helper()
	return rule.Rules{
		{Name: "writes", Paths: paths(t, "kv/data/prod/*"), Capabilities: []rule.Operation{rule.Create, rule.Patch}},
		{Name: "ns", Paths: paths(t, "kv/data/prod/*"), Namespace: "ns1"},
		{Name: "prod", Paths: paths(t, "kv/data/prod/*", "kv/metadata/+")},
		{Name: "all", Paths: paths(t, "kv/*")},
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	type test struct {
		path, operation, namespace string
		want                       []rule.Reason
	}
	tests := map[string]test{
		"read":              {"kv/data/prod/db", "read", "", []rule.Reason{rule.OtherOperation, rule.OtherNamespace, rule.Matches, rule.Shadowed}},
		"a POST may create": {"/v1/kv/data/prod/db", "update", "", []rule.Reason{rule.Matches, rule.OtherNamespace, rule.Shadowed, rule.Shadowed}},
		"in a namespace":    {"kv/data/prod/db", "delete", "ns1/", []rule.Reason{rule.OtherOperation, rule.Matches, rule.Shadowed, rule.Shadowed}},
		"namespace in path": {"ns1/kv/data/prod/db", "delete", "", []rule.Reason{rule.OtherPath, rule.Matches, rule.OtherPath, rule.OtherPath}},
		"no namespace":      {"ns2/kv/data/prod/db", "delete", "", []rule.Reason{rule.OtherPath, rule.OtherPath, rule.OtherPath, rule.OtherPath}},
		"a scan":            {"kv/data/prod", "scan", "", []rule.Reason{rule.OtherOperation, rule.OtherNamespace, rule.Matches, rule.Shadowed}},
		"a list":            {"kv/metadata/prod", "list", "", []rule.Reason{rule.OtherPath, rule.OtherPath, rule.Matches, rule.Shadowed}},
		"no rule":           {"transit/sign/x", "update", "", []rule.Reason{rule.OtherPath, rule.OtherPath, rule.OtherPath, rule.OtherPath}},
	}
	each(t, tests, func(t *testing.T, tt test) {
		q, err := rule.Typed(tt.path, tt.operation, tt.namespace)
		if err != nil {
			t.Fatal(err)
		}
		var got []rule.Reason
		for _, e := range explained(t).Explain(q) {
			got = append(got, e.Why)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Error(d)
		}
	})
}

func TestTyped(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ path, operation, want string }{
		{"kv/data/a", "read", "kv/data/a"}, {"/v1/kv/data/a", "update", "kv/data/a"}, {"kv//data/../b", "read", "kv/b"}, {"kv//a b%2e", "read", "kv/a b%2e"},
		{"kv/metadata", "list", "kv/metadata/"}, {"", "read", ""}, {"/v1/", "read", ""}, {"kv/a", "sudo", ""}, {"kv/a?x=1", "read", "kv/a?x=1"},
	} {
		q, err := rule.Typed(tt.path, tt.operation, "")
		if q.Path != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s %s: %+v %v", tt.operation, tt.path, q, err)
		}
	}
}

func TestNearby(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"kv/prod/db": "kv/prod/db", "secret/prod/db": ""} {
		if got := explained(t).Nearby(rule.Request{Path: path, Operation: rule.Read}); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
	few := explained(t)[2:3]
	for path, want := range map[string]string{"kv/prod/db": "kv/data/prod/db", "kv/x": "kv/metadata/x", "kv/data/other/x": ""} {
		if got := few.Nearby(rule.Request{Path: path, Operation: rule.Read}); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// The law: Explain says "matches" about the one rule that Match finds, and about no
// other; a rule before it never would have.
func FuzzExplain(f *testing.F) {
	f.Add("ns1/kv/data/prod/db", "read", "")
	f.Add("/v1/kv/metadata/x", "list", "ns1")
	f.Add("kv/data/prod/", "update", "root")
	f.Fuzz(func(t *testing.T, path, operation, namespace string) {
		q, err := rule.Typed(path, operation, namespace)
		if err != nil {
			return
		}
		rules := explained(t)
		m, ok := rules.Match(q)
		found := false
		for _, e := range rules.Explain(q) {
			switch {
			case e.Why == rule.Matches && (!ok || e.Rule != m.Rule || found):
				t.Errorf("rule %s of %+v", e.Rule.Name, q)
			case e.Why == rule.Matches:
				found = true
			case e.Why == rule.Shadowed && !found:
				t.Errorf("rule %s is behind none", e.Rule.Name)
			}
		}
		if found != ok {
			t.Errorf("explained %v, matched %v", found, ok)
		}
	})
}
