package config

import (
	"cmp"
	"maps"
	"math/big"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// A block is a block of the file that is being read. Its reading methods put
// what they find into their target, and leave the default there when the
// argument is absent or wrong; what is wrong has then been reported.
type block struct {
	d      *decoder
	path   string // dotted path in the grammar
	title  string // as people read it: step_up "prod"
	label  text
	header hcl.Range
	body   *hclsyntax.Body
}

// open checks a block against its shape. ok is false when its label is wrong.
func (d *decoder) open(parent string, b *hclsyntax.Block) (block, bool) {
	out := block{d: d, path: strings.TrimPrefix(parent+"."+b.Type, "."), title: b.Type, header: b.DefRange(), body: b.Body}
	s := d.shapes[out.path]
	want := 0
	if s.label != "" {
		want = 1
	}
	if len(b.Labels) != want {
		d.fail(out.header, wordsLabels(b.Type, s.label, len(b.Labels)))
		return out, false
	}
	if want == 1 {
		out.label = text{value: b.Labels[0], shown: strconv.Quote(b.Labels[0]), at: b.LabelRanges[0]}
		if problem, ok := badLabel(b.Labels[0]); ok {
			d.fail(out.label.at, problem)
			return out, false
		}
		out.title += " " + out.label.shown
	}
	if s.once {
		if first, again := d.once[out.path]; again {
			d.fail(out.header, wordsTwice(b.Type, first.Start.Line))
		} else {
			d.once[out.path] = out.header
		}
	}
	return out, true
}

// checkWords reports arguments and blocks that the shape does not have.
func (b *block) checkWords() {
	s := b.d.shapes[b.path]
	for _, a := range sortedAttributes(b.body) {
		if !slices.Contains(s.args, a.Name) {
			b.d.fail(a.NameRange, wordsUnknownArgument(b.title, a.Name, s))
		}
	}
	for _, inner := range b.body.Blocks {
		if !slices.Contains(s.blocks, inner.Type) {
			b.d.fail(inner.TypeRange, wordsUnknownBlock(b.title, inner.Type, s))
		}
	}
	b.use("", "")
}

func sortedAttributes(body *hclsyntax.Body) []*hclsyntax.Attribute {
	return slices.SortedFunc(maps.Values(body.Attributes), func(x, y *hclsyntax.Attribute) int {
		return cmp.Compare(x.NameRange.Start.Byte, y.NameRange.Start.Byte)
	})
}

// use warns when the agent does not act yet on what the file asks for.
func (b *block) use(name, value string) {
	key, at := b.path, b.header
	if a, ok := b.body.Attributes[name]; ok {
		key, at = key+"."+name, a.SrcRange
	}
	if value != "" {
		key += "=" + value
	}
	if what, ok := b.d.notYet[key]; ok {
		b.d.warn(at, wordsNotYet(what))
	}
}

func (b *block) has(name string) bool {
	_, ok := b.body.Attributes[name]
	return ok
}

// need reports arguments that are missing.
func (b *block) need(names ...string) {
	for _, name := range names {
		if !b.has(name) {
			b.d.fail(b.header, wordsMissing(b.title, name))
		}
	}
}

// optionalText reads text that may be empty.
func (b *block) optionalText(name string) (text, bool) {
	a, ok := b.body.Attributes[name]
	if !ok {
		return text{}, false
	}
	t, ok := b.d.textOf(a.Expr, wantText)
	if !ok {
		return text{}, false
	}
	b.use(name, "")
	b.use(name, t.value)
	return t, true
}

// text reads text that says something.
func (b *block) text(name string) (text, bool) {
	t, ok := b.optionalText(name)
	if ok && t.value == "" {
		b.d.fail(t.at, wordsEmpty(name))
		return text{}, false
	}
	return t, ok
}

// word reads one of a few words.
func (b *block) word(name string, words []string, target *string) {
	if t, ok := b.text(name); ok && b.d.oneOf(name, t, words) {
		*target = t.value
	}
}

// oneOf reports t when it is none of words.
func (d *decoder) oneOf(name string, t text, words []string) bool {
	if slices.Contains(words, t.value) {
		return true
	}
	d.fail(t.at, wordsUnknownWord(name, t, words))
	return false
}

// texts reads a list of texts, none of them empty. Elements that are wrong are
// left out of the result, so that the rest can still be checked; ok is then false.
func (b *block) texts(name string) ([]text, bool) {
	a, ok := b.body.Attributes[name]
	if !ok {
		return nil, false
	}
	list, ok := a.Expr.(*hclsyntax.TupleConsExpr)
	if !ok {
		if v, ok := b.d.evaluate(a.Expr, wantList); ok {
			b.d.fail(a.Expr.Range(), wordsType(wantList, kindOfValue(v)))
		}
		return nil, false
	}
	out := make([]text, 0, len(list.Exprs))
	for _, e := range list.Exprs {
		t, good := b.d.textOf(e, wantText)
		if good && t.value == "" {
			b.d.fail(t.at, wordsEmptyElement(name))
			good = false
		}
		if !good {
			ok = false
			continue
		}
		if len(out) == 0 {
			b.use(name, "")
		}
		b.use(name, t.value)
		out = append(out, t)
	}
	return out, ok
}

// someTexts is texts for a list that must have an element.
func (b *block) someTexts(name string) ([]text, bool) {
	list, ok := b.texts(name)
	if ok && len(list) == 0 {
		b.d.fail(b.body.Attributes[name].Expr.Range(), wordsEmptyList(name))
		return nil, false
	}
	return list, ok
}

// words reads a list of a few words, each at most once.
func (b *block) words(name string, words []string, target *[]string) {
	list, ok := b.texts(name)
	out := []string{}
	for _, t := range list {
		switch {
		case !b.d.oneOf(name, t, words):
		case slices.Contains(out, t.value):
			b.d.fail(t.at, wordsRepeated(name, t))
		default:
			out = append(out, t.value)
		}
	}
	if ok && len(out) == len(list) {
		*target = out
	}
}

// command reads a program with its arguments. It is never given to a shell: a
// bare name is looked up in PATH, and "~" means nothing.
func (b *block) command(name string, target *[]string) {
	list, ok := b.someTexts(name)
	if !ok {
		return
	}
	if program := list[0]; filepath.Base(program.value) != program.value && !filepath.IsAbs(program.value) {
		b.d.fail(program.at, wordsRelative(name, program))
		return
	}
	b.d.program(name, list[0])
	*target = values(list)
}

func values(list []text) []string {
	var out []string
	for _, t := range list {
		out = append(out, t.value)
	}
	return out
}

// flag reads true or false.
func (b *block) flag(name string, target *bool) {
	a, ok := b.body.Attributes[name]
	if !ok {
		return
	}
	v, ok := b.d.evaluate(a.Expr, wantFlag)
	switch {
	case !ok:
	case !isA(v, cty.Bool):
		b.d.fail(a.Expr.Range(), wordsType(wantFlag, kindOfValue(v)))
	default:
		*target = v.True()
		b.use(name, strconv.FormatBool(*target))
	}
}

// count reads a whole number in lo..hi.
func (b *block) count(name string, lo, hi int, target *int) {
	a, ok := b.body.Attributes[name]
	if !ok {
		return
	}
	v, ok := b.d.evaluate(a.Expr, wantNumber)
	if !ok {
		return
	}
	if !isA(v, cty.Number) {
		b.d.fail(a.Expr.Range(), wordsType(wantNumber, kindOfValue(v)))
		return
	}
	n, accuracy := v.AsBigFloat().Int64()
	if accuracy != big.Exact || n < int64(lo) || n > int64(hi) {
		b.d.fail(a.Expr.Range(), wordsRange(name, lo, hi))
		return
	}
	*target = int(n)
}

// duration reads a duration that is more than 0 and at most limit.
func (b *block) duration(name string, limit time.Duration, target *time.Duration) {
	a, ok := b.body.Attributes[name]
	if !ok {
		return
	}
	t, ok := b.d.textOf(a.Expr, wantDuration)
	if !ok {
		return
	}
	v, err := time.ParseDuration(t.value)
	switch {
	case err != nil:
		b.d.fail(t.at, wordsDuration(name, t))
	case v <= 0 || v > limit:
		b.d.fail(t.at, wordsDurationRange(name, t, limit))
	default:
		*target = v
	}
}

// absolute reads the path of a file or folder.
func (b *block) absolute(name string) (text, bool) {
	t, ok := b.text(name)
	if !ok {
		return text{}, false
	}
	// A relative path would mean another file for each folder that the agent is
	// started from, and "~" nothing at all.
	if !filepath.IsAbs(t.value) {
		b.d.fail(t.at, wordsRelative(name, t))
		return text{}, false
	}
	t.value = filepath.Clean(t.value)
	return t, true
}
