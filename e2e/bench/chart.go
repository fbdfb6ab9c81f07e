package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// A bar is a side of the chart: its name and its CPU time for a request, in microseconds.
type bar struct {
	name string
	cpu  float64
}

// charted are the sides of the chart. The others have a row in the report.
func charted() []string {
	return []string{"nginx", "haproxy", "stepup, no rule", "bare", "Vault Proxy"}
}

// chartNames says what a side is to a reader of the README.
func chartNames() map[string]string {
	return map[string]string{"stepup, no rule": "stepup", "bare": "Go's ReverseProxy"}
}

const (
	chartWidth = 640
	labelWidth = 150
	barHeight  = 18
	rowHeight  = 28
)

// chart draws the bars, the shortest first. Its colours can be read on light and dark pages.
func chart(w io.Writer, bars []bar) error {
	bars = slices.SortedFunc(slices.Values(bars), func(a, b bar) int {
		switch {
		case a.cpu < b.cpu:
			return -1
		case a.cpu > b.cpu:
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	longest := 0.0
	for _, b := range bars {
		longest = max(longest, b.cpu)
	}
	height := rowHeight*len(bars) + 34
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">
<title>CPU time for each relayed request, in microseconds</title>
<style>
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .note { fill: #59636e; }
  rect { fill: #8c959f; }
  rect.ours { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .note { fill: #9198a1; }
    rect { fill: #656c76; }
    rect.ours { fill: #4493f8; }
  }
</style>
<text class="note" x="%d" y="16">CPU time for each relayed request, in microseconds: less is better</text>
`, chartWidth, height, labelWidth)
	for i, b := range bars {
		name, class := b.name, ""
		if other, ok := chartNames()[b.name]; ok {
			name = other
		}
		if name == "stepup" {
			class = ` class="ours"`
		}
		y, width := 26+rowHeight*i, b.cpu/longest*(chartWidth-labelWidth-60)
		fmt.Fprintf(&s, `<text x="%d" y="%d" text-anchor="end">%s</text>
<rect%s x="%d" y="%d" width="%.0f" height="%d" rx="3"/>
<text x="%.0f" y="%d">%s</text>
`, labelWidth-10, y+14, name, class, labelWidth, y, max(width, 1), barHeight, labelWidth+width+8, y+14, format(b.cpu, ""))
	}
	s.WriteString("</svg>\n")
	_, err := io.WriteString(w, s.String())
	return err
}
