package rule_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vault-stepup/stepup/agent/rule"
)

// A set finds what the rules find one after the other.
func FuzzSet(f *testing.F) {
	f.Add("kv/data/prod/*\nkv/+/x@ns1\nkv/*@ns1/ns2\nsys/a@root", "", "ns1/kv/data/x", uint8(0))
	f.Add("kv/data/+/db\nkv/data/a*\nkv/data/a/db", "", "kv/data/a/db", uint8(3))
	f.Add("kv/metadata/a\nkv/metadata/*", "ns1", "kv/metadata/a/", uint8(5))
	f.Add("kv/data/x/*\nkv/data/y@ns1", "", "ns1/sys/internal/ui/mounts/kv/y", uint8(1))
	f.Add("+\n+/+\n*", "", "+/", uint8(5))
	f.Fuzz(func(t *testing.T, text, namespace, path string, kind uint8) {
		var rules rule.Rules
		for i, line := range strings.Split(text, "\n") {
			pattern, in, _ := strings.Cut(line, "@")
			p, err := rule.ParsePattern(pattern)
			if err != nil || in != "" && !rule.CanBeNamespace(in) {
				continue
			}
			r := rule.Rule{Name: fmt.Sprint(i), Paths: []rule.Pattern{p}, Namespace: in, Grant: rule.Grant{Kind: rule.TokenGrant}}
			if ops := rule.Operations(); i%3 == 1 {
				r.Capabilities = ops[i%len(ops):]
			}
			rules = append(rules, r)
		}
		ops := rule.Operations()
		q := rule.Request{
			Namespace: namespace, Path: path, Operation: ops[int(kind)%len(ops)],
			ByQuery: kind&32 != 0, Slashed: kind&64 != 0,
		}
		set := rule.NewSet(rules)
		same := func(what string, by, want func(rule.Request) (rule.Match, bool)) {
			t.Helper()
			wantMatch, wantOK := want(q)
			got, ok := by(q)
			if d := cmp.Diff(wantMatch, got, cmpopts.EquateComparable(rule.Pattern{})); d != "" || ok != wantOK {
				t.Errorf("%s of %+v: %v, want %v: %s", what, q, ok, wantOK, d)
			}
		}
		same("Match", set.Match, rules.Match)
		same("MatchPreflight", set.MatchPreflight, rules.MatchPreflight)
	})
}

// BenchmarkMatch compares how long no rule is found among few and among many rules.
func BenchmarkMatch(b *testing.B) {
	q := rule.Request{Path: "kv/data/app/web/config", Operation: rule.Read}
	for _, n := range []int{0, 10, 1000} {
		var rules rule.Rules
		for i := range n {
			p, err := rule.ParsePattern(fmt.Sprintf("kv/data/team-%d/*", i))
			if err != nil {
				b.Fatal(err)
			}
			rules = append(rules, rule.Rule{Name: fmt.Sprint(i), Paths: []rule.Pattern{p}})
		}
		set := rule.NewSet(rules)
		for name, match := range map[string]func(rule.Request) (rule.Match, bool){"set": set.Match, "one by one": rules.Match} {
			b.Run(fmt.Sprintf("%d rules/%s", n, name), func(b *testing.B) {
				for b.Loop() {
					if _, ok := match(q); ok {
						b.Fatal("a rule was found")
					}
				}
			})
		}
	}
}
