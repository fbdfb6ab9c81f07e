package layers

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/vault-stepup/stepup/config/excerpt"
)

// A Section is a block of the configuration that all files make together. The JSON tags are
// those of stepup config show.
type Section struct {
	Title    string    `json:"block"` // step_up "prod"
	Origin   string    `json:"origin"`
	Settings []Setting `json:"arguments"`
	Blocks   []Section `json:"blocks"`
}

// A Setting is an argument. It has no value of a variable: the text is that of the file, and
// what may be a secret in it is covered.
type Setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`  // as in a file
	Origin string `json:"origin"` // file:line; "" for a default
	Locked bool   `json:"locked"` // no file of the user's may weaken it
}

// Sections are the blocks of all files, for people.
func (t *Tree) Sections() (all []Section) {
	for _, b := range slices.Concat(t.Variables, t.Body.Blocks) {
		all = append(all, t.section(b))
	}
	return all
}

// Text is the text of a file; nil where it was not read.
func (t *Tree) Text(file string) []byte {
	if t == nil { // before anything is read
		return nil
	}
	if i := t.index(file); i >= 0 {
		return t.Sources[i].Text
	}
	return nil
}

// index is the place of a file in the order in which they were read; -1 where it was not.
func (t *Tree) index(file string) int {
	return slices.IndexFunc(t.Sources, func(s Source) bool { return s.Path == file })
}

func (t *Tree) section(b *hclsyntax.Block) Section {
	s := Section{Title: b.Type, Origin: excerpt.Place(b.DefRange()), Settings: []Setting{}, Blocks: []Section{}}
	for _, label := range b.Labels {
		s.Title += " " + strconv.Quote(label)
	}
	// In the order of the files: those of the block first.
	order := func(a, b *hclsyntax.Attribute) int {
		return cmp.Or(cmp.Compare(t.index(a.SrcRange.Filename), t.index(b.SrcRange.Filename)), cmp.Compare(a.SrcRange.Start.Byte, b.SrcRange.Start.Byte))
	}
	for _, a := range slices.SortedFunc(maps.Values(b.Body.Attributes), order) {
		s.Settings = append(s.Settings, Setting{
			Name: a.Name, Value: t.valueText(a), Origin: excerpt.Place(a.SrcRange),
			Locked: t.Locked[a] || t.Locked[t.Overridden[a]],
		})
	}
	for _, in := range b.Body.Blocks {
		s.Blocks = append(s.Blocks, t.section(in))
	}
	return s
}

// valueText is an argument's value as it stands in the file, in one line. Of a program only the
// name is shown: people put passwords among its arguments.
func (t *Tree) valueText(a *hclsyntax.Attribute) string {
	text := t.textIn(a.Expr.Range())
	if list, ok := a.Expr.(*hclsyntax.TupleConsExpr); ok && strings.HasSuffix(a.Name, "command") && len(list.Exprs) > 1 {
		return "[" + t.textIn(list.Exprs[0].Range()) + `, "…"]`
	}
	// The name belongs to it: it tells what is a secret.
	masked := excerpt.Mask(a.Name + " = " + text)
	return excerpt.Printable(strings.TrimPrefix(masked, a.Name+" = "))
}

// textIn is the text at a place without its comments and line breaks.
func (t *Tree) textIn(at hcl.Range) string {
	src := t.Text(at.Filename)
	if !at.CanSliceBytes(src) {
		return ""
	}
	tokens, _ := hclsyntax.LexExpression(at.SliceBytes(src), at.Filename, at.Start)
	var b strings.Builder
	end := at.Start.Byte
	for _, token := range tokens {
		if gap := token.Range.Start.Byte - end; gap > 0 && b.Len() > 0 {
			b.WriteByte(' ')
		}
		end = token.Range.End.Byte
		if token.Type != hclsyntax.TokenComment && token.Type != hclsyntax.TokenNewline {
			b.Write(token.Bytes)
		}
	}
	return strings.TrimSpace(b.String())
}
