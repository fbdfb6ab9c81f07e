package devvault

import (
	"slices"
	"strings"
)

// A PathRule is one path of a policy.
type PathRule struct {
	Path         string   // Vault's syntax: exact, a prefix that ends in "*", "+" for one segment
	Capabilities []string // create, read, update, patch, delete, list, scan, sudo; deny wins over all
	ControlGroup *ControlGroup
	MFAMethods   []string // names of methods in the root namespace; every one must validate
}

// defaultPolicy is the part of the policy "default" that this server has paths for. That of
// OpenBao answers no question about the approval of a request.
func (f Flavor) defaultPolicy() []PathRule {
	update := []string{"update"}
	all := []PathRule{
		{Path: "auth/token/lookup-self", Capabilities: []string{"read"}},
		{Path: "auth/token/renew-self", Capabilities: update},
		{Path: "auth/token/revoke-self", Capabilities: update},
		{Path: "sys/capabilities-self", Capabilities: update},
		{Path: "cubbyhole/*", Capabilities: []string{"create", "read", "update", "delete", "list"}},
		{Path: "sys/wrapping/wrap", Capabilities: update},
		{Path: "sys/wrapping/lookup", Capabilities: update},
		{Path: "sys/wrapping/unwrap", Capabilities: update},
	}
	if f != OpenBao {
		all = append(all, PathRule{Path: "sys/control-group/request", Capabilities: update})
	}
	return all
}

// An acl is what the policies of one token come to.
type acl struct {
	root  bool
	rules map[string]*grant // by path as written, from the root namespace
}

// A grant is what policies say about one path.
type grant struct {
	capabilities map[string]bool
	methods      []string // of MFA, in the order they were named
	group        *ControlGroup
}

func (g *grant) allows(op operation) bool {
	return op != opNone && !g.capabilities["deny"] && g.capabilities[string(op)]
}

// words is the answer of capabilities-self: never the MFA methods, because Vault
// returns before it looks at them (vault/acl.go, AllowOperation).
func (g *grant) words() []string {
	if g == nil || len(g.capabilities) == 0 || g.capabilities["deny"] {
		return []string{"deny"}
	}
	var out []string
	for c := range g.capabilities {
		out = append(out, c)
	}
	slices.Sort(out)
	return out
}

// aclLocked joins the policies of a token: the same path twice is the union of both,
// MFA methods included. They hold below the token's own namespace.
func (s *Server) aclLocked(t *token) *acl {
	a := &acl{rules: make(map[string]*grant)}
	for _, name := range t.policies {
		if name == "root" {
			a.root = true
		}
		for _, rule := range t.ns.policies[name] {
			a.add(t.ns.path, rule)
		}
		if name == "response-wrapping" {
			a.add(t.ns.path, PathRule{Path: "cubbyhole/response", Capabilities: []string{"create", "read"}})
		}
	}
	return a
}

func (a *acl) add(prefix string, rule PathRule) {
	path := prefix + strings.TrimLeft(rule.Path, "/")
	g := a.rules[path]
	if g == nil {
		g = &grant{capabilities: make(map[string]bool)}
		a.rules[path] = g
	}
	for _, c := range rule.Capabilities {
		g.capabilities[c] = true
	}
	if rule.ControlGroup != nil {
		g.group = rule.ControlGroup
	}
	for _, m := range rule.MFAMethods {
		if !slices.Contains(g.methods, m) {
			g.methods = append(g.methods, m)
		}
	}
}

// lookup finds the one rule that counts for a path: an exact one, else the most
// specific pattern. A list may be granted without its slash.
func (a *acl) lookup(path string, list bool) *grant {
	path = strings.TrimLeft(path, "/")
	trimmed := strings.TrimSuffix(path, "/")
	if g, ok := a.rules[path]; ok {
		return g
	}
	if list {
		if g, ok := a.rules[trimmed]; ok {
			return g
		}
		if g := a.pattern(trimmed); g != nil {
			return g
		}
	}
	return a.pattern(path)
}

func (a *acl) pattern(path string) *grant {
	best := ""
	for p := range a.rules {
		if isPattern(p) && matchPath(p, path) && (best == "" || lessSpecific(best, p)) {
			best = p
		}
	}
	return a.rules[best]
}

// reaches reports whether any rule grants something at or below a mount, which
// is when Vault lets a client see it (vault/logical_system.go, hasMountAccess).
func (a *acl) reaches(mount string) bool {
	if a.root {
		return true
	}
	if !slices.Contains(a.lookup(mount, true).words(), "deny") {
		return true
	}
	for p, g := range a.rules {
		if g.capabilities["deny"] || len(g.capabilities) == 0 {
			continue
		}
		if strings.HasPrefix(p, mount) {
			return true
		}
		// A "+" may stand for a segment of the mount itself.
		if segments := strings.Count(mount, "/"); strings.Contains(p, "+") && strings.Count(p, "/") >= segments {
			head := strings.Join(strings.SplitAfterN(p, "/", segments+1)[:segments], "")
			if matchPath(head, mount) {
				return true
			}
		}
	}
	return false
}

func isPattern(p string) bool {
	return strings.HasSuffix(p, "*") || slices.Contains(strings.Split(p, "/"), "+")
}

// matchPath reports whether a path is meant by a path of a policy.
func matchPath(pattern, path string) bool {
	body, prefix := strings.CutSuffix(pattern, "*")
	want, have := strings.Split(body, "/"), strings.Split(path, "/")
	if len(have) < len(want) || (!prefix && len(have) != len(want)) {
		return false
	}
	for i, segment := range want {
		switch {
		case segment == "+": // any one, the empty one too
		case prefix && i == len(want)-1:
			if !strings.HasPrefix(have[i], segment) {
				return false
			}
		case segment != have[i]:
			return false
		}
	}
	return true
}

// lessSpecific reports whether pattern a counts less than b, by the five rules of
// Vault's documentation on policies, first difference first.
func lessSpecific(a, b string) bool {
	if x, y := firstWildcard(a), firstWildcard(b); x != y {
		return x < y
	}
	if x, y := strings.HasSuffix(a, "*"), strings.HasSuffix(b, "*"); x != y {
		return x
	}
	if x, y := plusses(a), plusses(b); x != y {
		return x > y
	}
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

func firstWildcard(p string) int {
	at := 0
	for _, segment := range strings.Split(p, "/") {
		if segment == "+" {
			return at
		}
		at += len(segment) + 1
	}
	if strings.HasSuffix(p, "*") {
		return len(p) - 1
	}
	return len(p)
}

func plusses(p string) int {
	n := 0
	for _, segment := range strings.Split(p, "/") {
		if segment == "+" {
			n++
		}
	}
	return n
}
