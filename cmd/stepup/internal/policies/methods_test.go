package policies

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/rule"
)

func TestUnknownMethods(t *testing.T) {
	t.Parallel()
	const (
		noMethod = "the server has no method of that name"
		noPolicy = "no policy of the server names it"
		unread   = "no policy that your token may read names it"
	)
	policies := map[string]any{
		"LIST sys/policies/acl":     keys("p"),
		"GET sys/policies/acl/p":    map[string]any{"policy": `path "a" { capabilities = ["read"] mfa_methods = ["named"] }`},
		"LIST sys/policies/egp":     keys("e"),
		"GET sys/policies/egp/e":    map[string]any{"policy": "main = rule { mfa.methods.guards.valid }", "paths": []string{"*"}},
		"LIST sys/namespaces":       keys("ns1/"),
		"LIST ns1|sys/policies/acl": keys(),
	}
	lists := map[string]any{
		"LIST sys/mfa/method":      keys("stepup"),
		"LIST identity/mfa/method": map[string]any{"keys": []string{"4711-id"}, "key_info": map[string]any{"4711-id": map[string]any{"name": "people"}}},
	}
	both := make(map[string]any)
	for _, one := range []map[string]any{policies, lists} {
		for key, value := range one {
			both[key] = value
		}
	}
	var (
		noLists    = []string{"LIST sys/mfa/method", "LIST identity/mfa/method", "LIST ns1|identity/mfa/method"}
		noPolicies = []string{"LIST sys/policies/acl"}
		all        = methodNames{policy: []string{"named", "guards", "stepup", "typo"}, login: []string{"people", "4711-id", "mistake"}}
	)
	for name, tt := range map[string]struct {
		data      map[string]any
		forbidden []string
		in        methodNames
		want      map[string]string
		untold    bool
	}{
		"both":                       {both, nil, all, map[string]string{"typo": noMethod, "mistake": noMethod}, false},
		"known from the lists alone": {lists, noPolicies, methodNames{[]string{"stepup"}, []string{"people"}}, nil, false},
		"lists alone":                {lists, noPolicies, methodNames{[]string{"stepup", "typo"}, []string{"people"}}, map[string]string{"typo": noMethod}, false},
		// A name of a login may be that of a method, which no policy names.
		"policies alone":   {policies, noLists, all, map[string]string{"stepup": noPolicy, "typo": noPolicy}, false},
		"a part of them":   {policies, append(noLists, "LIST sys/namespaces"), methodNames{policy: []string{"typo"}}, map[string]string{"typo": unread}, false},
		"nothing":          {nil, append(noLists, noPolicies...), all, nil, true},
		"no method at all": {both, nil, methodNames{}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := methodNames{append([]string(nil), tt.in.policy...), append([]string(nil), tt.in.login...)}
			got, err := newServer(t, tt.data, tt.forbidden...).unknown(t.Context(), "", n)
			if (err != nil) != tt.untold {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// With several servers, a name that is not bound to one may be on the other.
func TestNamesFor(t *testing.T) {
	t.Parallel()
	grant := func(kind rule.GrantKind) rule.Grant { return rule.Grant{Kind: kind} }
	c := &agent.Config{
		Vaults:  []agent.Vault{{Name: "a"}},
		Methods: []agent.Method{{Name: "m"}, {Name: "l"}, {Name: "other"}},
		Rules: []rule.Rule{
			{Methods: []string{"m"}, Grant: grant(rule.HeaderGrant)},
			{Vault: "a", Methods: []string{"l"}, Grant: grant(rule.LoginGrant)},
		},
	}
	for vaults, want := range map[int]methodNames{1: {policy: []string{"m"}, login: []string{"l", "other"}}, 2: {login: []string{"l"}}} {
		c.Vaults = append(c.Vaults, agent.Vault{Name: "b"})[:vaults]
		if diff := cmp.Diff(want, namesFor(c, "a"), cmp.AllowUnexported(methodNames{})); diff != "" {
			t.Error(diff)
		}
	}
}
