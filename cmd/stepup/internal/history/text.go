package history

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// maxCell is how many characters a cell of the table for people has.
const maxCell = 60

// short is s for people.
func short(s string) string {
	s = cli.Printable(s)
	if utf8.RuneCountInString(s) <= maxCell {
		return s
	}
	return string([]rune(s)[:maxCell-1]) + "…"
}

// cut is s with at most n characters. What it lacks was in the middle: a path says at its end
// what it is about.
func cut(s string, n int) string {
	all := []rune(s)
	if len(all) <= n {
		return s
	}
	n = max(n, 2)
	head := (n - 1) / 3
	return string(all[:head]) + "…" + string(all[len(all)-(n-1-head):])
}

// tableLines are the lines of a table.
func tableLines(rows [][]string) (lines []string) {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	_ = table.Flush() // a Builder takes all
	for line := range strings.Lines(b.String()) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return lines
}

func widest(lines []string) (n int) {
	for _, line := range lines {
		n = max(n, utf8.RuneCountInString(line))
	}
	return n
}

// dropEmpty leaves a column out of a table if no row but the first has something in it.
func dropEmpty(rows [][]string, column int, nothing string) {
	if slices.ContainsFunc(rows[1:], func(row []string) bool { return row[column] != nothing }) {
		return
	}
	for i, row := range rows {
		rows[i] = slices.Delete(row, column, column+1)
	}
}

// entryText are entries for people: a table; if that is wider than width, one without seconds,
// process numbers and empty columns; else two lines and more for each entry.
func entryText(entries []*entry, width int) (lines []string) {
	if lines = tableLines(entryLines(entries, false)); widest(lines) <= width {
		return withReasons(lines, entries, width)
	}
	rows := entryLines(entries, true)
	for column := len(rows[0]) - 1; column >= 0; column-- {
		dropEmpty(rows, column, "")
	}
	if lines = tableLines(rows); widest(lines) <= width {
		return withReasons(lines, entries, width)
	}
	lines = nil
	for _, e := range entries {
		lines = append(lines, entryParagraph(e, width)...)
		lines = append(lines, reasonText(e, width)...)
	}
	return lines
}

// withReasons puts the reason of an entry below its line of a table.
func withReasons(table []string, entries []*entry, width int) []string {
	lines := table[:1:1]
	for i, e := range entries {
		lines = append(lines, table[i+1])
		lines = append(lines, reasonText(e, width)...)
	}
	return lines
}

// inset is before the lines of an entry after its first one.
const inset = "    "

// reasonText has the lines of the reason of an entry, none without one.
func reasonText(e *entry, width int) (lines []string) {
	line := inset
	for _, word := range strings.Fields(cli.Printable(e.Reason)) {
		if line != inset && utf8.RuneCountInString(line+" "+word) > width {
			lines, line = append(lines, line), inset
		}
		if line != inset {
			line += " "
		}
		line += cut(word, width-len(inset))
	}
	if line != inset {
		lines = append(lines, line)
	}
	return lines
}

const (
	timeLayout  = "2006-01-02 15:04:05"
	tightLayout = "2006-01-02 15:04"
)

func entryLines(entries []*entry, tight bool) [][]string {
	layout := timeLayout
	if tight {
		layout = tightLayout
	}
	rows := [][]string{{"TIME", "EVENT", "RULE", "PROGRAM", "REQUEST", "ANSWERED", "TOOK", "USES"}}
	for _, e := range entries {
		rows = append(rows, []string{
			e.Time.Local().Format(layout), eventText(e), ruleText(e), programText(e, tight), cut(requestText(e), maxCell),
			answerText(e, tight), tookText(e), usesText(e),
		})
	}
	return rows
}

// entryParagraph has when, what and which request in its first line, so that what a search in
// the lines finds is told from others.
func entryParagraph(e *entry, width int) []string {
	first := fmt.Sprintf("%s  %-9s  ", e.Time.Local().Format(timeLayout), eventText(e))
	lines := []string{strings.TrimRight(first+cut(requestText(e), width-utf8.RuneCountInString(first)), " ")}
	parts := []string{programText(e, false), answerText(e, false)}
	if rule := ruleText(e); rule != "" {
		parts = slices.Insert(parts, 0, "rule "+rule)
	}
	if took := tookText(e); took != "" {
		parts = append(parts, "took "+took)
	}
	if e.Uses > 0 {
		parts = append(parts, cli.Counted(e.Uses, "use"))
	}
	line := ""
	for _, part := range parts {
		switch longer := line + ", " + part; {
		case part == "":
		case line == "":
			line = inset + cut(part, width-len(inset))
		case utf8.RuneCountInString(longer) <= width:
			line = longer
		default:
			lines, line = append(lines, line), inset+cut(part, width-len(inset))
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// eventText is what became of the entry. What was never asked met a cool-down, or waits for its
// turn; a question without an outcome is open, or the agent was killed.
func eventText(e *entry) string {
	switch e.Event {
	case audit.Challenge:
		return "not asked"
	case audit.Prompt:
		return "undecided"
	}
	return short(string(e.Event))
}

func ruleText(e *entry) string {
	switch e.Event {
	case audit.Locked, audit.Resumed, audit.Refused:
		return short(e.Rule)
	}
	return ruleName(e.Rule)
}

// ruleName is a rule for people. Logins have none.
func ruleName(rule string) string {
	if rule == "" {
		return "(login)"
	}
	return short(rule)
}

func programText(e *entry, tight bool) string {
	text := short(e.Program)
	switch {
	case tight && text != "":
		return text
	case e.Requester.PID != 0 && text != "":
		return fmt.Sprintf("%s (%d)", text, e.Requester.PID)
	case e.Requester.PID != 0:
		return fmt.Sprintf("pid %d", e.Requester.PID)
	case text == "" && e.Requester.Hidden:
		return "(hidden)"
	case text == "" && e.Requester.Ended:
		return "(ended)"
	}
	return text
}

// requestText is never cut at its end: a path says there what it is about.
func requestText(e *entry) string {
	text := strings.TrimSpace(e.Operation + " " + e.Path)
	if e.Namespace != "" {
		text += " in " + e.Namespace
	}
	if e.Event == audit.Refused {
		text = e.Method // why
	}
	return cli.Printable(text)
}

// answerText says where the question was answered, and what it was about.
func answerText(e *entry, tight bool) string {
	var parts []string
	switch {
	case e.Prompter != "":
		parts = append(parts, short(e.Prompter))
	case e.Kind == "push" && (e.Event == audit.Approved || e.Event == audit.Denied):
		parts = append(parts, "phone")
	}
	switch e.Keep {
	case "once":
		parts = append(parts, "once")
	case "lock":
		parts = append(parts, "until a lock")
	}
	if e.Event != audit.Refused && e.Method != "" {
		parts = append(parts, short(e.Method))
	}
	if e.Prompts > 1 && !tight {
		parts = append(parts, fmt.Sprintf("%d questions", e.Prompts))
	}
	text := strings.Join(parts, ", ")
	if e.Prompts > 1 && tight {
		return strings.TrimSpace(fmt.Sprintf("%s x%d", text, e.Prompts))
	}
	return text
}

func tookText(e *entry) string {
	if e.DurationMS == 0 || e.Event == audit.Cached {
		return ""
	}
	return seconds(e.DurationMS)
}

func seconds(ms int64) string {
	if ms == 0 {
		return "-"
	}
	if d := time.Duration(ms) * time.Millisecond; d >= 2*time.Minute {
		return cli.Duration(d)
	}
	return strconv.FormatFloat(float64(ms)/1000, 'f', 1, 64) + "s"
}

func usesText(e *entry) string {
	if e.Uses == 0 {
		return ""
	}
	return strconv.Itoa(e.Uses)
}

// firstOutcome and lastOutcome are the columns of a summary that most rules have nothing in.
const firstOutcome, lastOutcome = 3, 7

// summaryText is a summary for people. Outcomes that never came are left out where the table
// is wider than width.
func summaryText(s summary, width int) []string {
	rows := summaryLines(s)
	lines := tableLines(rows)
	for column := lastOutcome; column >= firstOutcome && widest(lines) > width; column-- {
		dropEmpty(rows, column, "0")
		lines = tableLines(rows)
	}
	return lines
}

func summaryLines(s summary) [][]string {
	rows := [][]string{{"RULE", "STEP-UPS", "APPROVED", "DENIED", "TIMEOUT", "REJECTED", "LEFT", "NO ANSWER", "FAILED", "MEDIAN", "95 %", "RESENT", "USES"}}
	line := func(name string, f figures) []string {
		row := []string{name}
		for _, n := range []int{f.StepUps, f.Approved, f.Denied, f.Timeout, f.Rejected, f.Withdrawn, f.Unanswered} {
			row = append(row, strconv.Itoa(n))
		}
		return append(row, percent(f.FailureRate), seconds(f.MedianMS), seconds(f.P95MS), percent(f.ResendRate), strconv.Itoa(f.Uses))
	}
	for _, f := range s.Rules {
		rows = append(rows, line(ruleName(f.Rule), f))
	}
	if len(s.Rules) > 1 {
		rows = append(rows, line("(all)", s.Total))
	}
	return rows
}
