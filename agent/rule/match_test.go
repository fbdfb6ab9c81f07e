package rule_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/rule"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	rs := rule.Rules{
		{Name: "create-only", Paths: paths(t, "kv/data/new/*"), Capabilities: []rule.Operation{rule.Create}},
		{Name: "reads", Paths: paths(t, "kv/data/prod/*", "kv/metadata/prod"), Capabilities: []rule.Operation{rule.Read, rule.List}},
		{Name: "ns1", Paths: paths(t, "kv/data/team/*"), Namespace: "ns1/"},
		{Name: "deep", Paths: paths(t, "kv/data/deep/*"), Namespace: "/ns1/ns2"},
		{Name: "root", Paths: paths(t, "kv/data/root/*"), Namespace: "root"},
		{Name: "no namespace", Paths: paths(t, "data/x", "policies/x"), Namespace: "sys"},
		{Name: "late", Paths: paths(t, "kv/data/prod/*", "sys/policies/*", "policies/*")},
		{Name: "scans", Paths: paths(t, "kv/metadata/scan/*"), Capabilities: []rule.Operation{rule.Scan}},
		{Name: "anything", Paths: paths(t, "kv/metadata/any/*", "kv/metadata/exact")},
	}
	read := func(namespace, path string) rule.Request {
		return rule.Request{Namespace: namespace, Path: path, Operation: rule.Read}
	}
	scan := func(path string, byQuery, slashed bool) rule.Request {
		return rule.Request{Path: path, Operation: rule.Scan, ByQuery: byQuery, Slashed: slashed}
	}
	type test struct {
		request rule.Request
		want    string
		in      rule.Request // zero: as it is
	}
	tests := map[string]test{
		"first in file order":           {read("", "kv/data/prod/a"), "reads", rule.Request{}},
		"capability not named":          {rule.Request{Path: "kv/data/prod/a", Operation: rule.Delete}, "late", rule.Request{}},
		"post may be a create":          {rule.Request{Path: "kv/data/new/a", Operation: rule.Update}, "create-only", rule.Request{}},
		"list without its slash":        {rule.Request{Path: "kv/metadata/prod/", Operation: rule.List}, "reads", rule.Request{}},
		"read with a slash":             {read("", "kv/metadata/prod/"), "", rule.Request{}},
		"namespace by header":           {read("ns1", "kv/data/team/a"), "ns1", rule.Request{}},
		"namespace by path":             {read("", "ns1/kv/data/team/a"), "ns1", read("ns1", "kv/data/team/a")},
		"namespace twice":               {read("ns1", "ns1/kv/data/team/a"), "", rule.Request{}},
		"another one by both":           {read("top", "ns1/kv/data/team/a"), "", rule.Request{}},
		"a deep one by header":          {read("ns1/ns2", "kv/data/deep/a"), "deep", rule.Request{}},
		"a deep one by path":            {read("", "ns1/ns2/kv/data/deep/a"), "deep", read("ns1/ns2", "kv/data/deep/a")},
		"a deep one by both":            {read("ns1", "ns2/kv/data/deep/a"), "deep", read("ns1/ns2", "kv/data/deep/a")},
		"half of a deep one":            {read("ns1", "kv/data/deep/a"), "", rule.Request{}},
		"part of a name":                {read("", "ns1x/kv/data/team/a"), "", rule.Request{}},
		"part of a name in the header":  {read("n", "s1/kv/data/team/a"), "", rule.Request{}},
		"unclean header":                {read("ns1/", "kv/data/team/a"), "", rule.Request{}},
		"dots in the header":            {read("x/../ns1", "kv/data/team/a"), "", rule.Request{}},
		"other namespace":               {read("ns2", "kv/data/team/a"), "", rule.Request{}},
		"no namespace":                  {read("", "kv/data/team/a"), "", rule.Request{}},
		"any namespace by header":       {read("ns9", "kv/data/prod/a"), "reads", rule.Request{}},
		"no rule names it: a mount":     {read("", "ns9/kv/data/prod/a"), "", rule.Request{}},
		"a mount that ends alike":       {read("", "kv1/kv/data/prod/a"), "", rule.Request{}},
		"a secret that ends alike":      {read("", "kv/data/kv/data/prod/a"), "", rule.Request{}},
		"root only":                     {read("", "kv/data/root/a"), "root", rule.Request{}},
		"root only, not elsewhere":      {read("ns1", "kv/data/root/a"), "", rule.Request{}},
		"root only, not by path":        {read("", "ns1/kv/data/root/a"), "", rule.Request{}},
		"root is no path":               {read("", "root/kv/data/root/a"), "", rule.Request{}},
		"sys is no namespace":           {read("", "sys/policies/a"), "late", rule.Request{}},
		"even where a rule says so":     {read("", "sys/data/x"), "", rule.Request{}},
		"auth is no namespace":          {read("", "auth/kv/data/prod/a"), "", rule.Request{}},
		"sys of an unnamed namespace":   {read("", "ns1/sys/policies/a"), "", rule.Request{}},
		"nothing":                       {read("", "kv/data/dev/a"), "", rule.Request{}},
		"scan, named":                   {scan("kv/metadata/scan/", true, true), "scans", rule.Request{}},
		"scan, not named":               {scan("kv/data/prod/a/", false, false), "late", rule.Request{}},
		"a scan is no read":             {scan("kv/metadata/prod/", false, false), "", rule.Request{}},
		"a read is no scan":             {read("", "kv/metadata/scan/x"), "", rule.Request{}},
		"scan of a folder":              {scan("kv/metadata/any/", false, false), "anything", rule.Request{}},
		"or read of what is not within": {scan("kv/metadata/any/", true, true), "", rule.Request{}},
		"exactly, as a scan":            {scan("kv/metadata/exact/", false, false), "anything", rule.Request{}},
		"exactly, or with its slash":    {scan("kv/metadata/exact/", true, false), "", rule.Request{}},
		"exactly, or without a slash":   {scan("kv/metadata/exact/", true, true), "anything", rule.Request{}},
		"or read of what is":            {scan("kv/metadata/any/x/", true, true), "anything", rule.Request{}},
	}
	each(t, tests, func(t *testing.T, tt test) {
		if tt.in == (rule.Request{}) {
			tt.in = tt.request
		}
		m, ok := rs.Match(tt.request)
		if ok != (tt.want != "") || ok && (m.Rule.Name != tt.want || m.Request != tt.in) {
			t.Errorf("Match = %+v, %v, want %q", m, ok, tt.want)
		}
	})
}

func TestLogin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ namespace, path, in, login string }{
		{"", "auth/userpass/login/a", "", "auth/userpass/login/a"},
		{"", "ns1/auth/userpass/login/a", "ns1", "auth/userpass/login/a"},
		{"ns1", "ns2/ns3/auth/auth/login", "ns1/ns2/ns3", "auth/auth/login"},
		{"ns1", "auth/token/create", "ns1", "auth/token/create"},
		{"ns1", "sys/auth/userpass", "ns1", ""},
		{"", "ns1/sys/auth/userpass", "", ""},
		{"", "kv/data/x", "", ""},
		{"", "myauth/login", "", ""},
		{"", "auth/", "", ""},
	} {
		q := rule.Request{Namespace: tt.namespace, Path: tt.path, Operation: rule.Update}
		want := rule.Request{Namespace: tt.in, Path: tt.login, Operation: rule.Update}
		if tt.login == "" {
			want = q
		}
		if got, ok := q.Login(); got != want || ok != (tt.login != "") {
			t.Errorf("%+v: %+v %v", q, got, ok)
		}
	}
}

func TestIn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ rule, header, want string }{
		{"", "", ""}, {"", "/ns1/", "ns1"}, {"ns1/", "ns2", "ns1"}, {"root", "ns2", ""}, {"", "root", ""},
	} {
		if got := (&rule.Rule{Namespace: tt.rule}).In(tt.header); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

func TestCanBeNamespace(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"ns1": true, "/ns1/ns2/": true, "root": true, "a b": true, "": false, "/": false, "a//b": false, "a/../b": false, ".": false, "root/a": false, "a/sys": false, "auth": false,
	} {
		if rule.CanBeNamespace(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

// The laws: header and path together are the same before and after; without a namespace
// in the rule nothing of the path is taken for one; with one it is exactly that.
func FuzzMatch(f *testing.F) {
	f.Add("GET", "/v1/ns1/kv/data/x", "", "kv/data/*", "ns1")
	f.Add("GET", "/v1/kv1/kv/data/x", "", "kv/data/*", "")
	f.Add("POST", "/v1/ns2/kv/data/x", "ns1", "kv/+/x", "ns1/ns2")
	f.Add("GET", "/v1/kv/data/x%2fy", "root", "kv/data/x/y", "root")
	f.Fuzz(func(t *testing.T, method, target, header, pattern, namespace string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		p, err := rule.ParsePattern(pattern)
		if err != nil {
			return
		}
		q, ok := rule.Derive(method, u, header)
		if !ok {
			return
		}
		m, ok := rule.Rules{{Paths: []rule.Pattern{p}, Namespace: namespace}}.Match(q)
		if !ok {
			return
		}
		decoded, err := url.PathUnescape(strings.TrimSuffix(u.EscapedPath(), "/"))
		full := strings.Trim(m.Request.Namespace+"/"+m.Request.Path, "/")
		switch {
		case full != strings.Trim(q.Namespace+"/"+q.Path, "/"):
			t.Errorf("%+v became %+v", q, m.Request)
		case namespace == "" && m.Request != q:
			t.Errorf("%+v became %+v under a rule for any namespace", q, m.Request)
		case namespace != "" && m.Request.Namespace != rule.Namespace(namespace):
			t.Errorf("%+v is in %q, the rule in %q", q, m.Request.Namespace, namespace)
		case namespace == "" && err == nil && !strings.Contains(decoded, "//") && !strings.Contains(decoded, "/.") &&
			"/v1/"+strings.TrimSuffix(q.Path, "/") != strings.TrimSuffix(decoded, "/"):
			t.Errorf("%q was sent, %q matched", decoded, q.Path)
		case !p.Match(m.Request.Path) && !p.Match(strings.TrimSuffix(m.Request.Path, "/")):
			t.Errorf("%q does not match %q", p, m.Request.Path)
		}
	})
}

func TestOperationsAreWords(t *testing.T) {
	t.Parallel()
	if d := cmp.Diff([]rule.Operation{"create", "read", "update", "patch", "delete", "list", "scan"}, rule.Operations()); d != "" {
		t.Error(d)
	}
}

func TestIsLogin(t *testing.T) {
	t.Parallel()
	ldap := []string{"auth/ldap", "auth/eu/okta"}
	type test struct {
		path      string
		operation rule.Operation
		mounts    []string
		want      bool
	}
	each(t, map[string]test{
		"a name":                  {"auth/userpass/login/alice", rule.Update, nil, true},
		"no name":                 {"auth/approle/login", rule.Update, nil, true},
		"in a namespace":          {"ns1/ns2/auth/userpass/login/alice", rule.Update, nil, true},
		"a secret id":             {"auth/approle/role/login/secret-id", rule.Update, nil, false},
		"a user called login":     {"auth/userpass/users/login", rule.Update, nil, false},
		"something below":         {"auth/userpass/login/alice/x", rule.Update, nil, false},
		"a read":                  {"auth/userpass/login/alice", rule.Read, nil, false},
		"an end":                  {"auth/userpass/login/", rule.Update, nil, false},
		"no mount":                {"auth/login/alice", rule.Update, nil, false},
		"an empty mount":          {"auth//login/alice", rule.Update, nil, false},
		"a secret":                {"kv/data/userpass/login", rule.Update, nil, false},
		"a callback":              {"auth/oidc/oidc/callback", rule.Update, nil, false},
		"one of the mounts":       {"auth/ldap/login/alice", rule.Update, ldap, true},
		"of several segments":     {"auth/eu/okta/login/alice", rule.Update, ldap, true},
		"the same in a namespace": {"ns1/auth/eu/okta/login/alice", rule.Update, ldap, true},
		"another mount":           {"auth/userpass/login/alice", rule.Update, ldap, false},
		"a longer mount":          {"auth/ldap2/login/alice", rule.Update, ldap, false},
		"the mount only":          {"auth/ldap", rule.Update, ldap, false},
	}, func(t *testing.T, tt test) {
		if got := rule.IsLogin(rule.Request{Path: tt.path, Operation: tt.operation}, tt.mounts); got != tt.want {
			t.Errorf("IsLogin(%s) = %v", tt.path, got)
		}
	})
}

// The law: what is a login anywhere is one at the mount that its path names, and at
// no other.
func FuzzIsLogin(f *testing.F) {
	f.Add("auth/userpass/login/alice")
	f.Add("ns1/auth/approle/login")
	f.Add("auth/a/login/login")
	f.Fuzz(func(t *testing.T, path string) {
		r := rule.Request{Path: path, Operation: rule.Update}
		anywhere := rule.IsLogin(r, nil)
		if rule.IsLogin(r, []string{"auth/\x00"}) && !strings.Contains(path, "\x00") {
			t.Error("a login at a mount that is not in the path")
		}
		if !anywhere {
			return
		}
		_, rest, _ := strings.Cut("/"+path, "/auth/")
		mount, _, ok := strings.Cut(rest, "/login")
		if !ok || strings.Contains(mount, "/") || !rule.IsLogin(r, []string{"auth/" + mount}) {
			t.Errorf("%q is a login, but not at %q", path, mount)
		}
	})
}
