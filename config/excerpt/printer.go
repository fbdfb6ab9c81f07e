// Package excerpt lays out the diagnostics of a configuration for a terminal, with the lines of
// the file that they are about, and covers what may be a secret in them.
package excerpt

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

// A Printer lays out diagnostics. Text is broken, and long lines of the file are cut, at Width
// columns; 0 does neither.
type Printer struct {
	Width  int
	Color  bool
	Source func(file string) []byte // nil or empty where it is not known

	out strings.Builder
}

// A Hint is the Extra of a diagnostic with a way out.
type Hint interface{ Hint() string }

// String is what was printed.
func (p *Printer) String() string { return p.out.String() }

const (
	bold   = "\x1b[1m"
	red    = "\x1b[1;31m"
	yellow = "\x1b[1;33m"
	blue   = "\x1b[34m"
	reset  = "\x1b[0m"
)

func (p *Printer) paint(style, s string) string {
	if !p.Color {
		return s
	}
	return style + s + reset
}

// Print adds a diagnostic, with an empty line before it if it is not the first.
func (p *Printer) Print(diag *hcl.Diagnostic) {
	if p.out.Len() > 0 {
		p.out.WriteByte('\n')
	}
	word, style := "error:", red
	if diag.Severity == hcl.DiagWarning {
		word, style = "warning:", yellow
	}
	p.prose(p.paint(style, word)+" ", len(word)+1, diag.Summary)
	if diag.Subject != nil {
		p.excerpt(*diag.Subject, style)
	}
	if diag.Detail != "" {
		p.prose("  ", 2, diag.Detail)
	}
	if m, ok := diag.Extra.(Hint); ok && m.Hint() != "" {
		p.prose(p.paint(bold, "hint:")+" ", 6, m.Hint())
	}
}

// prose writes text after a prefix that is indent columns wide, broken between words.
func (p *Printer) prose(prefix string, indent int, s string) {
	p.out.WriteString(prefix)
	column := indent
	for i, word := range strings.Fields(Printable(s)) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case p.Width > 0 && column+1+n > p.Width:
			p.out.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			p.out.WriteByte(' ')
			column++
		}
		p.out.WriteString(word)
		column += n
	}
	p.out.WriteByte('\n')
}

// excerpt writes the place and its first line, with the subject underlined.
func (p *Printer) excerpt(at hcl.Range, style string) {
	fmt.Fprintf(&p.out, "  %s\n", p.paint(blue, Place(at)))
	src := p.Source(at.Filename)
	if at.Empty() || !at.CanSliceBytes(src) {
		return
	}
	from := bytes.LastIndexByte(src[:at.Start.Byte], '\n') + 1
	to := len(src)
	if n := bytes.IndexByte(src[from:], '\n'); n >= 0 {
		to = from + n
	}
	raw := Mask(strings.ToValidUTF8(string(src[from:to]), "?"))
	start := utf8.RuneCountInString(strings.ToValidUTF8(string(src[from:at.Start.Byte]), "?"))
	line := []rune(Printable(strings.TrimRight(raw, "\r")))
	start = min(start, len(line))
	length := utf8.RuneCountInString(strings.ToValidUTF8(string(src[at.Start.Byte:max(at.Start.Byte, min(at.End.Byte, to))]), "?"))
	end := min(start+max(length, 1), max(len(line), start+1))

	gutter := fmt.Sprintf("  %4d | ", at.Start.Line)
	if room := p.Width - len(gutter); p.Width > 0 && len(line) > room && room > 10 {
		line, start, end = crop(line, start, end, room)
	}
	p.out.WriteString(p.paint(blue, gutter) + string(line) + "\n")
	p.out.WriteString(p.paint(blue, "       | ") + strings.Repeat(" ", start) + p.paint(style, strings.Repeat("^", end-start)) + "\n")
}

// crop keeps room runes of a line, with the subject's start among them.
func crop(line []rune, start, end, room int) (cut []rune, from, to int) {
	first := max(0, min(start-room/3, len(line)-room))
	last := min(len(line), first+room)
	cut = append([]rune{}, line[first:last]...)
	if first > 0 {
		cut[0] = '…'
	}
	if last < len(line) {
		cut[len(cut)-1] = '…'
	}
	from = start - first
	return cut, from, max(from+1, min(end-first, room))
}

// Place is file:line.
func Place(at hcl.Range) string { return fmt.Sprintf("%s:%d", Printable(at.Filename), at.Start.Line) }

// Printable replaces characters that could move the cursor or reorder a line: names and
// lines of a file are shown on terminals.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029':
			return '\uFFFD'
		}
		return r
	}, s)
}

// Shorten cuts a text to limit characters.
func Shorten(s string, limit int) string {
	s = strings.ToValidUTF8(s, "?")
	if r := []rune(s); len(r) > limit {
		return string(r[:limit-1]) + "…"
	}
	return s
}

var (
	secretArgument = regexp.MustCompile(`(?i)\b(\w*(?:password|passcode|token|secret|seed)\s*=\s*")((?:[^"\\]|\\.)*)`)
	userInfo       = regexp.MustCompile(`(://)([^\s"]*)(@)`) // greedy: a password may have "/" and "@" in it
)

// Mask covers text that may be a secret in a line of the file. Secrets have no place in the
// file; one that was put there by mistake must not reach a log with the diagnostic.
func Mask(line string) string {
	cover := func(s string) string { return strings.Repeat("*", utf8.RuneCountInString(s)) }
	line = secretArgument.ReplaceAllStringFunc(line, func(s string) string {
		m := secretArgument.FindStringSubmatch(s)
		if m[2] == "prompt" || m[2] == "keyring" || strings.HasPrefix(m[2], "${") {
			return s
		}
		return m[1] + cover(m[2])
	})
	return userInfo.ReplaceAllStringFunc(line, func(s string) string {
		m := userInfo.FindStringSubmatch(s)
		return m[1] + cover(m[2]) + m[3]
	})
}
