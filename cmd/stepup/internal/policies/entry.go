package policies

import (
	"cmp"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/agent/rule"
)

// An entry is a path of the policies as it becomes a rule: every stanza that Vault
// merges for it, of all policies.
type entry struct {
	namespace  string // "" is root
	full       string // with the namespace of its policy, for Vault's priority
	text       string // in namespace, as a rule names it
	pattern    rule.Pattern
	operations []rule.Operation
	methods    []string
	groups     []group
	sentinel   []rule.Policy
	policies   []string // that name it
	asking     []string // those of them that want a factor or an approval
	differ     bool     // they want different methods
	free       bool     // it wants nothing, and takes its requests from an entry that does
	templated  bool
	others     []string // methods that a token without its policies needs for the same requests
	hidden     bool     // an entry before it takes all of its requests
}

// wants reports whether Vault wants something for the entry.
func (e *entry) wants() bool { return len(e.methods)+len(e.groups)+len(e.sentinel) > 0 }

// hole stands where a template was. Vault fills it in before it compares paths, so that
// it is no wildcard for the priority.
const hole = "\x00"

// withoutTemplates puts a [hole] in the place of each {{…}}.
func withoutTemplates(path string) string {
	for {
		before, rest, opened := strings.Cut(path, "{{")
		_, after, closed := strings.Cut(rest, "}}")
		if !opened || !closed {
			return path
		}
		path = before + hole + after
	}
}

// widened is a path with "+" for a segment with a hole in it, and without what follows
// the hole where the path ends in "*".
func widened(path string) string {
	body, glob := strings.CutSuffix(path, "*")
	segments := strings.Split(body, "/")
	last := len(segments) - 1
	for i, segment := range segments {
		before, _, holed := strings.Cut(segment, hole)
		switch {
		case holed && glob && i == last:
			segments[i] = before
		case holed:
			segments[i] = "+"
		}
	}
	path = strings.Join(segments, "/")
	if glob {
		path += "*"
	}
	return path
}

// inNamespace is the part of a path that is about what is in the namespace below, seen
// from the namespace of the policy. ok is false where the path does not lead there.
func inNamespace(path, below string) (rest string, ok bool) {
	if below == "" {
		return path, true
	}
	for name := range strings.SplitSeq(below, "/") {
		segment, after, more := strings.Cut(path, "/")
		if start, glob := strings.CutSuffix(segment, "*"); glob && !more {
			if !strings.HasPrefix(name, start) {
				return "", false
			}
			path = "*" // everything below
			continue
		}
		if !more || segment != "+" && segment != name {
			return "", false
		}
		path = after
	}
	return path, path != ""
}

// priority is where Vault looks first (vault/acl.go, CheckAllowedFromNonExactPaths).
type priority struct {
	exact     bool
	first     int // of the first wildcard
	prefix    bool
	wildcards int
	path      string
}

func priorityOf(full string) priority {
	plus := full == "+" || strings.Contains(full, "/+") || strings.HasPrefix(full, "+/")
	body, glob := strings.CutSuffix(full, "*")
	p := priority{exact: !plus && !glob, first: len(body), prefix: glob, path: body}
	if plus {
		p.first = strings.Index(full, "+")
		for segment := range strings.SplitSeq(body, "/") {
			if segment == "+" {
				p.wildcards++
			}
		}
	}
	return p
}

// comparePriority puts first what Vault prefers.
func comparePriority(a, b priority) int {
	rank := func(yes bool) int {
		if yes {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(rank(b.exact), rank(a.exact)),
		cmp.Compare(b.first, a.first),
		cmp.Compare(rank(a.prefix), rank(b.prefix)),
		cmp.Compare(a.wildcards, b.wildcards),
		cmp.Compare(len(b.path), len(a.path)),
		cmp.Compare(b.path, a.path),
	)
}

// sample is a path that a pattern matches and hardly another one does: it is long where it
// may be, for all those that end in "+".
func sample(text string) string {
	body, glob := strings.CutSuffix(text, "*")
	segments := strings.Split(body, "/")
	for i, segment := range segments {
		if segment == "+" {
			segments[i] = "stepup-any"
		}
	}
	path := strings.Join(segments, "/")
	if glob {
		path += strings.Repeat("stepup-any/", 8) + "stepup-any"
	}
	return path
}

// overlap reports whether a request can be meant by both patterns.
func overlap(a, b string) bool {
	for {
		one, restA, moreA := strings.Cut(a, "/")
		two, restB, moreB := strings.Cut(b, "/")
		if start, glob := strings.CutSuffix(one, "*"); glob && !moreA {
			return meets(two, start, moreB)
		}
		if start, glob := strings.CutSuffix(two, "*"); glob && !moreB {
			return meets(one, start, moreA)
		}
		if one != "+" && two != "+" && one != two || moreA != moreB {
			return false
		}
		if !moreA {
			return true
		}
		a, b = restA, restB
	}
}

// meets reports whether a segment of a pattern, its last or not, can begin with start.
func meets(segment, start string, more bool) bool {
	own, glob := strings.CutSuffix(segment, "*")
	if glob && !more {
		return strings.HasPrefix(own, start) || strings.HasPrefix(start, own)
	}
	return segment == "+" || strings.HasPrefix(segment, start)
}

// byPriority sorts entries by namespace, and in one as Vault looks at them.
func byPriority(entries []*entry) {
	slices.SortStableFunc(entries, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), comparePriority(priorityOf(a.full), priorityOf(b.full)))
	})
}

// delayTemplates puts an entry with a template behind those whose requests all would be its
// own in a configuration, where it is wider than in Vault.
func delayTemplates(all []*entry) {
	for i := len(all) - 1; i >= 0; i-- {
		e, last := all[i], i
		for j := i + 1; e.templated && j < len(all) && all[j].namespace == e.namespace; j++ {
			if all[j].pattern.Contains(e.pattern) {
				break
			}
			if e.pattern.Contains(all[j].pattern) {
				last = j
			}
		}
		copy(all[i:last], all[i+1:last+1])
		all[last] = e
	}
}

// markHidden finds the entries of which a configuration would never use the rule.
func markHidden(all []*entry) {
	for i, e := range all {
		for _, first := range all[:i] {
			takesAll := first.namespace == e.namespace && first.pattern.Contains(e.pattern) &&
				!slices.ContainsFunc(e.operations, func(op rule.Operation) bool { return !slices.Contains(first.wanted(), op) })
			if takesAll && first.wants() && !first.free && len(e.groups)+len(e.sentinel) == 0 {
				e.hidden = true
			}
		}
	}
}

// entries are all of a source, in the order in which their rules are written.
type entries []*entry

// take reports whether one of the entries wants something for a request.
func (all entries) take(q rule.Request) bool {
	return slices.ContainsFunc(all, func(e *entry) bool {
		return e.namespace == q.Namespace && e.pattern.Match(q.Path) && slices.Contains(e.wanted(), q.Operation)
	})
}

// wanted are the operations for which Vault wants something.
func (e *entry) wanted() (all []rule.Operation) {
	for _, b := range e.blocks() {
		all = append(all, b.operations...)
	}
	return all
}

func (e *entry) addPolicies(all []rule.Policy) {
	for _, p := range all {
		if !slices.ContainsFunc(e.sentinel, func(o rule.Policy) bool { return o.Is(p.Name) }) {
			e.sentinel = append(e.sentinel, p)
		}
	}
}

// request is one that Vault decides by the entry.
func (e *entry) request(op rule.Operation) rule.Request {
	path := sample(e.text)
	if (op == rule.List || op == rule.Scan) && !strings.HasSuffix(path, "/") {
		path += "/"
	}
	return rule.Request{Namespace: e.namespace, Path: path, Operation: op}
}

// where is the path of an entry, and its namespace where that is not root.
func (e *entry) where() string {
	if e.namespace == "" {
		return e.text
	}
	return e.text + " in " + e.namespace
}
