package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/e2e/vaultbin"
)

// A result is one row of the report: a value of each round.
type result struct {
	what, unit, aim string
	values          []float64
}

// ratios divides round by round, so that what disturbs a round disturbs both of its sides.
func ratios(a, b []float64) []float64 {
	all := make([]float64, min(len(a), len(b)))
	for i := range all {
		all[i] = a[i] / b[i]
	}
	return all
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// figures are what one side has measured in each round.
type figures []figure

func (all figures) rates() []float64 { return all.of(func(f figure) float64 { return f.rate }) }
func (all figures) cpus() []float64  { return all.of(func(f figure) float64 { return f.cpu }) }

func (all figures) of(part func(figure) float64) (values []float64) {
	for _, f := range all {
		values = append(values, part(f))
	}
	return values
}

// A report is what a run has measured.
type report struct {
	machine string
	plan    plan
	streams int // that were open
	results []result
	sides   []string // rows of the table of sides
	bars    []bar    // of the chart
}

func (r *report) add(what, unit, aim string, values ...float64) {
	r.results = append(r.results, result{what: what, unit: unit, aim: aim, values: values})
	fmt.Fprintf(os.Stderr, "%s: %s\n", what, format(median(values), unit))
}

// addSide adds a row of absolute numbers.
func (r *report) addSide(s side, all figures) {
	cpu, memory := "", ""
	if s.process != nil {
		cpu, memory = format(median(all.cpus()), "µs"), format(s.process.memory("VmRSS")/1024, "MiB")
	}
	if slices.Contains(charted(), s.name) {
		r.bars = append(r.bars, bar{s.name, median(all.cpus())})
	}
	p50 := median(all.of(func(f figure) float64 { return f.p50 }))
	p99 := median(all.of(func(f figure) float64 { return f.p99 }))
	r.sides = append(r.sides, fmt.Sprintf("| %s | %s | %s | %s | %s | %s |", s.name,
		format(median(all.rates()), ""), cpu, format(p50, "ms"), format(p99, "ms"), memory))
}

// format writes a number with three digits that mean something.
func format(v float64, unit string) string {
	digits := 2
	switch {
	case v >= 100:
		digits = 0
	case v >= 10:
		digits = 1
	}
	return strings.TrimSpace(strconv.FormatFloat(v, 'f', digits, 64) + " " + unit)
}

const introduction = `# How fast stepup is

<!-- Written by make bench BENCH=full: change e2e/bench, not this file. -->

%s

%s

Everything is on loopback and shares these cores: the load, an upstream that answers half a KiB of JSON with as little work as can be,
and the proxies, each in a process of its own. "bare" is an ` + "`httputil.ReverseProxy`" + ` with the transport of stepup. Vault Proxy
is %s. All sides take turns in each round, in another order each time, and ratios are taken within a round. The table shows the
median of %d rounds of %v, and the smallest and the largest one; %d streams were open. "Before" is the result that was committed
before, and the change since then.

| what | median | smallest to largest | aim | before |
|---|---|---|---|---|
`

// write writes the report in Markdown, beside the results that were committed before.
func (r *report) write(w io.Writer, before map[string]string) {
	fmt.Fprintf(w, introduction, time.Now().UTC().Format("2 January 2006"), r.machine,
		vaultbin.Version, r.plan.rounds, r.plan.round, r.streams)
	for _, x := range r.results {
		spread := ""
		if len(x.values) > 1 {
			spread = format(slices.Min(x.values), "") + " to " + format(slices.Max(x.values), "")
		}
		value := format(median(x.values), x.unit)
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", x.what, value, spread, x.aim, compare(value, before[x.what]))
	}
	if len(r.sides) > 0 {
		fmt.Fprint(w, "\nRelayed with 16 connections:\n\n| side | requests/s | CPU per request | p50 | p99 | memory after it |\n|---|---|---|---|---|---|\n")
		fmt.Fprintln(w, strings.Join(r.sides, "\n"))
	}
}

// writeChart draws the sides into file, if they were measured.
func (r *report) writeChart(file string) error {
	if len(r.bars) == 0 {
		return nil
	}
	var text bytes.Buffer
	if err := chart(&text, r.bars); err != nil {
		return err
	}
	return os.WriteFile(file, text.Bytes(), 0o644)
}

// compare adds to an earlier value by how much the new one differs.
func compare(value, before string) string {
	var now, then float64
	_, err := fmt.Sscan(value, &now)
	if _, err2 := fmt.Sscan(before, &then); err != nil || err2 != nil || then == 0 {
		return before
	}
	return fmt.Sprintf("%s (%+.0f %%)", before, 100*(now-then)/then)
}

// committed reads the medians of a report.
func committed(file string) map[string]string {
	text, _ := os.ReadFile(file)
	found := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, " | "); len(cells) == 5 {
			found[strings.TrimPrefix(cells[0], "| ")] = cells[1]
		}
	}
	return found
}

// machine describes this one without its name, and what else it has to do.
func machine() string {
	model := textIn("/proc/cpuinfo", `(?m)^model name\s*:\s*(.*)$`)
	kernel := textIn("/proc/sys/kernel/osrelease", `^(\d+\.\d+)`)
	text := fmt.Sprintf("%s, %d cores, Linux %s, %s", model, runtime.NumCPU(), kernel, runtime.Version())
	load := numberIn("/proc/loadavg", regexp.MustCompile(`^([\d.]+)`))
	if load < 0.5 {
		return text + "; nothing else ran."
	}
	return text + fmt.Sprintf(". **Other programs used the cores, too** (load average %.1f at the start): compare the ratios only.", load)
}

func textIn(file, pattern string) string {
	text, _ := os.ReadFile(file)
	if m := regexp.MustCompile(pattern).FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return "unknown"
}

// descriptors is how many files a process may open here.
func descriptors() int {
	return int(numberIn("/proc/self/limits", regexp.MustCompile(`Max open files\s+\d+\s+(\d+)`)))
}
