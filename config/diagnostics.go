package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Diagnostics are the errors and warnings of one file, in the order of the file. The zero
// value has none.
type Diagnostics struct {
	list hcl.Diagnostics
	src  []byte
}

// All returns the diagnostics. Where there is a file, each has a Subject within
// it. The caller must not change them.
func (d Diagnostics) All() hcl.Diagnostics { return d.list }

// HasErrors reports whether the file cannot be used.
func (d Diagnostics) HasErrors() bool { return d.list.HasErrors() }

// Err returns nil without errors, and else one line with the first of them.
func (d Diagnostics) Err() error {
	lines := d.lines(hcl.DiagError)
	switch len(lines) {
	case 0:
		return nil
	case 1:
		return errors.New(lines[0])
	case 2:
		return errors.New(lines[0] + " (and 1 more error)")
	}
	return fmt.Errorf("%s (and %d more errors)", lines[0], len(lines)-1)
}

// Warnings returns a line for each warning, for a log.
func (d Diagnostics) Warnings() []string { return d.lines(hcl.DiagWarning) }

func (d Diagnostics) lines(severity hcl.DiagnosticSeverity) []string {
	var out []string
	for _, diag := range d.list {
		if diag.Severity != severity {
			continue
		}
		line := diag.Summary
		if diag.Subject != nil {
			line = fmt.Sprintf("%s:%d: %s", filepath.Base(diag.Subject.Filename), diag.Subject.Start.Line, line)
		}
		out = append(out, printable(line))
	}
	return out
}

// Write prints every diagnostic with its place and the lines of the file. Text
// is broken, and long lines of the file are cut, at width columns; 0 does
// neither.
func (d Diagnostics) Write(w io.Writer, width int, color bool) error {
	p := printer{width: width, color: color, src: d.src}
	for i, diag := range d.list {
		if i > 0 {
			p.out.WriteByte('\n')
		}
		p.diagnostic(diag)
	}
	_, err := io.WriteString(w, p.out.String())
	return err
}

// A file is the text that is being read, with the meaning of its variables and its errors.
type file struct {
	opt   Options
	name  string
	src   []byte
	diags hcl.Diagnostics
}

// diagnostic is the message at a place, with itself as Extra.
func (m message) diagnostic(severity hcl.DiagnosticSeverity, at *hcl.Range) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: severity, Summary: m.summary, Detail: m.detail, Subject: at, Extra: m}
}

// withoutPlace is about a file that is not read.
func withoutPlace(m message) Diagnostics {
	return Diagnostics{list: hcl.Diagnostics{m.diagnostic(hcl.DiagError, nil)}}
}

func (f *file) fail(at hcl.Range, m message) {
	f.diags = append(f.diags, m.diagnostic(hcl.DiagError, &at))
}

func (f *file) warn(at hcl.Range, m message) {
	f.diags = append(f.diags, m.diagnostic(hcl.DiagWarning, &at))
}

// start is the place of diagnostics that concern the whole file.
func (f *file) start() hcl.Range {
	return hcl.Range{Filename: f.name, Start: hcl.InitialPos, End: hcl.InitialPos}
}

// finish sorts by place. It moves subjects that the parser has put outside of the file into
// it, so that they can be printed.
func (f *file) finish() Diagnostics {
	for _, diag := range f.diags {
		if diag.Subject == nil || diag.Subject.Start.Line < 1 {
			at := f.start()
			diag.Subject = &at
		}
		at := *diag.Subject
		at.End.Byte = min(max(at.End.Byte, 0), len(f.src))
		at.Start.Byte = min(max(at.Start.Byte, 0), at.End.Byte)
		diag.Subject = &at
	}
	slices.SortStableFunc(f.diags, func(x, y *hcl.Diagnostic) int {
		return cmp.Compare(x.Subject.Start.Byte, y.Subject.Start.Byte)
	})
	return Diagnostics{list: f.diags, src: f.src}
}

// syntaxErrors brings the errors of the HCL parser into our style. A quote that is not closed
// is an error of each line that follows: only the first of such a run is kept.
func syntaxErrors(diags hcl.Diagnostics) hcl.Diagnostics {
	var out hcl.Diagnostics
	last := map[string]int{} // line by summary
	for _, diag := range diags {
		if diag.Subject != nil {
			line, seen := last[diag.Summary]
			last[diag.Summary] = diag.Subject.Start.Line
			if seen && diag.Subject.Start.Line <= line+1 {
				continue
			}
		}
		ours := *diag
		ours.Summary = "syntax: " + lower(diag.Summary)
		ours.Detail = lower(strings.TrimSuffix(diag.Detail, "."))
		out = append(out, &ours)
	}
	return out
}

func lower(s string) string {
	if len(s) > 1 && s[1] >= 'a' && s[1] <= 'z' {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}
