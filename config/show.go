package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/config/layers"
)

// A Section is a block of the configuration that all files make together.
type Section = layers.Section

// Show is [Load] for people: what is in force, and which file says so. Without errors among the
// diagnostics it has the blocks of all files, and those that are there without one.
func Show(path string, opt Options) ([]Section, Diagnostics) {
	d := newDecoder(path, opt)
	cfg, diags := loadWith(d, path)
	if cfg == nil {
		return nil, diags
	}
	return withDefaults(d.tree.Sections()), diags
}

// withDefaults adds the arguments that no file has of the blocks of which there is one, and the
// blocks that are in no file.
func withDefaults(all []Section) []Section {
	is := reflect.ValueOf(defaults())
	for _, f := range shapeOf(reflect.TypeFor[agent.Config](), "").blocks {
		if f.Type.Kind() != reflect.Struct {
			continue
		}
		values := shapeOf(f.Type, "")
		if slices.ContainsFunc(values.args, func(arg reflect.StructField) bool { return arg.Tag.Get("hcl") == wordOf(arg) }) {
			continue // without an argument that it needs, it is off
		}
		i := slices.IndexFunc(all, func(s Section) bool { return s.Title == wordOf(f) })
		if i < 0 {
			i = len(all)
			all = append(all, Section{Title: wordOf(f), Settings: []layers.Setting{}, Blocks: []Section{}})
		}
		for _, arg := range values.args {
			name := wordOf(arg)
			if !slices.ContainsFunc(all[i].Settings, func(s layers.Setting) bool { return s.Name == name }) {
				all[i].Settings = append(all[i].Settings, layers.Setting{Name: name, Value: written(arg, is.FieldByIndex(f.Index).FieldByIndex(arg.Index))})
			}
		}
	}
	return all
}

// written is a value as it would be written in a file.
func written(arg reflect.StructField, v reflect.Value) string {
	if words := strings.Fields(arg.Tag.Get("words")); v.Kind() == reflect.Bool && len(words) == 2 {
		return strconv.Quote(words[map[bool]int{false: 0, true: 1}[v.Bool()]])
	}
	switch value := v.Interface().(type) {
	case bool, int:
		return shown(value)
	case []string:
		quoted := make([]string, 0, len(value))
		for _, s := range value {
			quoted = append(quoted, strconv.Quote(s))
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case string:
		return strconv.Quote(value)
	default:
		return strconv.Quote(shown(value)) // a duration, a size or a level
	}
}
