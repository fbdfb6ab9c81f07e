package terminal

import (
	"strings"
)

// Bounds of a wrapped line.
const (
	fewestColumns = 24 // a screen that says it has fewer is written to as if it had these
	answerColumns = 10 // are left behind a question for what is typed
)

// inset is in front of what continues a line.
const inset = "    "

// A layout says how text is put on a screen.
type layout struct {
	columns int  // 0 when unknown: nothing is wrapped
	framed  bool // the screen has the characters of a frame
	colour  bool // and colours, and the person wants them
}

// on looks at the screen as it is now: a window may have another size at each line.
func (l layout) on(tty TTY) layout {
	if screen, ok := tty.(measuredTTY); ok {
		if columns, _ := screen.Size(); columns > 0 {
			l.columns = max(columns, fewestColumns)
		}
	}
	return l
}

// block lays a block out: its first line is the heading, and the others have two blanks in
// front, or more where they are part of a drawing.
func (l layout) block(text string) string {
	var b strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		switch {
		case i == 0 && l.framed:
			// Set in by as much as the others, for the frame.
			for n, part := range wrap("  "+line, l.columns, inset) {
				b.WriteString(l.edge(part, pick(n == 0, "╭", "│"), true) + "\n")
			}
		case i == 0:
			for _, part := range wrap(line, l.columns, inset) {
				b.WriteString(l.heading(part) + "\n")
			}
		case strings.HasPrefix(line, "   "):
			b.WriteString(l.edge(line, "│", false) + "\n")
		default:
			for _, part := range wrap(line, l.columns, inset) {
				b.WriteString(l.edge(part, "│", false) + "\n")
			}
		}
	}
	return b.String()
}

// question lays the question below a block out. It keeps its end: a blank or a newline.
func (l layout) question(text string) string {
	line := strings.TrimRight(text, " \n")
	parts := wrap(line, l.columns-answerColumns, inset)
	if l.columns == 0 {
		parts = []string{line}
	}
	for i, part := range parts {
		parts[i] = l.edge(part, pick(i == len(parts)-1, "╰", "│"), false)
	}
	return strings.Join(parts, "\n") + text[len(line):]
}

// edge draws the frame in the place of the first blank of a line.
func (l layout) edge(line, corner string, heading bool) string {
	rest, set := strings.CutPrefix(line, " ")
	switch {
	case !l.framed, line != "" && !set:
		return line
	case heading:
		text := strings.TrimLeft(rest, " ")
		rest = rest[:len(rest)-len(text)] + l.heading(text)
	}
	if l.colour {
		corner = "\x1b[33m" + corner + "\x1b[0m"
	}
	return corner + rest
}

func (l layout) heading(line string) string {
	if !l.colour {
		return line
	}
	return "\x1b[1m" + line + "\x1b[0m"
}

func pick(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// wrap breaks a line of ASCII where it is wider than columns: at a blank, else behind a
// slash, else anywhere. What follows is set in, so that a stranger's text can begin no line.
// 0 and less is no width.
func wrap(line string, columns int, inset string) []string {
	var parts []string
	for columns > len(inset) && len(line) > columns {
		start := len(line) - len(strings.TrimLeft(line, " "))
		end := strings.LastIndexByte(line[:columns+1], ' ')
		if end < max(start+1, columns/2) {
			end = strings.LastIndexByte(line[:columns], '/') + 1
		}
		if end < max(start+1, columns/2) {
			end = columns
		}
		parts = append(parts, strings.TrimRight(line[:end], " "))
		line = inset + strings.TrimLeft(line[end:], " ")
	}
	return append(parts, line)
}
