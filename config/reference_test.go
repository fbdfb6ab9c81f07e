package config

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReferenceIsWhole holds docs/configuration.md against the grammar: every
// block has its place there, with every argument that it takes and no other.
func TestReferenceIsWhole(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	sections := make(map[string]string) // by the block's first word
	for _, part := range strings.Split(text, "\n## ")[1:] {
		title, body, _ := strings.Cut(part, "\n")
		sections[strings.Fields(title)[0]] = body
	}
	names := slices.Sorted(maps.Keys(sections))
	want := slices.Sorted(slices.Values(grammar()[top].blocks))
	if !slices.Equal(names, want) {
		t.Errorf("docs/configuration.md has the blocks %q, the grammar %q", names, want)
	}
	known := make(map[string][]string) // arguments, and inner blocks, of a section
	for path, shape := range grammar() {
		if path == top {
			continue
		}
		section, rest, inner := strings.Cut(path, ".")
		known[section] = append(known[section], shape.args...)
		for _, arg := range shape.args {
			if !regexp.MustCompile(`(?m)^\|[^|]*\x60` + arg + `\x60[^|]*\|`).MatchString(sections[section]) {
				t.Errorf("docs/configuration.md: %s does not explain %s", path, arg)
			}
		}
		words := strings.Split(rest, ".")
		if last := words[len(words)-1]; inner && !strings.Contains(sections[section], last) {
			t.Errorf("docs/configuration.md: %s does not explain the block %s", section, last)
		}
	}
	row := regexp.MustCompile(`(?m)^\|([^|]*)\|`)
	word := regexp.MustCompile("`([a-z_]+)`")
	for section, body := range sections {
		for _, cell := range row.FindAllStringSubmatch(body, -1) {
			for _, m := range word.FindAllStringSubmatch(cell[1], -1) {
				if !slices.Contains(known[section], m[1]) {
					t.Errorf("docs/configuration.md: %s has no argument %s", section, m[1])
				}
			}
		}
	}
}
