package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// TestManPages makes the manual pages. packaging/man runs it with STEPUP_MAN_DIR
// for those of a package: what makes them is only in the tests, so that none of
// it is in the program.
func TestManPages(t *testing.T) {
	dir := os.Getenv("STEPUP_MAN_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	root := rootCommand(&cli.Console{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard, Env: os.Getenv})
	asMarkdown(root)
	date := pagesDate(t)
	err := doc.GenManTreeFromOpts(root, doc.GenManTreeOptions{
		Path: dir, CommandSeparator: "-",
		Header: &doc.GenManHeader{Section: "1", Date: &date, Source: "stepup", Manual: "stepup"},
	})
	if err != nil {
		t.Fatal(err)
	}
	reference, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	page := md2man.Render([]byte("% stepup.hcl 5 " + date.Format("2006-01-02") + " stepup stepup\n" +
		"# NAME\nstepup.hcl - the configuration file of stepup\n\n# DESCRIPTION\n" + forPage(string(reference))))
	if err := os.WriteFile(filepath.Join(dir, "stepup.hcl.5"), page, 0o644); err != nil {
		t.Fatal(err)
	}
	checkPages(t, dir, root)
}

// forPage makes the reference fit a terminal: its tables become lists of terms,
// and its title is that of the page.
func forPage(reference string) string {
	_, body, _ := strings.Cut(reference, "\n")
	var out strings.Builder
	for line := range strings.Lines(body) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		switch {
		case strings.HasPrefix(line, "## "):
			out.WriteString(line[1:])
		case !strings.HasPrefix(line, "|"):
			out.WriteString(line)
		case len(cells) == 3 && strings.Contains(cells[0], "`"):
			fmt.Fprintf(&out, "%s (%s)\n: %s\n\n", strings.TrimSpace(cells[0]), cmp.Or(strings.TrimSpace(cells[1]), "default"), strings.TrimSpace(cells[2]))
		}
	}
	return out.String()
}

// pagesDate is SOURCE_DATE_EPOCH, so that the same source gives the same bytes.
func pagesDate(t *testing.T) time.Time {
	t.Helper()
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		return time.Unix(0, 0).UTC()
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		t.Fatalf("SOURCE_DATE_EPOCH: %v", err)
	}
	return time.Unix(seconds, 0).UTC()
}

// asMarkdown makes the indented examples of the help blocks that are kept as they
// are, and leaves out the line that says when a page was made.
func asMarkdown(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	var out strings.Builder
	indented := false
	for line := range strings.Lines(cmd.Long) {
		if now := strings.HasPrefix(line, "  "); now != indented {
			out.WriteString("\n")
			indented = now
		}
		if indented {
			out.WriteString("  ")
		}
		out.WriteString(line)
	}
	cmd.Long = out.String()
	for _, sub := range cmd.Commands() {
		asMarkdown(sub)
	}
}

// checkPages wants a page for each command that people see, with its flags.
func checkPages(t *testing.T, dir string, cmd *cobra.Command) {
	t.Helper()
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
	page, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Errorf("%s has no page: %v", cmd.CommandPath(), err)
		return
	}
	for _, want := range []string{".SH NAME", ".SH SYNOPSIS", cmd.Name()} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("%s: %q is missing", name, want)
		}
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
			checkPages(t, dir, sub)
		}
	}
}
