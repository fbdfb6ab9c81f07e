package gate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl"
)

// acl maps the path of a policy, as written, to its mfa_methods. Paths without
// methods are kept: a more specific path without a method frees what it covers.
type acl map[string][]string

// add merges one policy. Several policies that name the same path add up
// (vault/acl.go, NewACL). Templated policies are not resolved.
func (a acl) add(text string) error {
	var policy struct {
		Path map[string]struct {
			MFA []string `hcl:"mfa_methods"`
		} `hcl:"path"`
	}
	if err := hcl.Decode(&policy, text); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	for p, block := range policy.Path {
		p = strings.TrimLeft(p, "/")
		a[p] = append(a[p], block.MFA...)
	}
	for p := range a {
		slices.Sort(a[p])
		a[p] = slices.Compact(a[p])
	}
	return nil
}

// methods finds the one path that Vault would choose: an exact one, or the most
// specific of the others (vault/acl.go, AllowOperation).
func (a acl) methods(p string, list bool) []string {
	if m, ok := a[p]; ok && !wild(p) {
		return m
	}
	bare := strings.TrimSuffix(p, "/")
	if list {
		if m, ok := a[bare]; ok && !wild(bare) {
			return m
		}
		if best, ok := a.best(bare); ok {
			return a[best]
		}
	}
	best, _ := a.best(p)
	return a[best]
}

func (a acl) best(p string) (string, bool) {
	var found []string
	for pattern := range a {
		if wild(pattern) && match(pattern, p) {
			found = append(found, pattern)
		}
	}
	if len(found) == 0 {
		return "", false
	}
	return slices.MaxFunc(found, compare), true
}

func wild(pattern string) bool {
	return strings.HasSuffix(pattern, "*") || segments(pattern) > 0
}

// segments counts the segments that are "+".
func segments(pattern string) int {
	n := 0
	for s := range strings.SplitSeq(strings.TrimSuffix(pattern, "*"), "/") {
		if s == "+" {
			n++
		}
	}
	return n
}

func match(pattern, p string) bool {
	body, prefix := strings.CutSuffix(pattern, "*")
	want, have := strings.Split(body, "/"), strings.Split(p, "/")
	if segments(pattern) == 0 {
		return (prefix && strings.HasPrefix(p, body)) || p == body
	}
	if len(have) < len(want) || (!prefix && len(have) != len(want)) {
		return false
	}
	for i, w := range want {
		last := prefix && i == len(want)-1
		if w != "+" && w != have[i] && (!last || !strings.HasPrefix(have[i], w)) {
			return false
		}
	}
	return true
}

// compare is positive when Vault prefers a: a later first wildcard, no "*" at
// the end, fewer "+", more text.
func compare(a, b string) int {
	rank := func(s string) [4]int {
		body, prefix := strings.CutSuffix(s, "*")
		first := len(body)
		if i := strings.Index(s, "+"); segments(s) > 0 && i >= 0 {
			first = i
		}
		exact := 1
		if prefix {
			exact = 0
		}
		return [4]int{first, exact, -segments(s), len(body)}
	}
	ra, rb := rank(a), rank(b)
	if c := slices.Compare(ra[:], rb[:]); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}
