package rule_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/rule"
)

func TestPattern(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern string
		match   []string
		not     []string
	}{
		{"kv/data/x", []string{"kv/data/x"}, []string{"kv/data/x/", "kv/data/xy", "kv/data"}},
		{"/kv/data/x", []string{"kv/data/x"}, []string{"/kv/data/x"}},
		{"kv/data/*", []string{"kv/data/", "kv/data/x", "kv/data/x/y"}, []string{"kv/data", "kv/dat"}},
		{"kv/data/pro*", []string{"kv/data/pro", "kv/data/prod/x"}, []string{"kv/data/pr"}},
		{"*", []string{"", "anything/at/all"}, nil},
		{"kv/+/x", []string{"kv/data/x", "kv//x"}, []string{"kv/a/b/x", "kv/data/y", "kv/data/x/y"}},
		{"+/+", []string{"a/b"}, []string{"a", "a/b/c"}},
		{"kv/+/pro*", []string{"kv/data/prod", "kv/data/prod/deep/er"}, []string{"kv/data/dev", "kv/a/b/prod"}},
		{"kv/+/*", []string{"kv/data/", "kv/data/x/y"}, []string{"kv/data"}},
		{"transit/sign/+", []string{"transit/sign/key"}, []string{"transit/sign/key/sha2", "transit/sign"}},
		{"kv/a+/x", []string{"kv/a+/x"}, []string{"kv/ab/x"}},
		{"kv/*/x", []string{"kv/*/x"}, []string{"kv/a/x"}},
	}
	for _, tt := range tests {
		t.Run(tt.pattern, func(t *testing.T) {
			t.Parallel()
			p, err := rule.ParsePattern(tt.pattern)
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range tt.match {
				if !p.Match(path) {
					t.Errorf("%q does not match %q", tt.pattern, path)
				}
			}
			for _, path := range tt.not {
				if p.Match(path) {
					t.Errorf("%q matches %q", tt.pattern, path)
				}
			}
		})
	}
}

func TestBadPatterns(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"": "empty", "///": "empty", "v1/kv/x": "without it", "/v1/x": "without it", "kv/+*": "refuses", "kv/\x00": "control", "kv/a\nb": "control",
	} {
		if _, err := rule.ParsePattern(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePattern(%q) = %v, want %q", pattern, err, want)
		}
	}
}

func paths(t *testing.T, all ...string) (patterns []rule.Pattern) {
	t.Helper()
	for _, s := range all {
		p, err := rule.ParsePattern(s)
		if err != nil {
			t.Fatal(err)
		}
		patterns = append(patterns, p)
	}
	return patterns
}

func TestGrants(t *testing.T) {
	t.Parallel()
	tests := []struct {
		op           rule.Operation
		capabilities []string
		want         bool
	}{
		{rule.Read, []string{"read", "list"}, true},
		{rule.Read, []string{"list"}, false},
		{rule.Read, []string{"deny"}, false},
		{rule.Read, []string{"deny", "read"}, false},
		{rule.Read, []string{"root"}, false},
		{rule.Update, []string{"create"}, true},
		{rule.Update, []string{"update"}, true},
		{rule.Patch, []string{"update"}, false},
		{rule.List, nil, false},
	}
	for _, tt := range tests {
		if got := (rule.Request{Operation: tt.op}).Grants(tt.capabilities); got != tt.want {
			t.Errorf("%s with %v = %v", tt.op, tt.capabilities, got)
		}
	}
}

// The laws: a pattern prints as what it was read from; without wildcards it
// matches itself only; with a star it matches everything longer.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{"kv/data/*", "kv/+/x", "+", "a/b", "*", "a/+/b*"} {
		f.Add(s, "x/y")
	}
	f.Fuzz(func(t *testing.T, s, path string) {
		p, err := rule.ParsePattern(s)
		if err != nil {
			return
		}
		again, err := rule.ParsePattern(p.String())
		if err != nil || again.Match(path) != p.Match(path) {
			t.Errorf("%q reads back differently: %v", p, err)
		}
		if !p.Match(strings.TrimSuffix(p.String(), "*")) {
			t.Errorf("%q does not match itself", p)
		}
		if strings.HasSuffix(p.String(), "*") && p.Match(path) && !p.Match(path+"x") {
			t.Errorf("%q matches %q but nothing longer", p, path)
		}
		if !strings.ContainsAny(p.String(), "*+") && p.Match(path) != (path == p.String()) {
			t.Errorf("%q without wildcards, path %q: %v", p, path, p.Match(path))
		}
	})
}

func TestWants(t *testing.T) {
	t.Parallel()
	plain := rule.Rule{Methods: []string{"totp"}}
	mapped := rule.Rule{Methods: []string{"totp"}, Sentinel: []rule.Policy{
		{Name: "root/pay", Methods: []string{"duo", "totp"}}, {Name: "hr", Methods: []string{"okta", "duo"}},
	}}
	type test struct {
		rule   rule.Rule
		denied []string
		want   []string
	}
	tests := map[string]test{
		"no policy":                       {plain, nil, []string{"totp"}},
		"a policy, and the rule has none": {plain, []string{"root/x"}, []string{"totp"}},
		"no policy, though the rule has":  {mapped, nil, []string{"totp"}},
		"one that it has":                 {mapped, []string{"root/pay"}, []string{"duo", "totp"}},
		"without root":                    {mapped, []string{"pay"}, []string{"duo", "totp"}},
		"with root":                       {mapped, []string{"root/hr"}, []string{"okta", "duo"}},
		"both, and another":               {mapped, []string{"root/hr", "root/x", "root/pay"}, []string{"duo", "totp", "okta"}},
		"another":                         {mapped, []string{"root/x"}, nil},
		"of another namespace":            {mapped, []string{"ns1/pay"}, nil},
		"without a name":                  {mapped, []string{""}, nil},
	}
	each(t, tests, func(t *testing.T, tt test) {
		if got := tt.rule.Wants(tt.denied); !slices.Equal(got, tt.want) {
			t.Errorf("Wants = %q, want %q", got, tt.want)
		}
	})
	if got := mapped.Groups(); len(got) != 3 || !slices.Equal(rule.Join(got...), []string{"totp", "duo", "okta"}) {
		t.Errorf("Groups = %q", got)
	}
	if got := (&rule.Rule{Sentinel: mapped.Sentinel}).Groups(); len(got) != 2 {
		t.Errorf("Groups without methods = %q", got)
	}
}

// each runs every case of a table, beside the others.
func each[T any](t *testing.T, tests map[string]T, run func(*testing.T, T)) {
	t.Helper()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, tt)
		})
	}
}

// A pattern is cleaned as the path of a request is.
func TestCleaned(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"kv/data/x": "kv/data/x", "kv/data/": "kv/data/", "kv/data/*": "kv/data/*", "*": "*", "kv/.*": "kv/.*", "kv/..x": "kv/..x",
		"kv//x": "kv/x", "kv//*": "kv/*", "kv/./x/*": "kv/x/*", "kv/a/../x": "kv/x", "+//x": "+/x", "kv/..": "", "kv/x/.": "kv/x",
	} {
		p, err := rule.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Cleaned(); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
		u := &url.URL{Path: "/v1/" + strings.NewReplacer("*", "z", "+", "y").Replace(text)}
		q, _ := rule.Derive("GET", u, "")
		if p.Match(q.Path) != (want == text) {
			t.Errorf("%q matches %q: %v", text, q.Path, p.Match(q.Path))
		}
	}
}
