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

// Diagnostics is everything that is to be said about one file, in the order of
// the file. The zero value says nothing.
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

// A way out of a problem travels in Diagnostic.Extra.
type wayOut string

func (d *decoder) fail(at hcl.Range, m message) { d.add(hcl.DiagError, at, m) }

func (d *decoder) warn(at hcl.Range, m message) { d.add(hcl.DiagWarning, at, m) }

func (d *decoder) add(severity hcl.DiagnosticSeverity, at hcl.Range, m message) {
	d.diags = append(d.diags, &hcl.Diagnostic{
		Severity: severity, Summary: m.summary, Detail: m.detail, Extra: wayOut(m.way), Subject: &at,
	})
}

// start is the place of what concerns the file as a whole.
func (d *decoder) start() hcl.Range {
	return hcl.Range{Filename: d.name, Start: hcl.InitialPos, End: hcl.InitialPos}
}

// finish sorts by place. Every subject ends up inside the file, whatever the
// parser said, so that printing cannot go wrong.
func (d *decoder) finish() Diagnostics {
	for _, diag := range d.diags {
		if diag.Subject == nil || diag.Subject.Start.Line < 1 {
			at := d.start()
			diag.Subject = &at
		}
		at := *diag.Subject
		at.End.Byte = min(max(at.End.Byte, 0), len(d.src))
		at.Start.Byte = min(max(at.Start.Byte, 0), at.End.Byte)
		diag.Subject = &at
	}
	slices.SortStableFunc(d.diags, func(x, y *hcl.Diagnostic) int {
		return cmp.Compare(x.Subject.Start.Byte, y.Subject.Start.Byte)
	})
	return Diagnostics{list: d.diags, src: d.src}
}

// withoutPlace is about a file that is not read.
func withoutPlace(m message) Diagnostics {
	return Diagnostics{list: hcl.Diagnostics{{
		Severity: hcl.DiagError, Summary: m.summary, Detail: m.detail, Extra: wayOut(m.way),
	}}}
}

// syntaxErrors takes over what the HCL parser says. A quote that is not closed
// is an error of each line that follows: only the first of such a run is told.
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
		out = append(out, restyle(diag))
	}
	return out
}

// restyle puts a diagnostic of the HCL parser into our style.
func restyle(diag *hcl.Diagnostic) *hcl.Diagnostic {
	out := *diag
	out.Summary = "syntax: " + lower(diag.Summary)
	out.Detail = lower(strings.TrimSuffix(diag.Detail, "."))
	return &out
}

func lower(s string) string {
	if len(s) > 1 && s[1] >= 'a' && s[1] <= 'z' {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}
