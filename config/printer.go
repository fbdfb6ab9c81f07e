package config

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

// A printer lays out diagnostics for a terminal.
type printer struct {
	width int
	color bool
	src   []byte
	out   strings.Builder
}

const (
	bold   = "\x1b[1m"
	red    = "\x1b[1;31m"
	yellow = "\x1b[1;33m"
	blue   = "\x1b[34m"
	reset  = "\x1b[0m"
)

func (p *printer) paint(style, s string) string {
	if !p.color {
		return s
	}
	return style + s + reset
}

func (p *printer) diagnostic(diag *hcl.Diagnostic) {
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
	if m, ok := diag.Extra.(message); ok && m.fix != "" {
		p.prose(p.paint(bold, "hint:")+" ", 6, m.fix)
	}
}

// prose writes text after a prefix that is indent columns wide, broken between words.
func (p *printer) prose(prefix string, indent int, s string) {
	p.out.WriteString(prefix)
	column := indent
	for i, word := range strings.Fields(printable(s)) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case p.width > 0 && column+1+n > p.width:
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
func (p *printer) excerpt(at hcl.Range, style string) {
	fmt.Fprintf(&p.out, "  %s\n", p.paint(blue, fmt.Sprintf("%s:%d", printable(at.Filename), at.Start.Line)))
	if at.Empty() || !at.CanSliceBytes(p.src) {
		return
	}
	from := bytes.LastIndexByte(p.src[:at.Start.Byte], '\n') + 1
	to := len(p.src)
	if n := bytes.IndexByte(p.src[from:], '\n'); n >= 0 {
		to = from + n
	}
	raw := mask(strings.ToValidUTF8(string(p.src[from:to]), "?"))
	start := utf8.RuneCountInString(strings.ToValidUTF8(string(p.src[from:at.Start.Byte]), "?"))
	line := []rune(printable(strings.TrimRight(raw, "\r")))
	start = min(start, len(line))
	length := utf8.RuneCountInString(strings.ToValidUTF8(string(p.src[at.Start.Byte:max(at.Start.Byte, min(at.End.Byte, to))]), "?"))
	end := min(start+max(length, 1), max(len(line), start+1))

	gutter := fmt.Sprintf("  %4d | ", at.Start.Line)
	if room := p.width - len(gutter); p.width > 0 && len(line) > room && room > 10 {
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

// printable replaces characters that could move the cursor or reorder a line: names and
// lines of a file are shown on terminals.
func printable(s string) string {
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

func shorten(s string, limit int) string {
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

// mask covers text that may be a secret in a line of the file. Secrets have no place in the
// file; one that was put there by mistake must not reach a log with the diagnostic.
func mask(line string) string {
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
