package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// An event is a line of go test -json (go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string // of a build event
	Test       string // "" for the package itself
	Output     string
	Elapsed    float64 // seconds
}

// A skip is a test that did not run.
type skip struct{ pkg, test, reason string }

type test struct{ pkg, name string }

// A report prints what go test would print without -v: a line for each
// package, and of a test only when it failed. It counts as it goes.
type report struct {
	w       io.Writer
	each    bool                      // a line for each test that ends
	pending map[test]*strings.Builder // output of tests that have not ended

	ok             bool
	passed, failed int
	skipped        []skip
}

func newReport(w io.Writer, each bool) *report {
	return &report{w: w, each: each, pending: map[test]*strings.Builder{}, ok: true}
}

// print ends the report with what was skipped and the numbers.
func (r *report) print() {
	if len(r.skipped) > 0 {
		fmt.Fprintf(r.w, "\nskipped:\n")
	}
	slices.SortFunc(r.skipped, func(a, b skip) int {
		return strings.Compare(a.pkg+" "+a.test, b.pkg+" "+b.test)
	})
	for _, k := range r.skipped {
		fmt.Fprintf(r.w, "  %s %s: %s\n", k.pkg, k.test, k.reason)
	}
	fmt.Fprintf(r.w, "\n%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skipped))
}

func (r *report) line(line []byte) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		_, _ = r.w.Write(line) // go test itself has something to say
		return
	}
	id := test{e.Package, e.Test}
	if ended := e.Action == "pass" || e.Action == "fail" || e.Action == "skip"; r.each && ended && e.Test != "" {
		fmt.Fprintf(r.w, "%s\t%s (%.1f s)\n", e.Action, e.Test, e.Elapsed)
	}
	switch {
	case e.Action == "build-output":
		fmt.Fprint(r.w, e.Output)
	case e.Test == "":
		r.pkg(e)
	case e.Action == "output":
		if r.pending[id] == nil {
			r.pending[id] = &strings.Builder{}
		}
		r.pending[id].WriteString(e.Output)
	case e.Action == "pass":
		r.passed++
		delete(r.pending, id)
	case e.Action == "skip":
		r.skipped = append(r.skipped, skip{e.Package, e.Test, reason(r.take(id))})
	case e.Action == "fail":
		r.failed++
		fmt.Fprint(r.w, r.take(id))
	}
}

// pkg handles the events of a package as a whole. One that failed with tests
// still open has panicked or run out of time, and their output says where.
func (r *report) pkg(e event) {
	switch e.Action {
	case "output":
		if e.Output != "PASS\n" && !strings.Contains(e.Output, "[no test files]") {
			fmt.Fprint(r.w, e.Output)
		}
	case "fail":
		r.ok = false
		for id := range r.pending {
			if id.pkg == e.Package {
				r.failed++
				fmt.Fprint(r.w, r.take(id))
			}
		}
	}
}

func (r *report) take(id test) string {
	b := r.pending[id]
	delete(r.pending, id)
	if b == nil {
		return ""
	}
	return b.String()
}

// reason gives what t.Skip was told: the lines that go test did not add itself.
func reason(output string) string {
	var said []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		said = append(said, line)
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, "; ")
}
