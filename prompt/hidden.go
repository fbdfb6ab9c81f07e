package prompt

import (
	"fmt"
	"strings"
)

// maxCandidates bounds the programs that a question names as a guess.
const maxCandidates = 5

// A Candidate is a process that a question may be for.
type Candidate struct {
	PID  int    `json:"pid"`
	Name string `json:"name"` // of the process's own choice
}

// hiddenName names a program whose process the kernel does not let the agent look at.
// The kernel tells its number on unix sockets only, and its name is its own choice.
func (q Requester) hiddenName() string {
	const words = "a program that hides itself from you"
	if q.PID == 0 || len(q.Chain) == 0 {
		return words
	}
	return fmt.Sprintf(words+" and calls itself %s (pid %d)", q.Chain[0], q.PID)
}

// Guess lists the programs that a hidden one may be, behind "it may be" or the like; ""
// when there are none. It says that it is a guess: a person must not take the first one
// for the one that asks.
func (q Requester) Guess() string {
	var names []string
	for _, c := range q.MayBe {
		names = append(names, fmt.Sprintf("%s (pid %d)", c.Name, c.PID))
	}
	if len(names) == 0 {
		return ""
	}
	return "(a guess): " + strings.Join(names, ", ")
}

// sanitizeCandidates makes the names fit to be shown in a list: a process that
// calls itself "a (pid 1), b" must not look like two.
func sanitizeCandidates(all []Candidate) []Candidate {
	var out []Candidate
	for _, c := range all[:min(len(all), maxCandidates)] {
		name := strings.NewReplacer("(", "?", ")", "?", ",", "?", ":", "?").Replace(Sanitize(c.Name, MaxName/2))
		out = append(out, Candidate{PID: c.PID, Name: name})
	}
	return out
}
