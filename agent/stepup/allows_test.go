package stepup_test

import (
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
)

// The question says what a yes allows: what else, for how long, and to whom.
func TestAllows(t *testing.T) {
	patterns := func(texts ...string) (all []rule.Pattern) {
		for _, text := range texts {
			p, err := rule.ParsePattern(text)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
		return all
	}
	const caller = "from every program with your Vault token"
	for name, tt := range map[string]struct {
		change  func(*rule.Rule)
		session string
		want    string
	}{
		"the ttl":         {func(*rule.Rule) {}, "", "this, and all of kv/data/deploy/*, for up to 5 min, " + caller},
		"the max_ttl":     {func(r *rule.Rule) { r.Grant.MaxTTL = 90 * time.Second }, "", "this, and all of kv/data/deploy/*, for up to 90 s, " + caller},
		"of the cache":    {func(r *rule.Rule) { r.Grant.TTL = 0 }, "", "this, and all of kv/data/deploy/*, for up to 15 min, " + caller},
		"uses":            {func(r *rule.Rule) { r.Grant.NumUses = 3 }, "", "this, and all of kv/data/deploy/*, 3 times within 5 min, " + caller},
		"this path alone": {func(r *rule.Rule) { r.Paths = patterns("kv/data/deploy/x") }, "", "the same again for up to 5 min, " + caller},
		"many paths": {func(r *rule.Rule) { r.Paths = patterns("a/*", "kv/data/deploy/x", "b/+", "c", "d", "e") }, "",
			"this, and all of a/*, b/+, c and 2 more, for up to 5 min, " + caller},
		"capabilities": {func(r *rule.Rule) { r.Capabilities = []rule.Operation{rule.Read, rule.List} }, "",
			"this, and read, list on kv/data/deploy/*, for up to 5 min, " + caller},
		"a terminal": {func(r *rule.Rule) { r.Grant.Scope = rule.TerminalScope }, "pts/1", "this, and all of kv/data/deploy/*, for up to 5 min, from terminal pts/1"},
		"a yes to each": {func(r *rule.Rule) { r.Confirm = true }, "",
			"this, and all of kv/data/deploy/*, for up to 5 min, " + caller + ", after a yes to each further request"},
		"unknown": {func(r *rule.Rule) { r.Grant.Scope = rule.TerminalScope }, "", "this request alone: where it comes from cannot be told"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fixture) {
				m := deploy()
				m.Rule.Paths = patterns("kv/data/deploy/*")
				tt.change(m.Rule)
				f.person.codes("111111")
				f.vault.mint, f.up.right = mints("totp:111111", "new"), "token new"
				f.request(from(t, tt.session, ""), m).check(t, want{outcome: mfa.Approved})
				equal(t, "allows", tt.want, f.person.asked[0].Allows)
			})
		})
	}
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("no", "no")
		m := deploy()
		m.Rule.Paths = patterns("kv/data/deploy/*", "b")
		f.resolver.Obtain(t.Context(), m.Rule, "", "tok")
		equal(t, "ahead", "all of kv/data/deploy/*, b for up to 5 min, "+caller, f.person.asked[0].Allows)
		m.Rule.Confirm = true
		f.resolver.Obtain(t.Context(), m.Rule, "", "another")
		equal(t, "ahead of yeses", "all of kv/data/deploy/*, b for up to 5 min, "+caller+", after a yes to each request", f.person.asked[1].Allows)
	})
}
