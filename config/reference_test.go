package config

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/gohcl"

	"github.com/vault-stepup/stepup/agent/rule"
)

// grammar is the shape of each block by its dotted path; "" is the file's own. A grant has
// the words of all its kinds.
func grammar() map[string]shape {
	all := make(map[string]shape)
	var add func(string, reflect.Type)
	add = func(path string, of reflect.Type) {
		s := shapeOf(of, "token")
		for _, f := range shapeOf(of, "login").args {
			if !slices.Contains(wordsOf(s.args), wordOf(f)) {
				s.args = append(s.args, f)
			}
		}
		all[path] = s
		for _, f := range all[path].blocks {
			of := f.Type
			if of.Kind() == reflect.Slice {
				of = of.Elem()
			}
			add(strings.TrimPrefix(path+"."+wordOf(f), "."), of)
		}
	}
	add("", reflect.TypeFor[Config]())
	return all
}

// The tags are gohcl's: what it reads from them is what we read.
func TestTagsAreThoseOfHCL(t *testing.T) {
	t.Parallel()
	for _, of := range []any{Config{}, Vault{}, Listener{}, Method{}, LoginMFA{}, Prompt{}, rule.Rule{}, rule.Policy{}, rule.ControlGroup{}} {
		schema, _ := gohcl.ImpliedBodySchema(of)
		ours := shapeOf(reflect.TypeOf(of), "")
		var args, blocks []string
		for _, a := range schema.Attributes {
			args = append(args, a.Name)
		}
		for _, b := range schema.Blocks {
			blocks = append(blocks, b.Type)
		}
		if !slices.Equal(slices.Sorted(slices.Values(wordsOf(ours.args))), args) || !slices.Equal(slices.Sorted(slices.Values(wordsOf(ours.blocks))), blocks) {
			t.Errorf("%T: arguments %q and blocks %q, for gohcl %q and %q", of, wordsOf(ours.args), wordsOf(ours.blocks), args, blocks)
		}
	}
}

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
	want := slices.Sorted(slices.Values(wordsOf(grammar()[""].blocks)))
	if !slices.Equal(names, want) {
		t.Errorf("docs/configuration.md has the blocks %q, the grammar %q", names, want)
	}
	known := make(map[string][]string) // arguments, and inner blocks, of a section
	for path, shape := range grammar() {
		if path == "" {
			continue
		}
		section, rest, inner := strings.Cut(path, ".")
		known[section] = append(known[section], wordsOf(shape.args)...)
		for _, arg := range wordsOf(shape.args) {
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
