package rule_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/rule"
)

func TestDerive(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		method, target, namespace string
		want                      rule.Request // empty: not ok
	}{
		"read":               {"GET", "/v1/kv/data/x", "", rule.Request{Path: "kv/data/x", Operation: rule.Read}},
		"list by method":     {"LIST", "/v1/kv/metadata/x", "", rule.Request{Path: "kv/metadata/x/", Operation: rule.List}},
		"list by query":      {"GET", "/v1/kv/metadata/x/?list=true", "", rule.Request{Path: "kv/metadata/x/", Operation: rule.List}},
		"list, other word":   {"GET", "/v1/kv/metadata/x?list=1", "", rule.Request{Path: "kv/metadata/x/", Operation: rule.List}},
		"list=false":         {"GET", "/v1/kv/data/x?list=false", "", rule.Request{Path: "kv/data/x", Operation: rule.Read}},
		"list of a post":     {"POST", "/v1/kv/data/x?list=true", "", rule.Request{Path: "kv/data/x", Operation: rule.Update}},
		"put":                {"PUT", "/v1/kv/data/x", "", rule.Request{Path: "kv/data/x", Operation: rule.Update}},
		"patch":              {"PATCH", "/v1/kv/data/x", "", rule.Request{Path: "kv/data/x", Operation: rule.Patch}},
		"delete":             {"DELETE", "/v1/kv/data/x", "", rule.Request{Path: "kv/data/x", Operation: rule.Delete}},
		"namespace":          {"GET", "/v1/kv/data/x", "/ns1/sub/", rule.Request{Namespace: "ns1/sub", Path: "kv/data/x", Operation: rule.Read}},
		"root namespace":     {"GET", "/v1/kv/data/x", "root", rule.Request{Path: "kv/data/x", Operation: rule.Read}},
		"encoded slash":      {"GET", "/v1/kv%2Fdata%2fx", "", rule.Request{Path: "kv/data/x", Operation: rule.Read}},
		"dots":               {"GET", "/v1/kv/data/prod/../dev/./x", "", rule.Request{Path: "kv/data/dev/x", Operation: rule.Read}},
		"encoded dots":       {"GET", "/v1/kv/data/prod/%2e%2e/dev", "", rule.Request{Path: "kv/data/dev", Operation: rule.Read}},
		"double slashes":     {"GET", "//v1///kv//data/x", "", rule.Request{Path: "kv/data/x", Operation: rule.Read}},
		"trailing slash":     {"GET", "/v1/kv/data/x/", "", rule.Request{Path: "kv/data/x/", Operation: rule.Read}},
		"help":               {"GET", "/v1/kv/data/x?help=1", "", rule.Request{}},
		"head":               {"HEAD", "/v1/kv/data/x", "", rule.Request{}},
		"options":            {"OPTIONS", "/v1/kv/data/x", "", rule.Request{}},
		"recover":            {"RECOVER", "/v1/kv/data/x", "", rule.Request{}},
		"user interface":     {"GET", "/ui/vault", "", rule.Request{}},
		"out of the api":     {"GET", "/v1/../ui", "", rule.Request{}},
		"nothing after it":   {"GET", "/v1/", "", rule.Request{}},
		"climbs above start": {"GET", "/../v1/kv/x", "", rule.Request{Path: "kv/x", Operation: rule.Read}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, err := url.ParseRequestURI(tt.target)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := rule.Derive(tt.method, u, tt.namespace)
			if d := cmp.Diff(tt.want, got); d != "" || ok != (tt.want.Path != "") {
				t.Errorf("ok %v %s", ok, d)
			}
		})
	}
}

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

func rules(t *testing.T, all ...rule.Rule) rule.Rules {
	t.Helper()
	return all
}

func paths(t *testing.T, all ...string) []rule.Pattern {
	t.Helper()
	var patterns []rule.Pattern
	for _, s := range all {
		p, err := rule.ParsePattern(s)
		if err != nil {
			t.Fatal(err)
		}
		patterns = append(patterns, p)
	}
	return patterns
}

func TestMatch(t *testing.T) {
	t.Parallel()
	rs := rules(t,
		rule.Rule{Name: "create-only", Paths: paths(t, "kv/data/new/*"), Capabilities: []rule.Operation{rule.Create}},
		rule.Rule{Name: "reads", Paths: paths(t, "kv/data/prod/*", "kv/metadata/prod"), Capabilities: []rule.Operation{rule.Read, rule.List}},
		rule.Rule{Name: "ns1", Paths: paths(t, "kv/data/team/*"), Namespace: "ns1/"},
		rule.Rule{Name: "root", Paths: paths(t, "kv/data/root/*"), Namespace: "root"},
		rule.Rule{Name: "late", Paths: paths(t, "kv/data/prod/*", "sys/policies/*", "policies/*")},
	)
	tests := map[string]struct {
		request rule.Request
		want    string
	}{
		"first in file order":           {rule.Request{Path: "kv/data/prod/a", Operation: rule.Read}, "reads"},
		"capability not named":          {rule.Request{Path: "kv/data/prod/a", Operation: rule.Delete}, "late"},
		"post may be a create":          {rule.Request{Path: "kv/data/new/a", Operation: rule.Update}, "create-only"},
		"list without its slash":        {rule.Request{Path: "kv/metadata/prod/", Operation: rule.List}, "reads"},
		"read with a slash":             {rule.Request{Path: "kv/metadata/prod/", Operation: rule.Read}, ""},
		"namespace by header":           {rule.Request{Namespace: "ns1", Path: "kv/data/team/a", Operation: rule.Read}, "ns1"},
		"namespace by path":             {rule.Request{Path: "ns1/kv/data/team/a", Operation: rule.Read}, "ns1"},
		"namespace by both":             {rule.Request{Namespace: "top", Path: "ns1/kv/data/team/a", Operation: rule.Read}, ""},
		"other namespace":               {rule.Request{Namespace: "ns2", Path: "kv/data/team/a", Operation: rule.Read}, ""},
		"no namespace":                  {rule.Request{Path: "kv/data/team/a", Operation: rule.Read}, ""},
		"any namespace by header":       {rule.Request{Namespace: "ns9", Path: "kv/data/prod/a", Operation: rule.Read}, "reads"},
		"any namespace by path":         {rule.Request{Path: "ns9/sub/kv/data/prod/a", Operation: rule.Read}, "reads"},
		"root only":                     {rule.Request{Path: "kv/data/root/a", Operation: rule.Read}, "root"},
		"root only, not elsewhere":      {rule.Request{Path: "ns1/kv/data/root/a", Operation: rule.Read}, ""},
		"sys is no namespace":           {rule.Request{Path: "sys/policies/a", Operation: rule.Read}, "late"},
		"auth is no namespace":          {rule.Request{Path: "auth/kv/data/prod/a", Operation: rule.Read}, ""},
		"namespaces end where sys does": {rule.Request{Path: "ns1/sys/policies/a", Operation: rule.Read}, "late"},
		"nothing":                       {rule.Request{Path: "kv/data/dev/a", Operation: rule.Read}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, ok := rs.Match(tt.request)
			if ok != (tt.want != "") || ok && (m.Rule.Name != tt.want || m.Request != tt.request) {
				t.Errorf("Match = %+v, %v, want %q", m, ok, tt.want)
			}
		})
	}
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

// The law: what is derived is a path that Vault would not redirect, whatever
// the spelling, and deriving it again changes nothing.
func FuzzDerive(f *testing.F) {
	f.Add("GET", "/v1/kv//data/../x%2fy?list=true", "ns")
	f.Add("LIST", "/v1/a/", "")
	f.Fuzz(func(t *testing.T, method, target, namespace string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r, ok := rule.Derive(method, u, namespace)
		if !ok {
			return
		}
		for _, bad := range []string{"//", "/./", "/../"} {
			if strings.Contains("/"+r.Path, bad) {
				t.Errorf("path %q contains %q", r.Path, bad)
			}
		}
		again, ok := rule.Derive(method, &url.URL{Path: "/v1/" + r.Path, RawQuery: u.RawQuery}, r.Namespace)
		if !ok || again != r {
			t.Errorf("derived again: %+v, want %+v", again, r)
		}
	})
}
