package rule_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/rule"
)

func preflightRules(t *testing.T) rule.Rules {
	t.Helper()
	token := rule.Grant{Kind: rule.TokenGrant}
	header := rule.Grant{Kind: rule.HeaderGrant}
	return rule.Rules{
		{Name: "header", Paths: paths(t, "kv/data/header/*"), Grant: header},
		{Name: "secure", Paths: paths(t, "kv/data/secure/*", "kv/metadata/secure/*"), Capabilities: []rule.Operation{rule.Update, rule.List}, Grant: token},
		{Name: "exact", Paths: paths(t, "kv/data/other/db"), Grant: rule.Grant{Kind: rule.LoginGrant}},
		{Name: "deep", Paths: paths(t, "team/+/data/x"), Grant: token},
		{Name: "ns1", Paths: paths(t, "ns/data/*"), Namespace: "ns1", Grant: token},
		{Name: "ns2", Paths: paths(t, "nested/data/*"), Namespace: "ns1/ns2", Grant: token},
		{Name: "behind a header", Paths: paths(t, "kv/data/header/x", "kv/data/shadow"), Grant: token},
		{Name: "v1", Paths: paths(t, "old/prod/*"), Grant: token},
	}
}

func TestMatchPreflight(t *testing.T) {
	t.Parallel()
	rs := preflightRules(t)
	look := func(namespace, path string) rule.Request {
		return rule.Request{Namespace: namespace, Path: path, Operation: rule.Read}
	}
	type test struct {
		request       rule.Request
		want          string // the rule, or the rules in brackets whose kept tokens serve
		namespace, in string
	}
	tests := map[string]test{
		"typed path":              {look("", "sys/internal/ui/mounts/kv/secure/db"), "secure", "", "kv/secure/db"},
		"with a slash":            {look("", "sys/internal/ui/mounts/kv/secure/db/"), "secure", "", "kv/secure/db"},
		"API path":                {look("", "sys/internal/ui/mounts/kv/data/secure/db"), "secure", "", "kv/data/secure/db"},
		"a folder that is listed": {look("", "sys/internal/ui/mounts/kv/secure"), "secure", "", "kv/secure"},
		"a folder that is not":    {look("", "sys/internal/ui/mounts/old/prod"), "", "", ""},
		"its mount":               {look("", "sys/internal/ui/mounts/old"), "[v1]", "", "old"},
		"a folder of data":        {look("", "sys/internal/ui/mounts/kv/data/secure"), "", "", ""},
		"data is no mount":        {look("", "sys/internal/ui/mounts/kv/data"), "", "", ""},
		"a mount of two segments": {look("", "sys/internal/ui/mounts/team/a"), "[deep]", "", "team/a"},
		"the first of them":       {look("", "sys/internal/ui/mounts/team"), "", "", ""},
		"version 1":               {look("", "sys/internal/ui/mounts/old/prod/x"), "v1", "", "old/prod/x"},
		"mount alone":             {look("", "sys/internal/ui/mounts/kv"), "[secure exact behind a header]", "", "kv"},
		"mount with a slash":      {look("", "sys/internal/ui/mounts/kv/"), "[secure exact behind a header]", "", "kv"},
		"the path before below":   {look("", "sys/internal/ui/mounts/kv/other/db"), "exact", "", "kv/other/db"},
		"another path there":      {look("", "sys/internal/ui/mounts/kv/else/db"), "", "", ""},
		"a path that is longer":   {look("", "sys/internal/ui/mounts/kv/other/db/x"), "", "", ""},
		"longer mount":            {look("", "sys/internal/ui/mounts/team/a/x"), "deep", "", "team/a/x"},
		"namespace by header":     {look("ns1", "sys/internal/ui/mounts/ns/a"), "ns1", "ns1", "ns/a"},
		"namespace by path":       {look("", "ns1/sys/internal/ui/mounts/ns/a"), "ns1", "ns1", "ns/a"},
		"namespace in the path":   {look("", "sys/internal/ui/mounts/ns1/ns/a"), "ns1", "ns1", "ns/a"},
		"in all three":            {look("", "ns1/sys/internal/ui/mounts/ns2/nested/a"), "ns2", "ns1/ns2", "nested/a"},
		"mount in a namespace":    {look("ns1", "ns2/sys/internal/ui/mounts/nested"), "[ns2]", "ns1/ns2", "nested"},
		"other namespace":         {look("", "sys/internal/ui/mounts/ns/a"), "", "", ""},
		"not of the rule":         {look("", "ns9/sys/internal/ui/mounts/kv/secure/db"), "", "", ""},
		"a mount called so":       {look("", "kv/data/sys/internal/ui/mounts/kv/secure/db"), "", "", ""},
		"twice":                   {look("", "sys/sys/internal/ui/mounts/kv/secure/db"), "", "", ""},
		"header grant":            {look("", "sys/internal/ui/mounts/kv/header/db"), "", "", ""},
		"header grant comes first": {
			look("", "sys/internal/ui/mounts/kv/header/x"), "", "", "",
		},
		"no rule":        {look("", "sys/internal/ui/mounts/secret/db"), "", "", ""},
		"all mounts":     {look("", "sys/internal/ui/mounts/"), "", "", ""},
		"not that path":  {look("", "kv/data/secure/db"), "", "", ""},
		"part of a name": {look("", "xsys/internal/ui/mounts/kv/secure/db"), "", "", ""},
		"a write":        {rule.Request{Path: "sys/internal/ui/mounts/kv/secure/db", Operation: rule.Update}, "", "", ""},
	}
	each(t, tests, func(t *testing.T, tt test) {
		m, ok := rs.MatchPreflight(tt.request)
		got := ""
		if ok {
			got = m.Rule.Name
		}
		if len(m.Kept) > 0 {
			var names []string
			for _, k := range m.Kept {
				names = append(names, k.Rule.Name)
			}
			got = "[" + strings.Join(names, " ") + "]"
		}
		if got != tt.want || ok != m.Preflight || ok && m.Request != (rule.Request{Namespace: tt.namespace, Path: tt.in, Operation: rule.Read}) {
			t.Errorf("MatchPreflight = %s %+v, want %q", got, m, tt.want)
		}
	})
}

// A path is as long as headers may be; what it may stand for is not.
func TestPreflightOfALongPath(t *testing.T) {
	t.Parallel()
	path := "sys/internal/ui/mounts/kv" + strings.Repeat("/a", 100_000)
	if m, ok := preflightRules(t).MatchPreflight(rule.Request{Path: path, Operation: rule.Read}); ok {
		t.Errorf("%+v", m)
	}
}

// The law: a look at a mount may ask only where a path that it may stand for is itself
// under that rule, before every other rule.
func FuzzMatchPreflight(f *testing.F) {
	f.Add("sys/internal/ui/mounts/kv/secure/db", "")
	f.Add("ns1/sys/internal/ui/mounts/ns2/nested/a", "")
	f.Add("sys/internal/ui/mounts/kv", "")
	f.Add("sys/internal/ui/mounts/ns/a", "ns1")
	f.Add("sys/internal/ui/mounts/kv/secure", "root")
	f.Fuzz(func(t *testing.T, path, namespace string) {
		q, err := rule.Typed(path, "read", namespace)
		if err != nil {
			return
		}
		rs := preflightRules(t)
		m, ok := rs.MatchPreflight(q)
		if !ok || len(m.Kept) > 0 {
			return
		}
		before, asked, _ := strings.Cut(q.Path, "sys/internal/ui/mounts/")
		segments := strings.Split(strings.TrimSuffix(asked, "/"), "/")
		candidates := []string{strings.Join(segments, "/")}
		for i := 1; i < len(segments); i++ {
			for _, word := range []string{"data", "metadata"} {
				candidates = append(candidates, strings.Join(slices.Insert(slices.Clone(segments), i, word), "/"))
			}
		}
		for _, c := range candidates {
			for _, op := range rule.Operations() {
				one := rule.Request{Namespace: q.Namespace, Path: before + c, Operation: op}
				if op == rule.List || op == rule.Scan {
					one.Path += "/"
				}
				if got, ok := rs.Match(one); ok && got.Rule.Name == m.Rule.Name && got.Request.Namespace == m.Request.Namespace {
					return
				}
			}
		}
		t.Errorf("%q asks under rule %s, and no path that it stands for does", path, m.Rule.Name)
	})
}
