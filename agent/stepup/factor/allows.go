package factor

import (
	"fmt"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/prompt"
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
	if s.Keep == prompt.KeepOnce {
		return "the requests that wait for it, and no other: you chose once"
	}
	if s.Unbound {
		return "this request alone: where it comes from cannot be told" + whyUnbound(s.lookup.Peer())
	}
	from := s.Bound
	if from == "" {
		from = "every program with your Vault token"
	}
	long := a.howLong()
	if s.Keep == prompt.KeepLock {
		long = untilLock(a.limit())
	}
	text := a.what(s.Request) + " " + long + ", from " + from
	switch {
	case a.Rule.Confirm && s.Request.Path == "": // stepup up
		text += ", after a yes to each request"
	case a.Rule.Confirm:
		text += ", after a yes to each further request"
	}
	return text
}

// whyUnbound says why p has no binding, and the way out, as far as that is known.
func whyUnbound(p peer.Peer) string {
	switch {
	case p.Ended:
		return " (the process that connected has ended)"
	case p.Hidden && p.PID == 0:
		return " (it hides its process; on the agent's unix socket it can be told)"
	case p.Hidden:
		return " (it hides its file)"
	}
	return ""
}

// limit is the longest that the person may choose.
func (a Allowance) limit() time.Duration { return a.Rule.Grant.Limit(a.Life) }

func untilLock(limit time.Duration) string {
	return "until stepup lock, for up to " + duration(limit)
}

// keeps are the choices at a question of s, and the time of the rule where the person has
// chosen otherwise before. A token that could not be shared, and one for a single request,
// leave none; that of a lock is one only where it is longer.
func (a Allowance) keeps(s *StepUp) (all []prompt.KeepChoice) {
	if a.Rule == nil || !a.Rule.Grant.Mints() || s.Unbound {
		return nil
	}
	g := a.Rule.Grant
	if g.NumUses != 1 && s.Request.Path != "" && s.Keep != prompt.KeepOnce {
		all = append(all, prompt.KeepChoice{Word: prompt.KeepOnce, Means: "only the requests that wait"})
	}
	if g.Life(a.Life) < a.limit() && s.Keep != prompt.KeepLock {
		all = append(all, prompt.KeepChoice{Word: prompt.KeepLock, Means: untilLock(a.limit())})
	}
	if s.Keep == prompt.KeepOnce || s.Keep == prompt.KeepLock {
		all = append(all, prompt.KeepChoice{Word: prompt.KeepRule, Means: a.howLong()})
	}
	return all
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
	g := a.Rule.Grant
	life := g.Life(a.Life)
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
