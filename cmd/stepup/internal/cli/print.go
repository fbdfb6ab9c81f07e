package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/prompt"
)

// Printable replaces characters that could move the cursor, reorder a line or break it, and
// cuts the text after 400 bytes. It is less strict than prompt.Sanitize, which would spoil
// the addresses and file names that a status is read for.
func Printable(s string) string {
	s = PrintableLine(s)
	for i := range s {
		if i > 400 {
			return s[:i] + "…"
		}
	}
	return s
}

// PrintableLine is [Printable] for text to be pasted, which is not cut.
func PrintableLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError, unicode.Is(unicode.Bidi_Control, r), !unicode.IsPrint(r) && !unicode.IsSpace(r):
			return '?'
		case unicode.IsSpace(r):
			return ' '
		}
		return r
	}, s)
}

// ShellQuote makes s one word of a POSIX shell.
func ShellQuote(s string) string {
	plain := func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_./:@%+=,-", r))
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Counted is a number of things: 1 rule, 2 rules.
func Counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// VaultHint is the way out of a command that is about one vault of several.
func VaultHint(vaults []agent.Vault) string {
	var names []string
	for _, v := range vaults {
		names = append(names, Printable(v.Name))
	}
	return "name one with --vault: " + strings.Join(names, ", ")
}

// Duration is d in at most two units, for people.
func Duration(d time.Duration) string {
	d = max(0, d).Round(time.Second)
	switch days, hours, minutes := d/(24*time.Hour), d/time.Hour, d/time.Minute; {
	case days > 0:
		return fmt.Sprintf("%dd%dh", days, hours%24)
	case hours > 0:
		return fmt.Sprintf("%dh%dm", hours, minutes%60)
	case minutes > 0:
		return fmt.Sprintf("%dm%ds", minutes, d/time.Second%60)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// A Sheet is text in two columns: a name, and lines that belong to it.
type Sheet struct{ strings.Builder }

// Row writes the lines beside the name; each may have cells with tabs between
// them, which are aligned within the row. Without lines it writes nothing.
func (s *Sheet) Row(name string, lines ...string) {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		fmt.Fprintln(table, line)
	}
	_ = table.Flush() // a Builder takes everything
	for line := range strings.Lines(b.String()) {
		fmt.Fprintln(s, strings.TrimRight(fmt.Sprintf("%-10s %s", name, strings.TrimRight(line, "\n")), " "))
		name = ""
	}
}

// WriteJSON writes v for programs, indented.
func WriteJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// UsesLeft is how often a token can still be used, for people; 0 is without a limit.
func UsesLeft(n int) string {
	switch n {
	case 0:
		return "any number of uses"
	case 1:
		return "one use left"
	}
	return fmt.Sprintf("%d uses left", n)
}

// HowText is how a rule answers a request, for people.
func HowText(r control.Rule) string {
	how := Printable(r.Grant)
	if len(r.Methods) > 0 {
		how += " with " + Printable(strings.Join(r.Methods, " and "))
	}
	if r.ControlGroup == "" {
		return how
	}
	waits := "waits " + Printable(r.ControlGroup) + " for others to approve"
	if how == "" {
		return waits
	}
	return how + ", " + waits
}

// Question is a prompt in one line, in its own words: the program and its request.
func Question(r prompt.Request) string {
	return strings.TrimPrefix(prompt.Brief(r), "stepup: ")
}

// A LimitedText keeps the beginning of a program's output.
type LimitedText = prompt.LimitedText
