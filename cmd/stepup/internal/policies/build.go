package policies

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/agent/rule"
)

// A source is everything that rules are made of.
type source struct {
	namespaces []string // all that are known; "" is root
	named      bool     // the server has namespaces, so that rules name theirs
	acl        []policyText
	sentinel   []sentinelPolicy
	methods    map[string]method // by name, as far as the server tells
}

type policyText struct {
	namespace, name, text string
	file                  string // "" where it is of a server
}

// A sentinelPolicy guards paths (an EGP), or what its holders do (an RGP: no paths).
type sentinelPolicy struct {
	namespace, name string
	paths           []string
	methods         []string
}

type method struct {
	kind   string // totp, duo, okta, pingid
	digits int    // 0 where they are not known
}

// A builder collects entries.
type builder struct {
	source
	entries map[string]*entry
	notes   []string // what could not be made a rule
}

// build returns the entries of all paths, in the order in which Vault looks at them,
// and what had to be left out.
func build(s source) ([]*entry, []string) {
	b := &builder{source: s, entries: make(map[string]*entry)}
	for _, p := range s.acl {
		stanzas, err := parsePolicy(p.namespace, p.name, p.text)
		if err != nil {
			b.notes = append(b.notes, unreadable(p, err))
		}
		denied := make(map[string]bool)
		for _, one := range stanzas {
			denied[one.path] = denied[one.path] || one.deny
		}
		for _, one := range stanzas {
			for _, word := range one.odd {
				b.note("policy %s, path %q: %q is unknown, and left out", p.name, one.path, word)
			}
			one.deny = denied[one.path] // Vault merges what stands twice, and a denial wins
			b.addStanza(one)
		}
	}
	for _, p := range s.sentinel {
		b.addSentinel(p)
	}
	all := slices.SortedFunc(maps.Values(b.entries), func(a, b *entry) int { return cmp.Compare(a.full, b.full) })
	for _, e := range all {
		if len(e.operations) == 0 { // sudo alone, or a denial: nothing is granted
			e.methods = nil
		}
		e.groups = slices.DeleteFunc(e.groups, func(g group) bool { return !slices.ContainsFunc(e.operations, g.holds) })
	}
	byPriority(all)
	delayTemplates(all)
	inherit(all)
	markFree(all)
	markOthers(all)
	markHidden(all)
	return all, b.notes
}

func (b *builder) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

func (b *builder) addStanza(s stanza) {
	for _, e := range b.places(s.namespace, s.path, s.policy) {
		e.policies = rule.Join(e.policies, []string{s.policy})
		if s.deny {
			continue
		}
		for _, op := range s.operations {
			e.operations = rule.AddOperation(e.operations, op)
		}
		methods := b.usable(s)
		if len(methods)+len(s.groups) == 0 {
			continue
		}
		e.differ = e.differ || len(e.asking) > 0 && !slices.Equal(e.methods, methods)
		e.asking = rule.Join(e.asking, []string{s.policy})
		e.methods = rule.Join(e.methods, methods)
		e.groups = append(e.groups, s.groups...)
	}
}

// usable are the methods that a configuration can name.
func (b *builder) usable(s stanza) (names []string) {
	for _, name := range s.methods {
		if canBeMethod(name) {
			names = append(names, name)
			continue
		}
		b.note("policy %s, path %q: no configuration can name the method %q", s.policy, s.path, name)
	}
	return names
}

// canBeMethod reports whether a name can stand in X-Vault-MFA and in a configuration.
func canBeMethod(name string) bool {
	return name != "" && len(name) <= 128 && rule.Writable(name) && !strings.ContainsAny(name, ": \t,")
}

func (b *builder) addSentinel(p sentinelPolicy) {
	name := cmp.Or(p.namespace, "root") + "/" + p.name
	methods := slices.DeleteFunc(slices.Clone(p.methods), func(m string) bool { return !canBeMethod(m) })
	if len(methods) == 0 {
		return
	}
	if !rule.Writable(name) {
		b.note("Sentinel policy %s: no configuration can name it", name)
		return
	}
	if len(p.paths) == 0 {
		b.note("Sentinel policy %s asks for %s and has no paths: add sentinel %s { methods = [%s] } to the rules of what its holders do",
			name, strings.Join(methods, ", "), rule.Quote(name), quoted(methods))
	}
	for _, path := range p.paths {
		for _, e := range b.places(p.namespace, strings.TrimPrefix(path, "/"), p.name) {
			e.sentinel = append(e.sentinel, rule.Policy{Name: name, Methods: methods})
			e.operations = rule.Operations()
		}
	}
}

// places are the entries of a path of a policy: one in each namespace that it leads to.
func (b *builder) places(namespace, path, policy string) (all []*entry) {
	path = withoutTemplates(path)
	for _, in := range b.namespaces {
		below, ok := underneath(in, namespace)
		if !ok || below == "" && b.leadsBelow(namespace, path) {
			continue
		}
		rest, ok := inNamespace(path, below)
		if !ok {
			continue
		}
		text := widened(rest)
		pattern, err := rule.ParsePattern(text)
		if err != nil || !rule.Writable(text) || pattern.String() != text {
			b.note("policy %s, path %q: no rule can name it", policy, strings.ReplaceAll(path, hole, "{{…}}"))
			continue
		}
		full := strings.TrimPrefix(namespace+"/"+path, "/")
		key := in + "\n" + full
		if b.entries[key] == nil {
			b.entries[key] = &entry{namespace: in, full: full, text: text, pattern: pattern, templated: strings.Contains(path, hole)}
		}
		all = append(all, b.entries[key])
	}
	return all
}

// underneath is namespace as seen from above, "" where it is the same.
func underneath(namespace, above string) (string, bool) {
	if above == "" || namespace == above {
		return strings.TrimPrefix(namespace, above), true
	}
	return strings.CutPrefix(namespace, above+"/")
}

// leadsBelow reports whether a path of a policy begins with the name of a namespace
// below that of the policy.
func (b *builder) leadsBelow(namespace, path string) bool {
	return slices.ContainsFunc(b.namespaces, func(in string) bool {
		below, ok := underneath(in, namespace)
		return ok && below != "" && strings.HasPrefix(path, below+"/")
	})
}

// inherit makes each entry want what all of its Sentinel policies want, which Vault
// evaluates one and all: in a configuration, only the first rule counts.
func inherit(all []*entry) {
	type own struct {
		entry    *entry
		policies []rule.Policy
	}
	var guarded []own
	for _, e := range all {
		if len(e.sentinel) > 0 {
			guarded = append(guarded, own{e, slices.Clone(e.sentinel)})
		}
	}
	for i, e := range all {
		alone := len(e.asking) == 0 && len(e.sentinel) > 0
		for _, g := range guarded {
			if g.entry != e && g.entry.namespace == e.namespace && e.wants() && overlap(g.entry.text, e.text) {
				e.addPolicies(g.policies)
			}
		}
		for _, later := range all[i+1:] {
			if alone && later.namespace == e.namespace && len(later.methods)+len(later.groups) > 0 && overlap(e.text, later.text) {
				e.methods, e.groups = slices.Clone(later.methods), slices.Clone(later.groups)
				break
			}
		}
	}
}

// markFree finds the entries that want nothing, before entries that would take their
// requests. It is said only where each policy that asks has the exception as well: a
// caller with the other policy alone would be refused in silence.
func markFree(all []*entry) {
	for i, e := range all {
		if e.wants() || e.templated {
			continue
		}
		for _, later := range all[i+1:] {
			if later.namespace != e.namespace || !later.wants() || !overlap(e.text, later.text) {
				continue
			}
			missing := slices.ContainsFunc(later.asking, func(p string) bool { return !slices.Contains(e.policies, p) })
			if missing || len(later.sentinel) > 0 || len(later.methods) == 0 {
				e.free, e.methods = false, nil
				break
			}
			if !e.free {
				e.free, e.methods = true, later.methods
			}
		}
	}
}

// markOthers finds, for an entry that wants a factor, the methods that a token needs instead
// if it lacks the policies of the entry: for that token, Vault picks an entry further below.
func markOthers(all []*entry) {
	for i, e := range all {
		if !e.wants() || e.free {
			continue
		}
		for _, later := range all[i+1:] {
			elsewhere := slices.ContainsFunc(later.asking, func(p string) bool { return !slices.Contains(e.policies, p) })
			if later.namespace != e.namespace || !elsewhere || !overlap(e.text, later.text) {
				continue
			}
			for _, m := range later.methods {
				if !slices.Contains(e.methods, m) {
					e.others = rule.Join(e.others, []string{m})
				}
			}
		}
	}
}
