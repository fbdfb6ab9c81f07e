package rule_test

import (
	"testing"

	"github.com/vault-stepup/stepup/agent/rule"
)

func TestMatchPreflight(t *testing.T) {
	t.Parallel()
	token := rule.Grant{Kind: rule.TokenGrant}
	rs := rules(t,
		rule.Rule{Name: "header", Paths: paths(t, "kv/data/header/*"), Grant: rule.Grant{Kind: rule.HeaderGrant}},
		rule.Rule{Name: "secure", Paths: paths(t, "kv/data/secure/*", "kv/metadata/secure/*"), Capabilities: []rule.Operation{rule.Update}, Grant: token},
		rule.Rule{Name: "exact", Paths: paths(t, "kv/data/other/db"), Grant: rule.Grant{Kind: rule.LoginGrant}},
		rule.Rule{Name: "deep", Paths: paths(t, "team/+/data/x"), Grant: token},
		rule.Rule{Name: "ns1", Paths: paths(t, "ns/data/*"), Namespace: "ns1", Grant: token},
	)
	tests := map[string]struct {
		request rule.Request
		want    string
		path    string
	}{
		"typed path":            {rule.Request{Path: "sys/internal/ui/mounts/kv/secure/db", Operation: rule.Read}, "secure", "kv/secure/db"},
		"with a slash":          {rule.Request{Path: "sys/internal/ui/mounts/kv/secure/db/", Operation: rule.Read}, "secure", "kv/secure/db"},
		"API path":              {rule.Request{Path: "sys/internal/ui/mounts/kv/data/secure/db", Operation: rule.Read}, "secure", "kv/data/secure/db"},
		"folder":                {rule.Request{Path: "sys/internal/ui/mounts/kv/secure", Operation: rule.Read}, "secure", "kv/secure"},
		"mount alone":           {rule.Request{Path: "sys/internal/ui/mounts/kv", Operation: rule.Read}, "secure", "kv"},
		"the path before below": {rule.Request{Path: "sys/internal/ui/mounts/kv/other/db", Operation: rule.Read}, "exact", "kv/other/db"},
		"longer mount":          {rule.Request{Path: "sys/internal/ui/mounts/team/a/x", Operation: rule.Read}, "deep", "team/a/x"},
		"namespace by header":   {rule.Request{Namespace: "ns1", Path: "sys/internal/ui/mounts/ns/a", Operation: rule.Read}, "ns1", "ns/a"},
		"namespace by path":     {rule.Request{Path: "ns1/sys/internal/ui/mounts/ns/a", Operation: rule.Read}, "ns1", "ns/a"},
		"other namespace":       {rule.Request{Path: "sys/internal/ui/mounts/ns/a", Operation: rule.Read}, "", ""},
		"header grant":          {rule.Request{Path: "sys/internal/ui/mounts/kv/header/db", Operation: rule.Read}, "", ""},
		"no rule":               {rule.Request{Path: "sys/internal/ui/mounts/secret/db", Operation: rule.Read}, "", ""},
		"all mounts":            {rule.Request{Path: "sys/internal/ui/mounts/", Operation: rule.Read}, "", ""},
		"not that path":         {rule.Request{Path: "kv/data/secure/db", Operation: rule.Read}, "", ""},
		"part of a name":        {rule.Request{Path: "xsys/internal/ui/mounts/kv/secure/db", Operation: rule.Read}, "", ""},
		"a write":               {rule.Request{Path: "sys/internal/ui/mounts/kv/secure/db", Operation: rule.Update}, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, ok := rs.MatchPreflight(tt.request)
			if ok != (tt.want != "") || ok && (m.Rule.Name != tt.want || m.Request.Path != tt.path || m.Request.Namespace != tt.request.Namespace) {
				t.Errorf("MatchPreflight = %+v, %v, want %q", m, ok, tt.want)
			}
		})
	}
}
