package prompt

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Caps of what is shown, in characters.
const (
	MaxName    = 64 // of a name, also where a prompter sanitises one itself
	maxPath    = 256
	maxMessage = 400
	maxChoices = 99
	maxChain   = 12
	maxNumber  = 6

	maxCandidates = 5 // programs that a question names as a guess
)

// namePunctuation beside letters, digits and the blank is safe everywhere: no
// character of it ends a string, or starts an escape, a tag, an entity, an
// expansion or an option, in a terminal, in Pango or notification markup, in
// D-Bus, AppleScript, PowerShell, cmd.exe, sh or a tmux format. That leaves out
// quotes, backslash, backtick, $ < > & | ; % ^ ! ~ # { } [ ] and all that is not ASCII
// (bidi marks, look-alikes, the typographic quotes that PowerShell takes for
// quotes). Parentheses need a $ or # before them to do anything; ? stands for
// what was replaced.
const namePunctuation = "._:/@+=,-()?"

// textPunctuation is what sentences need in addition. An apostrophe could end a
// string in single quotes together with what follows it: no driver may put a
// message into program text, quoted or not.
const textPunctuation = namePunctuation + "';!*"

// Sanitize makes s fit to be shown to a person, from any stranger: a
// character outside letters, digits, blank and ._:/@+=,-()? becomes a question
// mark, a run of blanks becomes one, there are none at the ends, the first
// character is never a dash, and what is longer than limit bytes loses its middle
// to an ellipsis. It is idempotent.
func Sanitize(s string, limit int) string {
	return shorten(clean(clip(s, limit), namePunctuation), limit)
}

// SanitizeText is Sanitize for sentences: white space of any kind counts as a
// blank, double quotes and backticks become apostrophes, brackets become
// parentheses, and ';!* are kept.
func SanitizeText(s string, limit int) string {
	return shorten(clean(readable(clip(s, limit)), textPunctuation), limit)
}

// readable turns the punctuation of sentences into its harmless neighbours.
func readable(s string) string {
	return strings.NewReplacer("\n", " ", "\r", " ", "\t", " ", `"`, "'", "`", "'", "\u2018", "'", "\u2019", "'",
		"\u201c", "'", "\u201d", "'", "[", "(", "]", ")", "\u2026", "...", "\u2013", "-", "\u2014", "-").Replace(s)
}

func clean(s, punctuation string) string {
	var b strings.Builder
	b.Grow(len(s))
	blank := true         // the last one written, or none
	for _, c := range s { // invalid UTF-8 comes as U+FFFD, byte by byte
		switch {
		case c == ' ' && blank:
			continue // a run of them could push the end of a line out of sight
		case c == ' ', isAlphanumeric(c), c < utf8.RuneSelf && strings.ContainsRune(punctuation, c):
			b.WriteByte(byte(c))
		default:
			b.WriteByte('?')
		}
		blank = c == ' '
	}
	out := strings.TrimSuffix(b.String(), " ")
	if strings.HasPrefix(out, "-") {
		return "?" + out[1:] // a program would take it for an option
	}
	return out
}

func isAlphanumeric(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// clip leaves of a very long string the parts that could be shown: a stranger's
// megabytes should not cost us time.
func clip(s string, limit int) string {
	if limit <= 0 {
		return ""
	}
	if len(s)/8 <= limit {
		return s
	}
	return s[:4*limit] + ellipsis + s[len(s)-4*limit:]
}

const ellipsis = "..."

// shorten takes out the middle: the start of a path and its end both matter.
func shorten(s string, limit int) string {
	switch {
	case len(s) <= limit:
		return s
	case limit <= len(ellipsis):
		return strings.TrimSpace(s[:max(limit, 0)])
	}
	keep := limit - len(ellipsis)
	return strings.TrimSpace(s[:keep-keep/2] + ellipsis + s[len(s)-keep/2:])
}

// Sanitized returns r with every string fit to be shown. It numbers choices that would
// look the same, and drops those beyond the 99th, which no person reads.
func (r Request) Sanitized() Request {
	r.Rule = Sanitize(r.Rule, MaxName)
	r.Vault = Sanitize(r.Vault, MaxName)
	r.Namespace = Sanitize(r.Namespace, 2*MaxName)
	r.Path = Sanitize(r.Path, maxPath)
	r.Operation = Sanitize(r.Operation, MaxName)
	r.Method = Sanitize(r.Method, MaxName)
	r.MethodType = Sanitize(r.MethodType, MaxName)
	r.Message = SanitizeText(r.Message, maxMessage)
	r.Allows = SanitizeText(r.Allows, maxMessage)
	r.Number = sanitizeNumber(r.Number)
	r.Keeps = sanitizeKeeps(r.Keeps)
	r.WithCode.Method = Sanitize(r.WithCode.Method, MaxName)
	r.Requester = sanitizeRequester(r.Requester)
	r.Choices = sanitizeChoices(r.Choices)
	r.Enrolment = r.Enrolment.sanitized()
	return r
}

// sanitizeNumber returns "" for anything but a number: it is shown so large that a
// stranger's text in its place would be a screen of theirs.
func sanitizeNumber(s string) string {
	if len(s) > maxNumber || strings.Trim(s, "0123456789") != "" {
		return ""
	}
	return s
}

func sanitizeRequester(p Requester) Requester {
	p.Exe = Sanitize(filepath.ToSlash(p.Exe), maxPath) // Windows takes both, and a backslash is not shown
	p.Origin = Origin(Sanitize(string(p.Origin), MaxName))
	p.Claim = Sanitize(p.Claim, 2*MaxName) // with a script and its folder
	p.MayBe = sanitizeCandidates(p.MayBe)
	chain := make([]string, 0, min(len(p.Chain), maxChain))
	for _, name := range p.Chain[:min(len(p.Chain), maxChain)] {
		chain = append(chain, Sanitize(name, MaxName))
	}
	p.Chain = chain
	return p
}

// Shortened is a sanitised r for where there is little room: each detail in detail bytes, and
// what a person decides by (requester, path, what a yes allows) in decisive bytes. What is
// longer loses its middle.
func (r Request) Shortened(detail, decisive int) Request {
	q := &r.Requester
	q.Exe, q.Claim = r.Requester.ShortExe(detail, decisive), Sanitize(q.Claim, detail)
	q.MayBe = q.MayBe[:min(len(q.MayBe), 3)]
	q.Chain = slices.Clone(q.Chain)
	for i, name := range q.Chain {
		q.Chain[i] = Sanitize(name, detail/2)
	}
	for _, field := range []*string{&r.Rule, &r.Vault, &r.Namespace, &r.Method, &r.MethodType} {
		*field = Sanitize(*field, detail)
	}
	r.Operation = Sanitize(r.Operation, detail/2)
	r.Path, r.Allows, r.Message = Sanitize(r.Path, decisive), SanitizeText(r.Allows, decisive), SanitizeText(r.Message, 3*detail)
	return r
}

// ShortExe is Exe for where there is little room: its base name, in name bytes, or the path,
// in path bytes, where the path is what tells the program from another one of its name.
func (q Requester) ShortExe(name, path int) string {
	if q.Origin != "" {
		return Sanitize(q.Exe, path)
	}
	return Sanitize(q.Exe[strings.LastIndexByte(q.Exe, '/')+1:], name)
}

func sanitizeChoices(choices []string) []string {
	out := make([]string, 0, min(len(choices), maxChoices))
	for _, c := range choices[:min(len(choices), maxChoices)] {
		label := Sanitize(c, MaxName)
		for n := 2; label == "" || slices.Contains(out, label); n++ {
			label = strings.TrimSpace(Sanitize(c, MaxName-5) + " (" + strconv.Itoa(n) + ")")
		}
		out = append(out, label)
	}
	return out
}

// ChoiceAsGiven returns the choice of r that answer means, where answer is one of
// r.Sanitized(). It returns any other answer as it is.
func (r Request) ChoiceAsGiven(answer string) string {
	if r.Kind != Choose {
		return answer
	}
	if i := slices.Index(sanitizeChoices(r.Choices), strings.TrimSpace(answer)); i >= 0 {
		return r.Choices[i]
	}
	return answer
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
