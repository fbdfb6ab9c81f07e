package factor

import (
	"fmt"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/rule"
)

// shownPaths is how many paths of a rule a question names.
const shownPaths = 3

// An Allowance is what a yes allows beyond the request that is asked about.
type Allowance struct {
	Rule *rule.Rule    // nil for a login
	Life time.Duration // the longest that a token of the rule is used; its own TTL may be shorter
}

// words say what a yes to the question of s allows; "" where that is the request alone. They
// follow "allows".
func (a Allowance) words(s *StepUp) string {
	if a.Rule == nil || !a.Rule.Grant.Mints() {
		return ""
	}
	if s.Unbound {
		return "this request alone: where it comes from cannot be told"
	}
	from := s.Bound
	if from == "" {
		from = "every program with your Vault token"
	}
	return a.what(s.Request) + " " + a.howLong() + ", from " + from
}

// what are the requests that the rule is about.
func (a Allowance) what(q rule.Request) string {
	var paths []string
	for _, p := range a.Rule.Paths {
		if text := p.String(); text != q.Path {
			paths = append(paths, text)
		}
	}
	more := ""
	if n := len(paths) - shownPaths; n > 0 {
		paths, more = paths[:shownPaths], fmt.Sprintf(" and %d more", n)
	}
	all := "all of "
	if len(a.Rule.Capabilities) > 0 {
		var words []string
		for _, c := range a.Rule.Capabilities {
			words = append(words, string(c))
		}
		all = strings.Join(words, ", ") + " on "
	}
	all += strings.Join(paths, ", ") + more
	switch {
	case len(paths) == 0:
		return "the same again"
	case q.Path == "":
		return all
	}
	return "this, and " + all + ","
}

// howLong is the shortest of what is known to end a token.
func (a Allowance) howLong() string {
	g, life := a.Rule.Grant, a.Life
	for _, limit := range []time.Duration{g.MaxTTL, g.TTL} {
		if limit > 0 {
			life = min(life, limit)
		}
	}
	if g.NumUses > 0 {
		return fmt.Sprintf("%d times within %s", g.NumUses, duration(life))
	}
	return "for up to " + duration(life)
}

// duration is a time in the unit that people would take.
func duration(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}
