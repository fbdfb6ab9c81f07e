package rule_test

import (
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/rule"
)

func TestIsLogin(t *testing.T) {
	t.Parallel()
	ldap := []string{"auth/ldap", "auth/eu/okta"}
	for name, tt := range map[string]struct {
		path      string
		operation rule.Operation
		mounts    []string
		want      bool
	}{
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
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := rule.IsLogin(rule.Request{Path: tt.path, Operation: tt.operation}, tt.mounts); got != tt.want {
				t.Errorf("IsLogin(%s) = %v", tt.path, got)
			}
		})
	}
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
