package history

import (
	"bytes"
	"encoding/csv"
	"regexp"
	"strconv"
	"time"

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
	h.sayLines(entryText(entries, h.ResultWidth()))
	return nil
}

func (h *command) writeSummary(s summary) error {
	switch *h.format {
	case cli.FormatJSON:
		return h.writeJSON(s)
	case formatCSV:
		return h.writeCSV(summaryTable(s))
	}
	h.Say("%s since %s", cli.Counted(s.Total.StepUps, "step-up"), s.From.Local().Format(timeLayout))
	if len(s.Rules) > 0 {
		h.Say("")
		h.sayLines(summaryText(s, h.ResultWidth()))
	}
	return nil
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

func (h *command) sayLines(lines []string) {
	for _, line := range lines {
		h.Say("%s", line)
	}
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
