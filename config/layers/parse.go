package layers

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

const (
	maxNesting  = 32
	maxOddities = 1000
)

// parse reads the text of a file, and the files that it includes.
func (r *reader) parse(path string, text []byte) (blocks hclsyntax.Blocks) {
	r.tree.Sources = append(r.tree.Sources, Source{path, text, r.shared})
	start := hcl.Range{Filename: path, Start: hcl.InitialPos, End: hcl.InitialPos}
	if len(text) > maxFile {
		r.report(Problem{At: start, Summary: fmt.Sprintf("the configuration is larger than %d KiB", maxFile>>10), Hint: "is this the right file?"})
		return nil
	}
	tokens, _ := hclsyntax.LexConfig(text, path, hcl.InitialPos) // the parser reports the same errors again
	if at, deep := tooDeep(tokens); deep {
		r.report(Problem{At: at, Summary: "the configuration is nested too deeply"})
		return nil
	}
	includes := findIncludes(tokens)
	file, diags := hclsyntax.ParseConfig(without(text, includes), path, hcl.InitialPos)
	if diags.HasErrors() {
		// What follows a syntax error is guesswork: reporting it would be noise.
		r.syntaxErrors(start, diags)
		return nil
	}
	body := file.Body.(*hclsyntax.Body) // documented by ParseConfig
	all := r.takeLocked(body)
	for name, a := range body.Attributes {
		r.tree.Body.Attributes[name] = a // there is none that may be
	}
	for _, b := range body.Blocks {
		for len(includes) > 0 && includes[0].at.Start.Byte < b.TypeRange.Start.Byte {
			blocks, includes = append(blocks, r.include(path, text, includes[0])...), includes[1:]
		}
		if locked := r.takeAllLocked(b.Body); locked || all {
			r.lock(b.Body)
		}
		if b.Type == "include" {
			r.report(Problem{At: b.DefRange(), Summary: "include has only the name of a file", Hint: `write include "FILE" on a line of its own`})
			continue
		}
		blocks = append(blocks, b)
	}
	for _, in := range includes {
		blocks = append(blocks, r.include(path, text, in)...)
	}
	return blocks
}

// tooDeep finds nesting that would overflow the stack of hclsyntax's parser,
// which recurses without a limit: a panic that cannot be recovered. Besides
// brackets it recurses on the operators and directives counted here, none of
// which this grammar has a use for.
func tooDeep(tokens hclsyntax.Tokens) (hcl.Range, bool) {
	depth, odd := 0, 0
	for _, t := range tokens {
		depth = max(0, depth+nesting(t.Type))
		switch t.Type {
		case hclsyntax.TokenBang, hclsyntax.TokenMinus, hclsyntax.TokenQuestion, hclsyntax.TokenStar, hclsyntax.TokenTemplateControl:
			odd++
		}
		if depth > maxNesting || odd > maxOddities {
			return t.Range, true
		}
	}
	return hcl.Range{}, false
}

// nesting is by how much a token changes the depth.
func nesting(t hclsyntax.TokenType) int {
	switch t {
	case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp:
		return 1
	case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd:
		return -1
	}
	return 0
}

// An include is include "…", with or without an empty block behind it.
type include struct {
	at     hcl.Range // all of it
	quoted hcl.Range // what stands in quotes, with them
}

// findIncludes finds those at the top of a file. HCL itself knows no block without braces, and
// no variable in the label of one.
func findIncludes(tokens hclsyntax.Tokens) (all []include) {
	depth := 0
	for i, t := range tokens {
		depth = max(0, depth+nesting(t.Type))
		begins := i == 0 || endsLine(tokens[i-1])
		if depth > 0 || !begins || t.Type != hclsyntax.TokenIdent || string(t.Bytes) != "include" || tokens[i+1].Type != hclsyntax.TokenOQuote {
			continue
		}
		last := closingQuote(tokens, i+1)
		if last < 0 {
			continue
		}
		in := include{quoted: hcl.RangeBetween(tokens[i+1].Range, tokens[last].Range)}
		if end := emptyBlock(tokens, last+1); endsLine(tokens[end]) {
			in.at = hcl.RangeBetween(t.Range, tokens[end-1].Range)
			all = append(all, in)
		}
	}
	return all
}

// closingQuote is where a quote ends that begins at i; -1 where it does not.
func closingQuote(tokens hclsyntax.Tokens, i int) int {
	open := 0
	for ; i < len(tokens); i++ {
		switch tokens[i].Type {
		case hclsyntax.TokenOQuote:
			open++
		case hclsyntax.TokenCQuote:
			open--
		case hclsyntax.TokenEOF, hclsyntax.TokenNewline:
			return -1
		}
		if open == 0 {
			return i
		}
	}
	return -1
}

// emptyBlock is the token behind an empty block at i; i itself where there is none.
func emptyBlock(tokens hclsyntax.Tokens, i int) int {
	if tokens[i].Type != hclsyntax.TokenOBrace {
		return i
	}
	end := i + 1
	for tokens[end].Type == hclsyntax.TokenNewline {
		end++
	}
	if tokens[end].Type != hclsyntax.TokenCBrace {
		return i
	}
	return end + 1
}

func endsLine(t hclsyntax.Token) bool {
	return t.Type == hclsyntax.TokenNewline || t.Type == hclsyntax.TokenEOF || t.Type == hclsyntax.TokenComment
}

// without is a text of the same length without the includes.
func without(text []byte, includes []include) []byte {
	out := slices.Clone(text)
	for _, in := range includes {
		for i := in.at.Start.Byte; i < in.at.End.Byte; i++ {
			if out[i] != '\n' {
				out[i] = ' '
			}
		}
	}
	return out
}

// include reads the files that an include names.
func (r *reader) include(from string, text []byte, in include) (blocks hclsyntax.Blocks) {
	if len(r.chain) == 0 {
		r.report(Problem{At: in.at, Summary: "include is not possible here", Detail: "this text is in no file"})
		return nil
	}
	expr, diags := hclsyntax.ParseExpression(in.quoted.SliceBytes(text), from, in.quoted.Start)
	if diags.HasErrors() {
		r.syntaxErrors(in.quoted, diags)
		return nil
	}
	name, ok := r.opt.Expand(expr)
	if !ok {
		return nil
	}
	path := filepath.FromSlash(name)
	switch rest, home := strings.CutPrefix(name, "~/"); {
	case home:
		r.report(Problem{At: in.quoted, Summary: "~ has no meaning here", Hint: fmt.Sprintf(`write "${home}/%s"`, rest)})
		return nil
	case name == "":
		r.report(Problem{At: in.quoted, Summary: "include is empty", Hint: `write it as in include "rules.hcl"`})
		return nil
	case !filepath.IsAbs(path):
		path = filepath.Join(filepath.Dir(from), path)
	}
	folder, pattern := splitPattern(path)
	if pattern == "" {
		r.tree.Watch = append(r.tree.Watch, path)
		return r.file(path, in.at)
	}
	pattern = filepath.ToSlash(pattern)
	r.tree.Watch = append(r.tree.Watch, folder)
	for i, c := range pattern {
		if c == '/' { // another file may come in a folder without one
			r.tree.Watch = append(r.tree.Watch, r.glob(folder, pattern[:i], in.quoted)...)
		}
	}
	for _, file := range r.glob(folder, pattern, in.quoted) {
		r.tree.Watch = append(r.tree.Watch, file)
		blocks = append(blocks, r.file(file, in.at)...)
	}
	return blocks
}

// splitPattern cuts a path before its first part with * or the like; pattern is "" where there
// is none. The folder of the including file may have such a character in its name: it is none
// of the pattern if it is there.
func splitPattern(path string) (folder, pattern string) {
	if _, err := os.Lstat(path); err == nil || !strings.ContainsAny(path, "*?[") {
		return path, ""
	}
	for folder = filepath.Dir(path); ; folder = filepath.Dir(folder) {
		_, err := os.Lstat(folder)
		if err == nil || !strings.ContainsAny(folder, "*?[") {
			pattern, _ = filepath.Rel(folder, path)
			return folder, pattern
		}
	}
}

// takeAllLocked is takeLocked for a body and the blocks in it.
func (r *reader) takeAllLocked(body *hclsyntax.Body) bool {
	locked := r.takeLocked(body)
	for _, in := range body.Blocks {
		locked = r.takeAllLocked(in.Body) || locked
	}
	return locked
}

// takeLocked removes locked from a body, and reports whether it is true.
func (r *reader) takeLocked(body *hclsyntax.Body) bool {
	a, ok := body.Attributes["locked"]
	if !ok {
		return false
	}
	delete(body.Attributes, "locked")
	literal, ok := a.Expr.(*hclsyntax.LiteralValueExpr)
	switch {
	case !ok || literal.Val.IsNull() || literal.Val.Type() != cty.Bool:
		r.report(Problem{At: a.Expr.Range(), Summary: "locked is true or false, without quotes"})
	case literal.Val.True() && !r.shared && len(r.chain) > 0: // a text that is in no file may become a shared one
		r.report(Problem{
			At: a.SrcRange, Warning: true, Summary: "locked has no effect here", Hint: "take it out here, or check a shared file with --shared FILE",
			Detail: "it keeps what the shared file says from what the file of a user says",
		})
	default:
		return literal.Val.True()
	}
	return false
}

// lock keeps all arguments of a body, and of the blocks in it.
func (r *reader) lock(body *hclsyntax.Body) {
	for _, a := range body.Attributes {
		r.tree.Locked[a] = true
	}
	for _, in := range body.Blocks {
		r.lock(in.Body)
	}
}

// syntaxErrors reports the errors of the HCL parser in our style. A quote that is not closed is
// an error of each line that follows: only the first of such a run is kept. Those without a
// place are at start.
func (r *reader) syntaxErrors(start hcl.Range, diags hcl.Diagnostics) {
	last := map[string]int{} // line by summary
	for _, diag := range diags {
		at := start
		if diag.Subject != nil {
			at = *diag.Subject
			line, seen := last[diag.Summary]
			last[diag.Summary] = at.Start.Line
			if seen && at.Start.Line <= line+1 {
				continue
			}
		}
		r.report(Problem{At: at, Summary: "syntax: " + Lower(diag.Summary), Detail: Lower(strings.TrimSuffix(diag.Detail, "."))})
	}
}

// Lower gives a sentence of the HCL library no capital letter.
func Lower(s string) string {
	if len(s) > 1 && s[1] >= 'a' && s[1] <= 'z' {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

var errIrregular = errors.New("is not a regular file")

// ReadFile reads a regular file of at most limit bytes. A device or FIFO would
// block or never end, and the agent reads its configuration while it serves.
func ReadFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errIrregular
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("is too large: more than %d bytes", limit)
	}
	return b, nil
}

// Cause is the part of a file error that does not repeat the path.
func Cause(err error) string {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err.Error()
	}
	return err.Error()
}
