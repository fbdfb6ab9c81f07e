package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/rule"
)

// vaultPicks is Vault's choice among the paths of a policy, written down from its sources
// (vault/acl.go: AllowOperation and CheckAllowedFromNonExactPaths), where it is a radix tree
// and a sorted list. -1 means that none is meant.
func vaultPicks(patterns []string, path string) int {
	type candidate struct {
		index, first, wildcards int
		prefix                  bool
		path                    string
	}
	var all []candidate
	for i, p := range patterns {
		segmented := p == "+" || strings.Contains(p, "/+") || strings.HasPrefix(p, "+/")
		start, glob := strings.CutSuffix(p, "*")
		switch {
		case !segmented && !glob && p == path:
			return i
		case !segmented && glob && strings.HasPrefix(path, start):
			all = append(all, candidate{i, len(start), 0, true, start})
		case segmented:
			want, have := strings.Split(start, "/"), strings.Split(path, "/")
			if len(want) > len(have) || !glob && len(want) != len(have) {
				continue
			}
			c := candidate{index: i, first: strings.Index(p, "+"), prefix: glob, path: p}
			matches := true
			for n, segment := range want {
				switch {
				case segment == "+":
					c.wildcards++
				case segment == have[n], glob && n == len(want)-1 && strings.HasPrefix(have[n], segment):
				default:
					matches = false
				}
			}
			if matches {
				all = append(all, c)
			}
		}
	}
	if len(all) == 0 {
		return -1
	}
	last := slices.MaxFunc(all, func(a, b candidate) int {
		prefix := func(c candidate) int {
			if c.prefix {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(prefix(a), prefix(b)), cmp.Compare(b.wildcards, a.wildcards),
			cmp.Compare(len(a.path), len(b.path)), cmp.Compare(a.path, b.path))
	})
	return last.index
}

// The law: the first suggested rule that matches a request is that of the path which Vault
// picks for it, and no rule matches where Vault picks none. What is written loads.
func FuzzPriority(f *testing.F) {
	f.Add("a/*\na/+/c\na/b/*\na/b/c", "a/b/c")
	f.Add("+/b\na*\n+\n+/+\na/+/*\n*", "ab/b")
	f.Add("a/b*\na/+/b*\na/+/+/b\n+/a/b*", "a/a/b/b")
	f.Add("a+/b\na/+b\n+a", "a/+b")
	f.Fuzz(func(t *testing.T, lines, path string) {
		var patterns []string
		var text strings.Builder
		for p := range strings.SplitSeq(lines, "\n") {
			if slices.Contains(patterns, p) || len(patterns) == 10 || !drawn(p) || strings.Contains(p, "+*") || strings.Contains(strings.TrimSuffix(p, "*"), "*") {
				continue
			}
			fmt.Fprintf(&text, "path %q { capabilities = [\"read\"] mfa_methods = [\"m%d\"] }\n", p, len(patterns))
			patterns = append(patterns, p)
		}
		if !drawn(path) || strings.HasSuffix(path, "/") {
			return
		}
		entries, notes := build(source{namespaces: []string{""}, acl: []policyText{policy("p", text.String())}})
		if len(notes) > 0 {
			t.Fatal(notes)
		}
		loads(t, entries)
		got := -1
		for _, b := range blocks(entries) {
			if slices.ContainsFunc(b.paths, func(p string) bool { return matches(t, p, path) }) {
				_, _ = fmt.Sscanf(b.methods[0], "m%d", &got)
				break
			}
		}
		if want := vaultPicks(patterns, path); got != want {
			t.Errorf("%q: the first rule is for %d, Vault picks %d of %q", path, got, want, patterns)
		}
	})
}

// drawn reports whether a path is made of what the law is about.
func drawn(path string) bool {
	return path != "" && len(path) < 40 && !strings.HasPrefix(path, "/") && !strings.Contains(path, "//") &&
		strings.IndexFunc(path, func(r rune) bool { return !strings.ContainsRune("ab+*/", r) }) < 0
}

func matches(t *testing.T, text, path string) bool {
	t.Helper()
	p, err := rule.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p.Match(path)
}
