package rule_test

import (
	"slices"
	"testing"

	"github.com/vault-stepup/stepup/agent/rule"
)

func TestWants(t *testing.T) {
	t.Parallel()
	plain := rule.Rule{Methods: []string{"totp"}}
	mapped := rule.Rule{Methods: []string{"totp"}, Sentinel: []rule.Policy{
		{Name: "root/pay", Methods: []string{"duo", "totp"}}, {Name: "hr", Methods: []string{"okta", "duo"}},
	}}
	tests := map[string]struct {
		rule   rule.Rule
		denied []string
		want   []string
	}{
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
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tt.rule.Wants(tt.denied); !slices.Equal(got, tt.want) {
				t.Errorf("Wants = %q, want %q", got, tt.want)
			}
		})
	}
	if got := mapped.Groups(); len(got) != 3 || !slices.Equal(rule.Join(got...), []string{"totp", "duo", "okta"}) {
		t.Errorf("Groups = %q", got)
	}
	if got := (&rule.Rule{Sentinel: mapped.Sentinel}).Groups(); len(got) != 2 {
		t.Errorf("Groups without methods = %q", got)
	}
}
