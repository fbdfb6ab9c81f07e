package rule

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A Suggestion is a rule that may be of use, for requests that were seen.
type Suggestion struct {
	Namespace  string
	Path       string // cleaned and decoded, without /v1/
	Operations []Operation
	Vault      string          // "" where there is only one
	Method     string          // name of a declared mfa_method block; "" where there is none
	Taken      map[string]bool // names of rules that are there
}

// The longest path that a rule is written for, and the longest name for one.
const (
	maxSuggested = 512
	maxSlug      = 48
)

// HCL is the step_up block to paste into the configuration. It loads there, with
// an mfa_method block in front where none is declared, and the rule matches the
// path in every operation. A segment that cannot be written down (control
// characters, for one) becomes "+". The result is "" for a path of which nothing
// else would be left: a program chooses it, and it must not become a rule for everything.
func (s Suggestion) HCL() string {
	pattern, ok := s.pattern()
	if !ok || !Writable(s.Namespace) || !Writable(s.Method) || !Writable(s.Vault) {
		return ""
	}
	// A header may hold what no namespace is called, and no rule may name.
	if s.Namespace != "" && !CanBeNamespace(s.Namespace) {
		return ""
	}
	var b strings.Builder
	method := s.Method
	if method == "" {
		method = "corp_totp"
		b.WriteString("mfa_method " + Quote(method) + " { # its name in Vault\n  type = \"totp\" # or duo, okta, pingid\n}\n")
	}
	b.WriteString("step_up " + Quote(s.name()) + " {\n  paths        = [" + Quote(pattern) + "]\n")
	if len(s.Operations) > 0 {
		var words []string
		for _, op := range s.Operations {
			words = append(words, Quote(string(op)))
		}
		b.WriteString("  capabilities = [" + strings.Join(words, ", ") + "]\n")
	}
	if s.Namespace != "" {
		b.WriteString("  namespace    = " + Quote(s.Namespace) + "\n")
	}
	if s.Vault != "" {
		b.WriteString("  vault        = " + Quote(s.Vault) + "\n")
	}
	b.WriteString("  methods      = [" + Quote(method) + "] # what the policy names in mfa_methods\n  grant \"header\" {}\n}\n")
	return b.String()
}

// pattern is the path as a rule can name it.
func (s Suggestion) pattern() (string, bool) {
	if len(s.Path) > maxSuggested {
		return "", false
	}
	segments := strings.Split(s.Path, "/")
	literal := false
	for i, segment := range segments {
		// "v1/" in front is refused as a mistake, and "+*" by Vault.
		if !Writable(segment) || strings.Contains(segment, "+*") || i == 0 && segment == "v1" {
			segments[i] = "+"
		}
		literal = literal || strings.Trim(segments[i], "+*") != ""
	}
	text := strings.Join(segments, "/")
	p, err := ParsePattern(text)
	return text, err == nil && literal && p.String() == text && p.Match(s.Path) && norm.NFC.IsNormalString(text)
}

// Writable reports whether a text can stand in a configuration and means there
// what it says: HCL brings text into the composed form of Unicode, and what cannot
// be seen, or reorders a line, is not to be pasted unseen.
func Writable(s string) bool {
	return utf8.ValidString(s) && norm.NFC.IsNormalString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) })
}

// Quote is s as text of HCL. Without the last two, ${…} and %{…} in a path would be
// read by HCL, which knows variables of the environment.
func Quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", `\u0024{`, "%{", `\u0025{`).Replace(s) + `"`
}

// name makes a name for the rule out of the path that is not taken.
func (s Suggestion) name() string { return NameFor(s.Path, s.Taken) }

// NameFor makes a name for a rule out of a path that is not taken.
func NameFor(path string, taken map[string]bool) string {
	other := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}
	slug := strings.Join(strings.FieldsFunc(path, other), "-")
	slug = strings.Trim(slug[:min(len(slug), maxSlug)], "-")
	if slug == "" {
		slug = "suggested"
	}
	name := slug
	for n := 2; taken[name]; n++ {
		name = slug + "-" + strconv.Itoa(n)
	}
	return name
}

// AddOperation puts op into the list, in the order of Vault's documentation.
func AddOperation(list []Operation, op Operation) []Operation {
	return slices.DeleteFunc(Operations(), func(o Operation) bool { return o != op && !slices.Contains(list, o) })
}
