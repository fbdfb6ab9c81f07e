package rule_test

import (
	"testing"

	"github.com/vault-stepup/stepup/agent/rule"
)

func parsed(t *testing.T, s string) rule.Pattern {
	t.Helper()
	p, err := rule.ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestContains(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		outer, inner string
		want         bool
	}{
		{"kv/*", "kv/data/x", true}, {"kv/*", "kv/data/*", true}, {"kv/*", "kv/+/x", true}, {"*", "+/x", true}, {"kv/data/*", "kv/*", false},
		{"kv/da*", "kv/data/x", true}, {"kv/da*", "kv/+/x", false}, {"kv/*", "kv", false}, {"kv*", "kv", true}, {"kv*", "kv/x", true},
		{"kv/+", "kv/x", true}, {"kv/+", "kv/+", true}, {"kv/x", "kv/+", false}, {"kv/+", "kv/*", false}, {"kv/+", "kv/x/y", false}, {"kv/+/y", "kv/x*", false},
		{"kv/x", "kv/x", true}, {"kv/x", "kv/x*", false}, {"kv/x*", "kv/x*", true}, {"kv/x*", "kv/xy*", true}, {"kv/xy*", "kv/x*", false}, {"+/x", "kv/x", true},
	} {
		if got := parsed(t, tt.outer).Contains(parsed(t, tt.inner)); got != tt.want {
			t.Errorf("%s contains %s: %v", tt.outer, tt.inner, got)
		}
	}
}

// What a pattern contains is matched by it, whatever the path.
func FuzzContains(f *testing.F) {
	f.Add("kv/*", "kv/+/x*", "kv/a/xy")
	f.Add("+/x", "kv/x", "kv/x")
	f.Add("kv/+*", "kv/a+b", "kv/")
	f.Fuzz(func(t *testing.T, outer, inner, path string) {
		p, err := rule.ParsePattern(outer)
		if err != nil {
			return
		}
		q, err := rule.ParsePattern(inner)
		if err != nil {
			return
		}
		if p.Contains(q) && q.Match(path) && !p.Match(path) {
			t.Errorf("%q contains %q, but not %q", outer, inner, path)
		}
	})
}

// A rule that is hidden is used for nothing.
func TestHides(t *testing.T) {
	t.Parallel()
	base := func(change func(*rule.Rule)) *rule.Rule {
		r := &rule.Rule{Name: "r", Paths: []rule.Pattern{parsed(t, "kv/*")}}
		if change != nil {
			change(r)
		}
		return r
	}
	caps := func(ops ...rule.Operation) func(*rule.Rule) { return func(r *rule.Rule) { r.Capabilities = ops } }
	for name, tt := range map[string]struct {
		first, later *rule.Rule
		want         bool
	}{
		"the same":             {base(nil), base(nil), true},
		"fewer capabilities":   {base(nil), base(caps(rule.Read)), true},
		"more capabilities":    {base(caps(rule.Read)), base(caps(rule.Read, rule.List)), false},
		"all capabilities":     {base(caps(rule.Read)), base(nil), false},
		"a scan that is meant": {base(nil), base(caps(rule.Scan)), false},
		"another vault":        {base(func(r *rule.Rule) { r.Vault = "a" }), base(func(r *rule.Rule) { r.Vault = "b" }), false},
		"one vault of all":     {base(nil), base(func(r *rule.Rule) { r.Vault = "b" }), true},
		"a namespace":          {base(nil), base(func(r *rule.Rule) { r.Namespace = "team" }), false},
		"the root namespace":   {base(nil), base(func(r *rule.Rule) { r.Namespace = "root" }), false},
		"the same namespace":   {base(func(r *rule.Rule) { r.Namespace = "team/" }), base(func(r *rule.Rule) { r.Namespace = "team" }), true},
		"one more path":        {base(nil), base(func(r *rule.Rule) { r.Paths = append(r.Paths, parsed(t, "x")) }), false},
	} {
		if got := tt.first.Hides(tt.later); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
