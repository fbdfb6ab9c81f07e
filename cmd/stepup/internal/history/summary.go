package history

import (
	"cmp"
	"slices"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
)

// stillOpen is how long a step-up without an end may still be under way.
const stillOpen = 10 * time.Minute

// A summary says how well step-ups went.
type summary struct {
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Total figures   `json:"total"` // its rule is ""
	Rules []figures `json:"rules"` // by name; that of the logins is ""
}

// figures are those of one rule. Rates are parts of 1.
type figures struct {
	Rule        string  `json:"rule"`
	StepUps     int     `json:"step_ups"`
	Approved    int     `json:"approved"`
	Denied      int     `json:"denied"`
	Timeout     int     `json:"timeout"`
	Rejected    int     `json:"rejected"`
	Withdrawn   int     `json:"withdrawn"`  // the program left
	Unanswered  int     `json:"unanswered"` // no prompt could be shown, or the agent ended
	FailureRate float64 `json:"failure_rate"`
	MedianMS    int64   `json:"median_ms"` // from the challenge to the approval, of those with a prompt
	P95MS       int64   `json:"p95_ms"`
	Prompts     int     `json:"prompts"`
	Resent      int     `json:"resent"` // step-ups that asked more than once for the same
	ResendRate  float64 `json:"resend_rate"`
	Uses        int     `json:"uses"` // requests that a cached token served

	took []int64
}

// summarise counts the step-ups among entries.
func summarise(entries []*entry, from, now time.Time) summary {
	s := summary{From: from.Round(0), To: now.Round(0), Rules: []figures{}}
	byRule := make(map[string]*figures)
	for _, e := range entries {
		f := byRule[e.Rule]
		if f == nil {
			f = &figures{Rule: e.Rule}
		}
		if f.count(e, now) {
			byRule[e.Rule] = f
			s.Total.count(e, now)
		}
	}
	for _, f := range byRule {
		f.finish()
		s.Rules = append(s.Rules, *f)
	}
	s.Total.finish()
	slices.SortFunc(s.Rules, func(a, b figures) int { return cmp.Compare(a.Rule, b.Rule) })
	return s
}

// count adds e, and reports whether it says something about step-ups.
func (f *figures) count(e *entry, now time.Time) bool {
	switch e.Event {
	case audit.Approved:
		f.Approved++
		if e.Prompts > 0 {
			f.took = append(f.took, e.DurationMS)
		}
	case audit.Denied:
		f.Denied++
	case audit.Timeout:
		f.Timeout++
	case audit.Rejected:
		f.Rejected++
	case audit.Withdrawn:
		f.Withdrawn++
	case audit.Challenge, audit.Prompt:
		if now.Sub(e.Time) < stillOpen {
			return false
		}
		f.Unanswered++
	case audit.Unavailable:
		f.Unanswered++
	case audit.Cached: // of a token from before
		f.Uses += e.Uses
		return true
	default:
		return false
	}
	f.StepUps++
	f.Prompts += e.Prompts
	f.Uses += e.Uses
	if e.Resent {
		f.Resent++
	}
	return true
}

// finish computes what is known when all are counted.
func (f *figures) finish() {
	slices.Sort(f.took)
	f.MedianMS, f.P95MS = quantile(f.took, 50), quantile(f.took, 95)
	if f.StepUps > 0 {
		f.FailureRate = float64(f.StepUps-f.Approved) / float64(f.StepUps)
		f.ResendRate = float64(f.Resent) / float64(f.StepUps)
	}
}

// quantile is the smallest of the sorted values that so many percent do not exceed; 0 of none.
func quantile(sorted []int64, percent int) int64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}
