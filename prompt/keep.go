package prompt

import (
	"slices"
	"strings"
)

// A Keep is a way in which a step-up may be kept, by the word that chooses it.
type Keep string

// The ways. The zero value is no choice, which means KeepRule.
const (
	KeepOnce Keep = "once" // it serves the requests that wait for it, and no other
	KeepRule Keep = "rule" // for the time of the rule
	KeepLock Keep = "lock" // until a lock, within the limits that the configuration sets
)

// A KeepChoice is one that the person has at a question. The JSON tags are those of the
// control socket.
type KeepChoice struct {
	Word  Keep   `json:"word"`
	Means string `json:"means"`
}

// keepMark stands before the choice in an answer that a program has put together. No keyboard
// has it.
const keepMark = "\x00"

// CutKeep takes the choice off the end of an answer to r: "123456 once" is a code and
// KeepOnce, and so is what [WithKeep] makes. fits is false for a choice that r does not have;
// KeepRule is one always. A password without a code is cut only at the mark: it may end with
// any word.
func CutKeep(r Request, answer string) (rest string, keep Keep, fits bool) {
	rest, word, marked := strings.Cut(answer, keepMark)
	if !marked {
		rest, word = cutWord(r, answer)
	}
	switch keep = Keep(strings.ToLower(strings.TrimSpace(word))); {
	case keep == "" && !marked:
		return answer, "", true
	case slices.ContainsFunc(r.Keeps, func(c KeepChoice) bool { return c.Word == keep }):
		return rest, keep, true
	case keep == KeepRule && len(r.Keeps) > 0:
		return rest, keep, true
	}
	return rest, "", keep == KeepRule
}

// cutWord takes a word of a choice off an answer that was typed; "" where there is none.
func cutWord(r Request, answer string) (rest, word string) {
	trimmed := strings.TrimRight(answer, " \t\r\n")
	at := strings.LastIndexAny(trimmed, " \t\n") + 1
	if at == 0 || r.Kind != Passcode && r.Kind != Confirm && !r.TakesCode() {
		return answer, ""
	}
	if line := strings.IndexByte(trimmed, '\n'); r.TakesCode() && (line < 0 || line >= at) {
		return answer, "" // of the password
	}
	if isKeepWord(trimmed[at:]) {
		return trimmed[:at-1], trimmed[at:]
	}
	return answer, ""
}

// isKeepWord tells a choice as it is typed. It is never a passcode: "lo ck" would become a
// choice once its blank is gone.
func isKeepWord(s string) bool {
	return slices.Contains([]Keep{KeepOnce, KeepRule, KeepLock}, Keep(strings.ToLower(s)))
}

// WithKeep is the answer with a choice, as CutKeep takes it off.
func WithKeep(answer string, keep Keep) string {
	if keep == "" {
		return answer
	}
	return answer + keepMark + string(keep)
}

// sanitizeKeeps leaves each way at most once, in words that are short.
func sanitizeKeeps(all []KeepChoice) []KeepChoice {
	var out []KeepChoice
	for _, way := range []Keep{KeepOnce, KeepLock, KeepRule} {
		if i := slices.IndexFunc(all, func(c KeepChoice) bool { return c.Word == way }); i >= 0 {
			out = append(out, KeepChoice{way, SanitizeText(all[i].Means, MaxName)})
		}
	}
	return out
}
