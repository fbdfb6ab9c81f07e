package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"

	"github.com/vault-stepup/stepup/config/layers"
)

// A message is the text of a diagnostic: lower case, no full stop. The summary names the
// problem, the detail the reason why it matters, the fix what to do; the last two may be "".
// A value is repeated only as it stands in the file, never with the value of a variable, and
// never a password.
type message struct{ summary, detail, fix string }

func say(format string, args ...any) message { return message{summary: fmt.Sprintf(format, args...)} }

func (m message) because(format string, args ...any) message {
	m.detail = fmt.Sprintf(format, args...)
	return m
}

func (m message) hint(format string, args ...any) message {
	m.fix = fmt.Sprintf(format, args...)
	return m
}

// Hint is the way out, for the printer.
func (m message) Hint() string { return m.fix }

// nearest is the candidate that was probably meant, or "".
func nearest(given string, candidates []string) string {
	best, distance := "", 3
	if len(given) > 64 {
		return ""
	}
	for _, c := range candidates {
		if n := levenshtein.Distance(strings.ToLower(given), strings.ToLower(c), nil); n < distance && n < len(c) {
			best, distance = c, n
		}
	}
	if best != "" {
		return best
	}
	part := slices.DeleteFunc(slices.Clone(candidates), func(c string) bool { return !isPart(given, c) && !isPart(c, given) })
	if len(part) == 1 {
		return part[0]
	}
	return ""
}

// isPart reports whether a word that is long enough to tell something is a part of whole.
func isPart(word, whole string) bool {
	return len(word) >= 4 && strings.Contains(strings.ToLower(whole), strings.ToLower(word))
}

// meant is a hint for a word that is not among candidates.
func meant(given string, candidates []string, otherwise string) string {
	if n := nearest(given, candidates); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	if len(candidates) == 0 {
		return ""
	}
	return otherwise + strings.Join(candidates, ", ")
}

// What several places say.

func wordsType(want, have string) message {
	return say("wrong type: this must be %s, not %s", want, have)
}

func wordsExpression() message {
	return say("this expression is not possible here").
		because("a configuration has text, numbers, true and false, and lists; no functions, operators or conditions").
		hint("inside text, ${env.NAME}, ${home}, ${runtime_dir} and ${state_dir} may be used")
}

func wordsRepeated(name string, t text) message { return say("%s names %s twice", name, t.shown) }

func wordsBoth(one, other string) message {
	return say("%s and %s exclude each other", one, other).hint("keep one of them")
}

func wordsRelative(name string, t text) message {
	m := say("%s is not an absolute path: %s", name, t.shown)
	if rest, ok := strings.CutPrefix(t.shown, `"~/`); ok {
		return m.hint(`write "${home}/%s`, rest)
	}
	return m.because("a relative path would depend on the folder that the agent is started from").
		hint("begin with /, ${home}, ${runtime_dir} or ${state_dir}")
}

func wordsUnreadable(name string, t text, err error) message {
	return say("%s cannot be read: %s: %s", name, t.shown, layers.Cause(err))
}

func wordsPort(t text) message {
	return say("%s has no usable port", t.shown).hint("a port is a number up to 65535")
}

// wordsLocked is about an argument that weakens the shared one at a place.
func wordsLocked(name string, by hcl.Range) message {
	return say("%s is locked by the shared configuration at %s:%d", name, by.Filename, by.Start.Line).
		because("this would weaken what the administrator of this machine has set").hint("take it out here")
}
