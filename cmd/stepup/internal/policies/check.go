package policies

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/rule"
)

// unread are the policies that cannot be read: a comparison without them would pass for
// a whole one.
func unread(acl []policyText) (lines []string) {
	for _, p := range acl {
		if _, err := parsePolicy(p.namespace, p.name, p.text); err != nil {
			lines = append(lines, fmt.Sprintf("unknown: policy %s cannot be read", p.name))
		}
	}
	return lines
}

// missing are the entries that no rule covers, and those whose rule lacks a method.
func missing(rules rule.Rules, entries entries) (lines []string) {
	for i, e := range entries {
		if e.hidden || !e.wants() || e.free {
			continue
		}
		var uncovered []string
		lacks := make(map[string][]string) // methods, by rule
		for _, op := range e.operations {
			if !slices.Contains(e.wanted(), op) {
				continue // a control group for the others
			}
			q := e.request(op)
			found, ok := rules.Match(q)
			if !ok {
				uncovered = append(uncovered, string(op))
				continue
			}
			if found.Rule.Grant.Mints() || found.Rule.Silent || entries[:i].take(q) {
				continue // another way, none by intention, or what a rule of another entry is for
			}
			named := slices.Concat(found.Rule.Groups()...)
			for _, b := range e.blocks() {
				for _, m := range b.all() {
					if !slices.Contains(named, m) && slices.Contains(b.operations, op) {
						lacks[found.Rule.Name] = rule.Join(lacks[found.Rule.Name], []string{m})
					}
				}
			}
		}
		if len(uncovered) > 0 {
			lines = append(lines, fmt.Sprintf("missing: no rule for %s (%s) of policy %s", e.where(), strings.Join(uncovered, ", "), strings.Join(e.policies, ", ")))
		}
		for name, methods := range lacks {
			lines = append(lines, fmt.Sprintf("missing: rule %q does not name %s, which policy %s wants on %s", name, strings.Join(methods, ", "), strings.Join(e.policies, ", "), e.where()))
		}
	}
	slices.Sort(lines)
	return lines
}

// tooWide are the paths of header grants and control groups on which no policy wants
// anything. The other grants guard a path of their own.
func tooWide(rules rule.Rules, entries []*entry) (lines []string) {
	for _, r := range rules {
		if r.Grant.Mints() || r.Silent {
			continue
		}
		for _, p := range r.Paths {
			path := sample(p.String())
			wanted := slices.ContainsFunc(entries, func(e *entry) bool {
				return e.wants() && (r.Namespace == "" || rule.Namespace(r.Namespace) == e.namespace) && e.pattern.Match(path)
			})
			if wanted {
				lines = append(lines, tooMany(&r, p.String(), entries)...)
			} else {
				lines = append(lines, fmt.Sprintf("too wide: rule %q has the path %s, where no policy wants a factor or an approval", r.Name, p))
			}
		}
	}
	return lines
}

// tooMany are the methods that a rule names for a path, and no policy wants for anything there.
func tooMany(r *rule.Rule, path string, entries []*entry) (lines []string) {
	var wanted []string
	for _, e := range entries {
		if (r.Namespace == "" || rule.Namespace(r.Namespace) == e.namespace) && overlap(e.text, path) {
			for _, b := range e.blocks() {
				wanted = rule.Join(wanted, b.all())
			}
		}
	}
	for _, m := range rule.Join(r.Groups()...) {
		if !slices.Contains(wanted, m) {
			lines = append(lines, fmt.Sprintf("too wide: rule %q asks for %s, which no policy wants on %s", r.Name, m, path))
		}
	}
	return lines
}

// wrongTypes are the declared methods that have another type on the server.
func wrongTypes(declared []agent.Method, known map[string]method) (lines []string) {
	for _, m := range declared {
		if is, ok := known[m.Name]; ok && is.kind != m.Type {
			lines = append(lines, fmt.Sprintf("wrong: mfa_method %q is of type %s on the server, not %s", m.Name, is.kind, m.Type))
		}
	}
	return lines
}
