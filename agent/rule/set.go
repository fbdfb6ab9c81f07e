package rule

import "strings"

// A Set finds the rule for a request as [Rules] does, in a time that hardly depends on how
// many rules there are. It is safe for concurrent use.
type Set struct {
	rules Rules
	any   *node            // of the rules that name no namespace
	named map[string]*node // of the others, by namespace
}

// A node is a place in a tree of patterns, reached by the segments before it.
type node struct {
	children map[string]*node // by the next segment, "+" for any one
	exact    []int            // rules with a pattern that ends here
	prefixes []prefix         // rules with a pattern whose last segment ends in "*"
}

// A prefix is how the rest of a path must begin for a rule.
type prefix struct {
	text string
	rule int
}

// NewSet returns a Set of rules, which must not change after that.
func NewSet(rules Rules) *Set {
	s := &Set{rules: rules, any: &node{}, named: make(map[string]*node)}
	for i, r := range rules {
		root := s.any
		if r.Namespace != "" {
			name := Namespace(r.Namespace)
			if s.named[name] == nil {
				s.named[name] = &node{}
			}
			root = s.named[name]
		}
		for _, p := range r.Paths {
			root.add(p, i)
		}
	}
	return s
}

func (n *node) add(p Pattern, rule int) {
	pattern, isPrefix := strings.CutSuffix(p.text, "*")
	for {
		segment, rest, more := strings.Cut(pattern, "/")
		if isPrefix && !more {
			n.prefixes = append(n.prefixes, prefix{segment, rule})
			return
		}
		n = n.child(segment)
		if !more {
			n.exact = append(n.exact, rule)
			return
		}
		pattern = rest
	}
}

func (n *node) child(segment string) *node {
	if n.children == nil {
		n.children = make(map[string]*node)
	}
	if n.children[segment] == nil {
		n.children[segment] = &node{}
	}
	return n.children[segment]
}

// Match is [Rules.Match].
func (s *Set) Match(q Request) (Match, bool) { return s.rules.matchBy(s.find, q) }

// MatchPreflight is [Rules.MatchPreflight].
func (s *Set) MatchPreflight(q Request) (Match, bool) { return s.rules.matchPreflightBy(s.find, q) }

// find is [Rules.find]. The trees only say which rules to look at.
func (s *Set) find(q Request) (int, Request) {
	f := &finding{rules: s.rules, request: q, best: len(s.rules)}
	f.within(s.any, q.Path)
	if len(s.named) == 0 {
		return f.best, f.in
	}
	f.within(s.named[q.Namespace], q.Path)
	before := q.Namespace
	if before != "" {
		before += "/"
	}
	for at := 0; ; at++ { // each beginning of the path may be a namespace
		i := strings.IndexByte(q.Path[at:], '/')
		if i < 0 {
			return f.best, f.in
		}
		at += i
		f.within(s.named[before+q.Path[:at]], q.Path[at+1:])
	}
}

// A finding is the first rule so far that takes a request.
type finding struct {
	rules   Rules
	request Request
	best    int
	in      Request // the request as that rule sees it
}

// within looks at the rules of a tree, nil for none, with patterns that match path.
func (f *finding) within(root *node, path string) {
	if root == nil {
		return
	}
	f.walk(root, path)
	if folder, ok := strings.CutSuffix(path, "/"); ok && f.request.Operation.lists() {
		f.walk(root, folder)
	}
}

func (f *finding) walk(n *node, path string) {
	for _, p := range n.prefixes {
		if strings.HasPrefix(path, p.text) {
			f.try(p.rule)
		}
	}
	segment, rest, more := strings.Cut(path, "/")
	next := [2]*node{n.children[segment], n.children["+"]}
	if segment == "+" {
		next[1] = nil
	}
	for _, child := range next {
		switch {
		case child == nil:
		case more:
			f.walk(child, rest)
		default:
			for _, rule := range child.exact {
				f.try(rule)
			}
		}
	}
}

func (f *finding) try(rule int) {
	if rule < f.best {
		if in, ok := f.rules[rule].matches(f.request); ok {
			f.best, f.in = rule, in
		}
	}
}
