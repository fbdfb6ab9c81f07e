package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/vault-stepup/stepup/config/excerpt"
	"github.com/vault-stepup/stepup/config/layers"
)

// Diagnostics are the errors and warnings of all files, in the order in which they were read.
// The zero value has none.
type Diagnostics struct {
	list hcl.Diagnostics
	tree *layers.Tree // nil where nothing was read
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
			line = excerpt.Place(*diag.Subject) + ": " + line
		}
		out = append(out, excerpt.Printable(line))
	}
	return out
}

// Write prints every diagnostic with its place and the lines of the file. Text
// is broken, and long lines of the file are cut, at width columns; 0 does
// neither.
func (d Diagnostics) Write(w io.Writer, width int, color bool) error {
	p := excerpt.Printer{Width: width, Color: color, Source: d.tree.Text}
	for _, diag := range d.list {
		p.Print(diag)
	}
	_, err := io.WriteString(w, p.String())
	return err
}

// A file is the text that is being read, with the meaning of its variables and its errors.
type file struct {
	opt   Options
	name  string       // of the user's own file
	tree  *layers.Tree // with the texts; nil while they are read
	vars  map[string]string
	diags hcl.Diagnostics
}

// problem takes over one of the files as such.
func (f *file) problem(p layers.Problem) {
	m, severity, at := message{p.Summary, p.Detail, p.Hint}, hcl.DiagError, &p.At
	if p.Warning {
		severity = hcl.DiagWarning
	}
	if p.At.Filename == "" {
		at = nil
	}
	f.diags = append(f.diags, m.diagnostic(severity, at))
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

// finish sorts by place: what has none, then file by file. It moves subjects that the parser has
// put outside of their file into it, so that they can be printed.
func (f *file) finish() Diagnostics {
	order := map[string]int{}
	for i, s := range f.tree.Sources {
		order[s.Path] = i + 1
	}
	for _, diag := range f.diags {
		if diag.Subject == nil {
			at := hcl.Range{}
			diag.Subject = &at
			continue
		}
		at := *diag.Subject
		if at.Start.Line < 1 {
			at = f.start()
		}
		at.End.Byte = min(max(at.End.Byte, 0), len(f.tree.Text(at.Filename)))
		at.Start.Byte = min(max(at.Start.Byte, 0), at.End.Byte)
		diag.Subject = &at
	}
	slices.SortStableFunc(f.diags, func(x, y *hcl.Diagnostic) int {
		return cmp.Or(cmp.Compare(order[x.Subject.Filename], order[y.Subject.Filename]), cmp.Compare(x.Subject.Start.Byte, y.Subject.Start.Byte))
	})
	for _, diag := range f.diags {
		if diag.Subject.Filename == "" {
			diag.Subject = nil
		}
	}
	return Diagnostics{list: f.diags, tree: f.tree}
}
