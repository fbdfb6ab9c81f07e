package agent

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache"
)

func tokenRule(change func(r *rule.Rule)) Config {
	r := rule.Rule{Name: "deploy", Methods: []string{"corp"}, Grant: rule.Grant{
		Kind: rule.TokenGrant, Path: "auth/token/create/x", Policies: []string{"deploy"}, TTL: time.Hour, Password: "prompt",
	}}
	change(&r)
	return Config{Rules: rule.Rules{r}}
}

// A token is served under the terms that it was made under, and forgotten under
// others.
func TestTokensUnderAChangedRule(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		age    time.Duration
		change func(r *rule.Rule)
		serves bool
	}{
		{"the same", 0, func(*rule.Rule) {}, true},
		{"other paths", 0, func(r *rule.Rule) { r.Namespace, r.Capabilities = "team", []rule.Operation{rule.Read} }, true},
		{"asked otherwise", 0, func(r *rule.Rule) { r.Silent, r.Grant.Eager, r.Grant.RevokeOnStop = true, true, true }, true},
		{"the password from elsewhere", 0, func(r *rule.Rule) { r.Grant.Password = "keyring" }, true},
		{"other policies", 0, func(r *rule.Rule) { r.Grant.Policies = []string{"less"} }, false},
		{"two policies that look like one", 0, func(r *rule.Rule) { r.Grant.Policies = []string{"dep", "loy"} }, false},
		{"another path", 0, func(r *rule.Rule) { r.Grant.Path = "auth/token/create/y" }, false},
		{"another grant", 0, func(r *rule.Rule) { r.Grant.Kind = rule.LoginGrant }, false},
		{"fewer uses", 0, func(r *rule.Rule) { r.Grant.NumUses = 1 }, false},
		{"no parent", 0, func(r *rule.Rule) { r.Grant.NoParent = true }, false},
		{"one more factor", 0, func(r *rule.Rule) { r.Methods = append(r.Methods, "second") }, false},
		{"another rule", 0, func(r *rule.Rule) { r.Name = "other" }, false},
		{"within max_ttl of the cache", 14 * time.Minute, func(*rule.Rule) {}, true},
		{"older than max_ttl of the cache", 16 * time.Minute, func(*rule.Rule) {}, false},
		{"older than max_ttl of the rule", 2 * time.Minute, func(r *rule.Rule) { r.Grant.MaxTTL = time.Minute }, false},
		{"older than its ttl", 2 * time.Minute, func(r *rule.Rule) { r.Grant.TTL = time.Minute }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			store := cache.NewLayered(&cache.Memory{}, &cache.Memory{})
			k := cache.Key{Vault: "corp", Identity: "caller", Rule: "deploy"}
			now := time.Now().Round(0)
			put := cache.Token{Secret: "hvs.x", Created: now.Add(-tt.age), Expires: now.Add(time.Hour)}
			if err := (policyCheckedStore{store, tokenPolicies(tokenRule(func(*rule.Rule) {}))}).Put(t.Context(), k, put); err != nil {
				t.Fatal(err)
			}
			later := policyCheckedStore{store, tokenPolicies(tokenRule(tt.change))}
			_, got := later.Get(t.Context(), k)
			_, taken := later.Take(t.Context(), k)
			if (got == nil) != tt.serves || (taken == nil) != tt.serves {
				t.Errorf("get %v, take %v; serves: want %v", got, taken, tt.serves)
			}
			if !tt.serves && (!errors.Is(got, cache.ErrNotFound) || store.Held()["deploy"] != 0) {
				t.Errorf("get %v, %d are kept", got, store.Held()["deploy"])
			}
		})
	}
}

// A token that the person wants until a lock serves longer than the ttl of its rule, and not
// longer than what limits the choice: the ceiling of the rule, of the cache, or a ttl that is
// locked by now.
func TestTokensUntilALock(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		age    time.Duration
		change func(r *rule.Rule)
		serves bool
	}{
		"longer than the ttl":         {10 * time.Minute, func(*rule.Rule) {}, true},
		"longer than the cache's":     {16 * time.Minute, func(*rule.Rule) {}, false},
		"longer than the max_ttl":     {10 * time.Minute, func(r *rule.Rule) { r.Grant.MaxTTL = 9 * time.Minute }, false},
		"longer than a locked ttl":    {10 * time.Minute, func(r *rule.Rule) { r.Grant.FixedTTL = true }, false},
		"no longer than a locked ttl": {4 * time.Minute, func(r *rule.Rule) { r.Grant.FixedTTL = true }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			back := &cache.Memory{}
			front := cache.NewLayered(&cache.Memory{}, back)
			short := func(r *rule.Rule) { r.Grant.TTL = 5 * time.Minute; tt.change(r) }
			store := policyCheckedStore{front, tokenPolicies(tokenRule(short))}
			k, now := cache.Key{Vault: "corp", Identity: "caller", Rule: "deploy"}, time.Now().Round(0)
			if err := store.Put(t.Context(), k, cache.Token{Secret: "hvs.x", Created: now.Add(-tt.age), Expires: now.Add(time.Hour), Keep: "lock"}); err != nil {
				t.Fatal(err)
			}
			if kept, _ := back.List(t.Context()); len(kept) > 0 {
				t.Error("it outlives the agent")
			}
			if _, err := store.Get(t.Context(), k); (err == nil) != tt.serves {
				t.Errorf("get: %v; serves: want %t", err, tt.serves)
			}
		})
	}
}

// A new field of a grant needs a decision: do tokens from before still fit? The scope is in
// their key.
func TestFingerprintKnowsEveryField(t *testing.T) {
	t.Parallel()
	if n := reflect.TypeFor[rule.Grant]().NumField(); n != 13 {
		t.Errorf("a grant has %d fields: does fingerprint need the new ones?", n)
	}
}
