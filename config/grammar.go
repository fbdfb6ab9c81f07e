package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/vault-stepup/stepup/config/layers"
)

// The grammar is the structs below [agent.Config]: their tags are those of HCL's package gohcl,
//
//	hcl:"x"           a required argument; its kind is the type of the field
//	hcl:"x,optional"  an argument; without it the field keeps its default
//	hcl:"x,label"     the label of the block; label:"…" describes it
//	hcl:"x,block"     a block: any number for a slice, else at most one
//
// with more about an argument:
//
//	words:"a b"   a text is one of these, of a list each is; for a bool: false, true
//	names:"x"     the labels of x blocks
//	form:"x"      of a text: path, namespace; of a list: program, mount
//	min, max      of a number, duration or size; elements of a list, bytes of a text
//	only:"a b"    an argument of the blocks with these labels
//	strict:"x"    what is stricter, where the shared file locks it: less, more (of words a later one); else only the same
//
// gohcl itself does not read the file: it takes "6" for 6 and 5 for "5", computes operators
// and conditions, and has no place of an element of a list.

// A shape lists the label, arguments and blocks that a block may have.
type shape struct {
	label  reflect.StructField
	args   []reflect.StructField
	blocks []reflect.StructField
}

// shapeOf is the shape that the tags of t give to a block with that label. The fields of
// an embedded struct are t's own.
func shapeOf(t reflect.Type, label string) (s shape) {
	for _, f := range reflect.VisibleFields(t) {
		only, limited := f.Tag.Lookup("only")
		switch _, kind, _ := strings.Cut(f.Tag.Get("hcl"), ","); {
		case wordOf(f) == "": // not of the file
		case limited && !slices.Contains(strings.Fields(only), label):
		case kind == "label":
			s.label = f
		case kind == "block":
			s.blocks = append(s.blocks, f)
		default:
			s.args = append(s.args, f)
		}
	}
	return s
}

// wordOf is the name of a field in the file.
func wordOf(f reflect.StructField) string {
	word, _, _ := strings.Cut(f.Tag.Get("hcl"), ",")
	return word
}

func wordsOf(fields []reflect.StructField) (all []string) {
	for _, f := range fields {
		all = append(all, wordOf(f))
	}
	return all
}

// A block is a block of the file that is being read.
type block struct {
	d      *decoder
	title  string // for messages: step_up "prod"
	label  text
	header hcl.Range
	body   *hclsyntax.Body
	shape  shape
	single map[string]hcl.Range // the blocks read so far of which there may be one
	found  map[string][]text    // the texts of its arguments that are good
	mounts map[string]string    // that its arguments name, and where
}

// inner are the blocks of one kind in b, in the order of the file.
func (b *block) inner(kind string) (all []*hclsyntax.Block) {
	for _, in := range b.body.Blocks {
		if in.Type == kind {
			all = append(all, in)
		}
	}
	return all
}

// each opens the blocks of one kind and lets read have them.
func (b *block) each(kind string, read func(*block)) {
	for _, in := range b.inner(kind) {
		if opened, ok := b.open(in); ok {
			read(opened)
		}
	}
}

// open checks the label of a block in b, and that it may be there. If not, ok is false and
// nothing in the block is read.
func (b *block) open(in *hclsyntax.Block) (out *block, ok bool) {
	out = &block{
		d: b.d, title: in.Type, header: in.DefRange(), body: in.Body,
		single: make(map[string]hcl.Range), found: make(map[string][]text), mounts: make(map[string]string),
	}
	of := b.shape.blocks[slices.Index(wordsOf(b.shape.blocks), in.Type)].Type
	single := of.Kind() != reflect.Slice
	if !single {
		of = of.Elem()
	}
	if problem, at := out.readLabel(in, shapeOf(of, "").label.Tag.Get("label")); problem.summary != "" {
		b.d.fail(at, problem)
		return nil, false
	}
	if first, again := b.single[in.Type]; again {
		b.d.fail(out.header, say("there are two %s blocks", in.Type).hint("join it with the one %s", layers.Where(first, out.header)))
		return nil, false
	}
	if single {
		b.single[in.Type] = out.header
	}
	return out, true
}

// readLabel takes over the label of a block; stands describes it.
func (b *block) readLabel(in *hclsyntax.Block, stands string) (problem message, at hcl.Range) {
	switch {
	case stands == "" && len(in.Labels) > 0:
		return say("%s takes no name", in.Type).hint("write %s { … }", in.Type), b.header
	case stands == "":
		return message{}, b.header
	case len(in.Labels) == 0:
		return say("%s needs %s", in.Type, stands).hint("write %s \"…\" { … }", in.Type), b.header
	case len(in.Labels) > 1:
		return say("%s has more than one name", in.Type).hint("keep one of them: %s %q { … }", in.Type, in.Labels[0]), b.header
	}
	name := in.Labels[0]
	b.label = text{value: name, shown: strconv.Quote(name), at: in.LabelRanges[0]}
	b.title += " " + b.label.shown
	return labelProblem(name), b.label.at
}

// labelProblem returns what is wrong with a label, or the zero message. A label is shown on
// terminals, and is a part of metrics and of keys in the keyring.
func labelProblem(label string) (problem message) {
	switch {
	case strings.TrimSpace(label) == "":
		problem = say("the name is empty").hint("give it a name")
	case len(label) > 128:
		problem = say("the name is too long").hint("use at most 128 bytes")
	case strings.ContainsFunc(label, func(r rune) bool { return !unicode.IsPrint(r) }):
		problem = say("the name has a character that cannot be printed")
	}
	return problem
}

// read puts the label and the arguments of a block into target, a pointer to its struct.
// Fields of arguments that are absent or wrong keep their values; wrong ones are reported.
func (b *block) read(target any) {
	v := reflect.ValueOf(target).Elem()
	b.shape = shapeOf(v.Type(), b.label.value)
	b.checkWords()
	if b.label.value != "" {
		v.FieldByIndex(b.shape.label.Index).SetString(b.label.value)
	}
	for _, f := range b.shape.args {
		name := wordOf(f)
		if a, ok := b.body.Attributes[name]; ok {
			b.readArgument(a, f, v.FieldByIndex(f.Index))
		} else if f.Tag.Get("hcl") == name {
			b.need(name)
		}
	}
}

// readArgument reads an argument into a field. Where it stands in the place of one that the shared
// file locks, it may only be stricter.
func (b *block) readArgument(a *hclsyntax.Attribute, f reflect.StructField, field reflect.Value) {
	name := wordOf(f)
	if before := b.d.tree.Overridden[a]; b.d.tree.Locked[before] {
		shared, other := reflect.New(field.Type()).Elem(), *b
		other.found, other.mounts = make(map[string][]text), make(map[string]string)
		argument{b: &other, name: name, expr: before.Expr, tag: f.Tag}.read(shared)
		failed := len(b.d.diags)
		argument{b: b, name: name, expr: a.Expr, tag: f.Tag}.read(field)
		if len(b.d.diags) == failed && !asStrict(f.Tag, shared, field) {
			b.d.fail(a.SrcRange, wordsLocked(name, before.SrcRange))
		}
		return
	}
	argument{b: b, name: name, expr: a.Expr, tag: f.Tag}.read(field)
}

// asStrict reports whether a value is what a locked one is, or stricter by the tag.
func asStrict(tag reflect.StructTag, locked, value reflect.Value) bool {
	if reflect.DeepEqual(locked.Interface(), value.Interface()) {
		return true
	}
	less, more := locked, value
	switch tag.Get("strict") {
	case "less":
		less, more = value, locked
	case "more":
	default:
		return false
	}
	switch {
	case less.CanInt():
		return less.Int() <= more.Int()
	case less.Kind() == reflect.Bool:
		return !less.Bool() || more.Bool()
	case less.Kind() == reflect.String: // the strictest of its words is the last
		words := strings.Fields(tag.Get("words"))
		return slices.Index(words, less.String()) <= slices.Index(words, more.String())
	}
	all, _ := more.Interface().([]string)
	some, _ := less.Interface().([]string)
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// checkWords reports arguments and blocks that the shape does not have.
func (b *block) checkWords() {
	args, blocks := wordsOf(b.shape.args), wordsOf(b.shape.blocks)
	in, known := " in "+b.title, blocks
	if b.title == "" {
		in, known = "", append(slices.Clone(blocks), "variables", include) // which were taken out before
	}
	for name, a := range b.body.Attributes {
		if slices.Contains(args, name) {
			continue
		}
		hint := meant(name, args, "it has: ")
		switch {
		case slices.Contains(blocks, name):
			hint = fmt.Sprintf("%s is a block: write %s, without the equals sign", name, b.form(name))
		case b.title == "" && name == include:
			hint = `write include "FILE" on a line of its own, without the equals sign`
		case len(args)+len(blocks) == 0:
			hint = "leave the block empty: it takes no arguments"
		case len(args) == 0:
			hint = meant(name, known, "there are only blocks here: ")
		}
		b.d.fail(a.NameRange, say("unknown argument %q%s", name, in).hint("%s", hint))
	}
	for _, other := range b.body.Blocks {
		name := other.Type
		if slices.Contains(blocks, name) {
			continue
		}
		hint := meant(name, known, "it has: ")
		switch {
		case slices.Contains(args, name):
			hint = fmt.Sprintf("%s is an argument: write %s = …", name, name)
		case len(blocks) == 0:
			hint = meant(name, args, "it has only arguments: ")
		}
		b.d.fail(other.TypeRange, say("unknown block %q%s", name, in).hint("%s", hint))
	}
}

// include is the word before the name of another file. The layers have read it.
const include = "include"

// form is how a block in b is written.
func (b *block) form(kind string) string {
	of := b.shape.blocks[slices.Index(wordsOf(b.shape.blocks), kind)].Type
	if of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if shapeOf(of, "").label.Tag.Get("label") == "" {
		return kind + " { … }"
	}
	return kind + ` "…" { … }`
}

func (b *block) has(name string) bool {
	_, ok := b.body.Attributes[name]
	return ok
}

// at is the place of an argument's name. The argument must be there.
func (b *block) at(name string) hcl.Range { return b.body.Attributes[name].NameRange }

// whole is the place of an argument with its value. The argument must be there.
func (b *block) sourceRange(name string) hcl.Range { return b.body.Attributes[name].SrcRange }

// text is the text of an argument; ok is false if it is absent or wrong.
func (b *block) text(name string) (t text, ok bool) {
	if all := b.found[name]; len(all) > 0 {
		return all[0], true
	}
	return text{}, false
}

// need reports an argument that is not there, unless one is there under a name that is
// reported with the right one.
func (b *block) need(name string) {
	args := wordsOf(b.shape.args)
	for written := range b.body.Attributes {
		if written == name || !slices.Contains(args, written) && nearest(written, args) == name {
			return
		}
	}
	b.d.fail(b.header, say("%s lacks %s", b.title, name).hint("add %s = %s", name, b.sample(name)))
}

// sample is what an argument that the block lacks may be.
func (b *block) sample(name string) string {
	kind, _, _ := strings.Cut(b.title, " ")
	switch kind + " " + name {
	case "vault address":
		return `"https://vault.example.com:8200"`
	case "listener address":
		if b.label.value == "unix" {
			return `"${runtime_dir}/vault.sock"`
		}
		return `"127.0.0.1:8100"`
	case "telemetry address":
		return `"127.0.0.1:9108"`
	case "mfa_method type":
		return `"totp", or "duo", "okta", "pingid"`
	case "step_up paths":
		return `["kv/data/prod/*"], as in a policy`
	case "step_up methods":
		if known := b.d.names["mfa_method"]; len(known) > 0 {
			return fmt.Sprintf("[%q], or others that are declared", known[0])
		}
		return `["NAME"], and mfa_method "NAME" { … }`
	case "grant path":
		if b.label.value == "login" {
			return `"auth/MOUNT/login/USER"`
		}
		return `"auth/token/create/ROLE"`
	case "audit file":
		return `"${state_dir}/audit.jsonl"`
	}
	return "…"
}

// exclude reports the second of two arguments of which only one may be there.
func (b *block) exclude(one, other string) {
	if b.has(one) && b.has(other) {
		b.d.fail(b.at(other), wordsBoth(one, other))
	}
}
