package history

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/peer"
)

// An entry is a step-up: the record that ended it, and what came before and after that. It
// has the event challenge or prompt where nothing ended it: it met a cool-down, or the agent was
// killed. Other records are entries of their own.
type entry struct {
	audit.Record
	Program string `json:"program"` // name of the requester; "" when unknown
	Prompts int    `json:"prompts"` // that were shown
	Resent  bool   `json:"resent"`  // the same was asked for more than once
	Uses    int    `json:"uses"`    // requests that its token served afterwards

	asked map[question]bool
}

// A question is what a prompt asks for.
type question struct{ kind, method string }

// A request tells the records of one step-up from those of others. Two of the same program
// for the same path at one time are told by their order.
type request struct {
	caller
	path, operation string
	pid             int
}

// A caller has one token for a rule at a time.
type caller struct{ vault, namespace, rule, token string }

func callerOf(r audit.Record) caller { return caller{r.Vault, r.Namespace, r.Rule, r.Token} }

func requestOf(r audit.Record) request {
	return request{callerOf(r), r.Path, r.Operation, r.Requester.PID}
}

// A folder makes entries of records.
type folder struct {
	all   []*entry
	open  map[request][]*entry // not ended yet, oldest first
	token map[caller]*entry    // that got the token of a caller, or the first use of it
}

// entriesOf makes entries of records that are in order, sorted by their ends.
func entriesOf(records []audit.Record) []*entry {
	f := folder{open: make(map[request][]*entry), token: make(map[caller]*entry)}
	for _, r := range records {
		f.add(r)
	}
	slices.SortStableFunc(f.all, func(a, b *entry) int { return a.Time.Compare(b.Time) })
	return f.all
}

func (f *folder) add(r audit.Record) {
	switch r.Event {
	case audit.Challenge:
		f.begin(r)
	case audit.Prompt:
		f.prompt(r)
	case audit.Approved, audit.Denied, audit.Timeout, audit.Rejected, audit.Unavailable, audit.Withdrawn, audit.Enrolled:
		f.end(r)
	case audit.Cached:
		f.use(r)
	default:
		f.put(r)
	}
}

func (f *folder) put(r audit.Record) *entry {
	e := &entry{Record: r, Program: program(r.Requester)}
	f.all = append(f.all, e)
	return e
}

func (f *folder) begin(r audit.Record) *entry {
	e := f.put(r)
	e.asked = make(map[question]bool)
	f.open[requestOf(r)] = append(f.open[requestOf(r)], e)
	return e
}

func (f *folder) prompt(r audit.Record) {
	// One at a time is asked about, and the first of them goes on with its questions.
	open := f.open[requestOf(r)]
	if len(open) == 0 {
		open = []*entry{f.begin(r)} // its challenge is in a file that is gone
	}
	e, q := open[0], question{r.Kind, r.Method}
	e.Record = r
	e.Prompts++
	e.Resent = e.Resent || e.asked[q]
	e.asked[q] = true
}

// end ends the step-up that r decides.
func (f *folder) end(r audit.Record) {
	e := f.take(requestOf(r))
	if e == nil {
		e = f.put(r)
	}
	e.Record = r
	if r.Event == audit.Approved {
		f.token[callerOf(r)] = e
	}
}

// take returns the oldest step-up of a request that is open, nil where there is none.
func (f *folder) take(q request) *entry {
	open := f.open[q]
	if len(open) == 0 {
		return nil
	}
	f.open[q] = open[1:]
	return open[0]
}

// longestTTL is the largest max_ttl: no token is used longer.
const longestTTL = 24 * time.Hour

// use counts a request that a token served.
func (f *folder) use(r audit.Record) {
	e := f.token[callerOf(r)]
	if e != nil && r.Time.Sub(e.Time) > longestTTL {
		e = nil
	}
	waited := f.take(requestOf(r))
	switch {
	case e == nil && waited != nil: // the log lacks how the token was got
		e = waited
		e.Record = r
	case e == nil:
		e = f.put(r)
	case waited != nil && waited.Prompts == 0: // it waited with another request, and was served with it
		f.all = slices.DeleteFunc(f.all, func(x *entry) bool { return x == waited })
	}
	e.Uses++
	f.token[callerOf(r)] = e
}

// program is the name of a requester. The kernel knows no more of one that hides.
func program(p peer.Peer) string {
	switch {
	case len(p.Chain) > 0:
		return p.Chain[0]
	case p.Exe != "":
		return filepath.Base(p.Exe)
	}
	return ""
}

// A filter says which entries are shown.
type filter struct {
	rule    string
	byRule  bool   // rule counts, also where it is ""
	program string // "" means any
}

// apply keeps the entries since from that f lets through.
func (f filter) apply(all []*entry, from time.Time) []*entry {
	return slices.DeleteFunc(all, func(e *entry) bool {
		return e.Time.Before(from) || f.byRule && e.Rule != f.rule || f.program != "" && !f.isProgram(e)
	})
}

func (f filter) isProgram(e *entry) bool {
	names := []string{e.Program, e.Requester.Exe}
	return slices.ContainsFunc(names, func(name string) bool {
		start, more := strings.CutSuffix(f.program, "*")
		return name == f.program || more && strings.HasPrefix(name, start)
	})
}
