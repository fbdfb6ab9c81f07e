package terminal

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

// render returns the block above the question: the requester, its action and the
// reason, in one or more lines that each have an end.
func render(r prompt.Request) string {
	r = r.Sanitized()
	var b strings.Builder
	b.WriteString(prompt.Brief(r) + "\n")
	lines := append([]string{r.Details()}, r.Notes()...)
	if r.Kind == prompt.Confirm || r.TakesCode() {
		lines = append(lines, r.KeepNote())
	}
	if r.Kind == prompt.Choose {
		lines = append(lines, r.NumberedChoices()...)
	}
	for _, line := range lines {
		if line != "" {
			b.WriteString("  " + line + "\n")
		}
	}
	if r.Kind == prompt.Push && r.Number != "" {
		b.WriteString("\n" + largeDigits(r.Number) + "\n")
	}
	return b.String()
}

// question is the line that the answer is typed behind; it ends with a blank.
func question(r prompt.Request, now time.Time) string {
	r = r.Sanitized()
	rest := []string{remaining(r, now), "ctrl-c to deny"}
	switch r.Kind {
	case prompt.Password:
		rest = append([]string{"not shown"}, rest...)
	case prompt.Choose:
		rest = append([]string{"1 to " + strconv.Itoa(len(r.Choices))}, rest...)
	case prompt.Confirm:
		rest = append([]string{"y/N"}, rest...)
	case prompt.Push:
		rest = nil
		if r.MethodType == prompt.ControlGroup && r.ID != "" {
			rest = []string{"to give up: stepup deny " + r.ID}
		}
		return "  " + r.Label(rest...) + "\n"
	}
	return "  " + r.Label(rest...) + ": "
}

// codeQuestion is the line that the code is typed behind that may come with a
// password.
func codeQuestion(r prompt.Request, now time.Time) string {
	r = r.Sanitized()
	r.Kind, r.Method, r.Digits = prompt.Passcode, r.WithCode.Method, r.WithCode.Digits
	return "  " + r.Label("empty to be asked later", remaining(r, now), "ctrl-c to deny") + ": "
}

func remaining(r prompt.Request, now time.Time) string {
	left := r.Deadline.Sub(now).Round(time.Second)
	if r.Deadline.IsZero() || left <= 0 {
		return ""
	}
	return fmt.Sprintf("%d s", int(left/time.Second))
}

// The digits for a terminal, side by side from 0 to 9, of characters that every
// screen has.
const (
	glyphRows = `.###....#...####..####..#...#.#####..###..#####..###...###.
#...#..##.......#.....#.#...#.#.....#.........#.#...#.#...#
#...#...#....###...###..#####.####..####.....#...###...####
#...#...#...#.........#.....#.....#.#...#...#...#...#.....#
.###...###..#####.####......#.####...###....#....###...###.`
	glyphWidth = 5
)

// largeDigits draws a number in rows that each end with a newline; "" where it is no
// number.
func largeDigits(number string) string {
	var b strings.Builder
	for row := range strings.SplitSeq(glyphRows, "\n") {
		row = strings.ReplaceAll(row, ".", " ")
		var line strings.Builder
		for _, digit := range number {
			if digit < '0' || digit > '9' {
				return ""
			}
			at := int(digit-'0') * (glyphWidth + 1)
			line.WriteString("   " + row[at:at+glyphWidth])
		}
		b.WriteString(strings.TrimRight("   "+line.String(), " ") + "\n")
	}
	return b.String()
}
