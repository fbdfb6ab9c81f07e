package history

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// writeEntries writes entries in the format that the flag names.
func (h *command) writeEntries(entries []*entry, found audit.History) error {
	switch *h.format {
	case cli.FormatJSON:
		if entries == nil {
			entries = []*entry{}
		}
		return h.writeJSON(struct {
			Files       []string `json:"files"`
			BrokenLines int      `json:"broken_lines"`
			Entries     []*entry `json:"entries"`
		}{found.Files, found.Broken, entries})
	case formatCSV:
		return h.writeCSV(entryTable(entries))
	}
	if len(entries) == 0 {
		h.Say("the audit log has nothing of that kind")
		return nil
	}
	return h.writeText(entryLines(entries))
}

func (h *command) writeSummary(s summary) error {
	switch *h.format {
	case cli.FormatJSON:
		return h.writeJSON(s)
	case formatCSV:
		return h.writeCSV(summaryTable(s))
	}
	h.Say("%s since %s", cli.Counted(s.Total.StepUps, "step-up"), s.From.Local().Format(timeLayout))
	if len(s.Rules) == 0 {
		return nil
	}
	h.Say("")
	return h.writeText(summaryLines(s))
}

// writeJSON writes v for programs; a terminal that shows it has nothing to obey.
func (h *command) writeJSON(v any) error {
	var b bytes.Buffer
	if err := cli.WriteJSON(&b, v); err != nil {
		return err
	}
	_, err := h.Out.Write(audit.Printable(b.Bytes()))
	return err
}

// writeText writes a table. Its cells are printable.
func (h *command) writeText(rows [][]string) error {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		h.Say("%s", strings.TrimRight(line, " \n"))
	}
	return nil
}

func (h *command) writeCSV(rows [][]string) error {
	cell := harmless()
	w := csv.NewWriter(h.Out)
	for _, row := range rows {
		for i := range row {
			row[i] = cell(row[i])
		}
		if err := w.Write(row); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// harmless returns what makes a text harmless for a spreadsheet: a program of the name
// =HYPERLINK(…) or @SUM(…) must not run in front of the person who reads the table. A
// spreadsheet whose separator is the semicolon, as in much of Europe, begins a cell after
// each of them, whatever the quotes.
func harmless() func(string) string {
	formula := regexp.MustCompile(`(^|;)([\s"']*[=+\-@＝＋－＠])`)
	return func(s string) string { return formula.ReplaceAllString(cli.PrintableLine(s), "$1'$2") }
}

const timeLayout = "2006-01-02 15:04:05"

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

func entryLines(entries []*entry) [][]string {
	rows := [][]string{{"TIME", "EVENT", "RULE", "PROGRAM", "REQUEST", "ANSWERED", "TOOK", "USES"}}
	for _, e := range entries {
		rows = append(rows, []string{
			e.Time.Local().Format(timeLayout), short(string(e.Event)), ruleText(e), programText(e), requestText(e), answerText(e),
			tookText(e), usesText(e),
		})
	}
	return rows
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

func programText(e *entry) string {
	text := short(e.Program)
	switch {
	case e.Requester.PID != 0 && text != "":
		return fmt.Sprintf("%s (%d)", text, e.Requester.PID)
	case e.Requester.PID != 0:
		return fmt.Sprintf("pid %d", e.Requester.PID)
	case text == "" && e.Requester.Hidden:
		return "(hidden)"
	}
	return text
}

func requestText(e *entry) string {
	text := strings.TrimSpace(e.Operation + " " + e.Path)
	if e.Namespace != "" {
		text += " in " + e.Namespace
	}
	if e.Event == audit.Refused {
		text = e.Method // why
	}
	return short(text)
}

// answerText says where the question was answered, and what it was about.
func answerText(e *entry) string {
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
	if e.Event != audit.Refused {
		parts = append(parts, short(e.Method))
	}
	if e.Prompts > 1 {
		parts = append(parts, fmt.Sprintf("%d prompts", e.Prompts))
	}
	return strings.Trim(strings.Join(parts, ", "), ", ")
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

func entryTable(entries []*entry) [][]string {
	rows := [][]string{{
		"time", "event", "rule", "vault", "namespace", "path", "operation", "method", "kind", "prompter", "program", "pid", "exe",
		"prompts", "resent", "duration_ms", "uses", "token",
	}}
	for _, e := range entries {
		rows = append(rows, []string{
			e.Time.UTC().Format(time.RFC3339Nano), string(e.Event), e.Rule, e.Vault, e.Namespace, e.Path, e.Operation, e.Method, e.Kind,
			e.Prompter, e.Program, strconv.Itoa(e.Requester.PID), e.Requester.Exe, strconv.Itoa(e.Prompts), strconv.FormatBool(e.Resent),
			strconv.FormatInt(e.DurationMS, 10), strconv.Itoa(e.Uses), e.Token,
		})
	}
	return rows
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

func percent(rate float64) string { return strconv.FormatFloat(rate*100, 'f', 0, 64) + " %" }

func summaryTable(s summary) [][]string {
	rows := [][]string{{
		"rule", "step_ups", "approved", "denied", "timeout", "rejected", "withdrawn", "unanswered", "failure_rate", "median_ms", "p95_ms",
		"prompts", "resent", "resend_rate", "uses",
	}}
	line := func(name string, f figures) []string {
		rate := func(r float64) string { return strconv.FormatFloat(r, 'f', 4, 64) }
		count := strconv.Itoa
		return []string{
			name, count(f.StepUps), count(f.Approved), count(f.Denied), count(f.Timeout), count(f.Rejected), count(f.Withdrawn),
			count(f.Unanswered), rate(f.FailureRate), strconv.FormatInt(f.MedianMS, 10), strconv.FormatInt(f.P95MS, 10), count(f.Prompts),
			count(f.Resent), rate(f.ResendRate), count(f.Uses),
		}
	}
	for _, f := range s.Rules {
		rows = append(rows, line(f.Rule, f))
	}
	return append(rows, line("(all)", s.Total))
}
