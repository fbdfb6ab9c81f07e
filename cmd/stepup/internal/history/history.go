// Package history is the command stepup history: what the audit log says about step-ups,
// one line for each, and how well they went.
package history

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

const formatCSV = "csv"

// summaryTime is what a summary is about where --since does not say more: the time in which
// a roll-out is watched.
const summaryTime = 14 * 24 * time.Hour

// A command is stepup history with its flags.
type command struct {
	*cli.Console
	format  *string
	file    string
	summary bool
	from    time.Time // zero means all
	filter  filter
}

// Command is stepup history.
func Command(c *cli.Console) *cobra.Command {
	h := &command{Console: c}
	cmd := &cobra.Command{Use: "history", Short: "show what was asked and answered", Long: textLong, Args: cli.Takes(0)}
	h.format = cli.ChoiceFlag(cmd, "format", "how the result is written", "text", cli.FormatJSON, formatCSV)
	flags := cmd.Flags()
	since := flags.String("since", "", "leave out what is older: 12h, 7d, 2w, 2026-11-29 or a time in RFC 3339")
	flags.StringVar(&h.filter.rule, "rule", "", `only this rule; "" for logins`)
	flags.StringVar(&h.filter.program, "program", "", "only this program: its name or path, with * for any rest")
	flags.StringVar(&h.file, "file", "", "audit log to read (default: that of the configuration)")
	flags.BoolVar(&h.summary, "summary", false, "show how well it went, in the last two weeks")
	cli.CompleteFlag(cmd, "rule", c.CompleteRule)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		h.filter.byRule = flags.Changed("rule")
		return h.run(*since, time.Now())
	}
	return cmd
}

func (h *command) run(since string, now time.Time) error {
	switch {
	case since != "":
		from, err := parseSince(since, now)
		if err != nil {
			return cli.Usage(fmt.Errorf("--since: %w", err), "write it as in --since 7d, --since 2026-11-29 or --since 2026-11-29T08:00:00Z")
		}
		h.from = from
	case h.summary:
		h.from = now.Add(-summaryTime)
	}
	file, err := h.logFile()
	if err != nil {
		return err
	}
	found, err := audit.Read(file)
	if err != nil {
		return h.unreadable(file, err)
	}
	entries := h.filter.apply(entriesOf(found.Records), h.from)
	if h.summary {
		err = h.writeSummary(summarise(entries, h.from, now))
	} else {
		err = h.writeEntries(entries, found)
	}
	h.reportGaps(found)
	return err
}

// logFile is the audit log that the flag or the configuration names.
func (h *command) logFile() (string, error) {
	if h.file != "" {
		return h.file, nil
	}
	c, err := h.Load()
	if err != nil {
		return "", err
	}
	if c.Audit.File == "" {
		return "", &cli.Error{
			Err:  errors.New("the configuration has no audit log in a file, so nothing is kept that could be shown"),
			Hint: fmt.Sprintf(`add audit { file = "${state_dir}/audit.jsonl" } to %s`, cli.Printable(c.File)),
		}
	}
	return c.Audit.File, nil
}

// unreadable explains why there is nothing to show.
func (h *command) unreadable(file string, err error) error {
	name := cli.Printable(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &cli.Error{
			Err:  fmt.Errorf("there is no audit log at %s", name),
			Hint: "an agent with this configuration writes it; `stepup status` says which configuration is in force",
		}
	case errors.Is(err, fs.ErrPermission):
		return &cli.Error{
			Err:  fmt.Errorf("the audit log %s cannot be read: permission denied", name),
			Hint: "only the user whose agent writes it may read it: run this as that user, or read a copy with --file",
		}
	}
	return fmt.Errorf("the audit log %s cannot be read: %s", name, cli.Printable(err.Error()))
}

// reportGaps says what the result may lack.
func (h *command) reportGaps(found audit.History) {
	if n := found.Broken; n > 0 {
		h.Notify("warning: left out %s of the audit log that cannot be read, cut off perhaps", cli.Counted(n, "line"))
	}
	for _, err := range found.Skipped {
		h.Notify("warning: a rotated file is left out: %s", cli.Printable(err.Error()))
	}
}

const textLong = `Shows what the audit log has, with the files that it was rotated to: which
program asked for what, when and where it was answered, how long that took, and
how many more requests the step-up token has served. The newest is the last.

With --summary it shows for each rule how many step-ups there were, the share
that failed, how long approvals took (the median, and the time within which 95 %
were done) and the share in which a code or a push was asked for more than once;
of the last two weeks, if --since does not say more.

--format json gives one object, csv a table for spreadsheets, in which ' stands
before text that a spreadsheet would take for a formula.`
