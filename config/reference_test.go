package config

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/hcl/v2/gohcl"

	"github.com/vault-stepup/stepup/agent/rule"

	"github.com/vault-stepup/stepup/agent"
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
	add("", reflect.TypeFor[agent.Config]())
	return all
}

// The tags are gohcl's: what it reads from them is what we read. Only embedded structs are
// our own addition.
func TestTagsAreThoseOfHCL(t *testing.T) {
	t.Parallel()
	type schema struct{ Args, Blocks []string }
	for _, of := range []any{
		agent.Config{}, agent.Vault{}, agent.Listener{}, agent.Method{}, agent.LoginMFA{}, agent.Prompt{},
		rule.Rule{}, rule.Policy{}, rule.ControlGroup{},
	} {
		ours := shapeOf(reflect.TypeOf(of), "")
		got := schema{Args: wordsOf(ours.args), Blocks: wordsOf(ours.blocks)}
		var want schema
		for _, part := range append([]any{of}, embedded(of)...) {
			theirs, _ := gohcl.ImpliedBodySchema(part)
			for _, a := range theirs.Attributes {
				want.Args = append(want.Args, a.Name)
			}
			for _, b := range theirs.Blocks {
				want.Blocks = append(want.Blocks, b.Type)
			}
		}
		sorted := cmpopts.SortSlices(func(a, b string) bool { return a < b })
		if diff := cmp.Diff(want, got, sorted); diff != "" {
			t.Errorf("%T (-gohcl +ours):\n%s", of, diff)
		}
	}
}

// embedded are the structs that a struct embeds.
func embedded(of any) (all []any) {
	v := reflect.ValueOf(of)
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			all = append(all, v.Field(i).Interface())
		}
	}
	return all
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
	want := slices.Sorted(slices.Values(append(wordsOf(grammar()[""].blocks), "include", "variables"))) // the last two are of all files together
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
