package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/vault-stepup/stepup/config/excerpt"
	"github.com/vault-stepup/stepup/config/layers"
	"github.com/vault-stepup/stepup/config/paths"
)

// A text is a string of the file with its place.
type text struct {
	value string
	// shown is how messages repeat it: as it stands in the file, so that the value of an
	// environment variable never gets into a message.
	shown string
	at    hcl.Range
}

// Words for the type that an argument has.
const (
	wantText     = "text in quotes"
	wantList     = `a list of texts, such as ["one", "two"]`
	wantNumber   = "a whole number"
	wantFlag     = "true or false, without quotes"
	wantDuration = `a duration in quotes, such as "55s"`
	wantSize     = `a number of bytes or a size in quotes, such as "1MiB"`
)

// typed returns the value of an expression, which must be of one type; want describes it.
func (f *file) typed(e hclsyntax.Expression, of cty.Type, want string) (cty.Value, bool) {
	v, ok := f.evaluate(e, want)
	if ok && !isA(v, of) {
		f.fail(e.Range(), wordsType(want, kindOfValue(v)))
		ok = false
	}
	return v, ok
}

// evaluate returns the value of an expression that is no list. It is done here
// and not by the expression itself because only these few kinds are allowed.
func (f *file) evaluate(e hclsyntax.Expression, want string) (cty.Value, bool) {
	switch e := e.(type) {
	case *hclsyntax.LiteralValueExpr:
		return e.Val, true
	case *hclsyntax.TemplateExpr:
		return f.template(e)
	case *hclsyntax.TemplateWrapExpr:
		if t, ok := e.Wrapped.(*hclsyntax.ScopeTraversalExpr); ok {
			return f.variable(t)
		}
	case *hclsyntax.ScopeTraversalExpr:
		return f.variable(e)
	case *hclsyntax.UnaryOpExpr:
		if lit, ok := e.Val.(*hclsyntax.LiteralValueExpr); ok && e.Op == hclsyntax.OpNegate && isA(lit.Val, cty.Number) {
			return lit.Val.Negate(), true
		}
	case *hclsyntax.TupleConsExpr:
		f.fail(e.Range(), wordsType(want, "a list"))
		return cty.NilVal, false
	case *hclsyntax.ObjectConsExpr:
		f.fail(e.Range(), wordsType(want, "an object"))
		return cty.NilVal, false
	}
	f.fail(e.Range(), wordsExpression())
	return cty.NilVal, false
}

func (f *file) template(e *hclsyntax.TemplateExpr) (cty.Value, bool) {
	var all strings.Builder
	for _, part := range e.Parts {
		var v cty.Value
		ok := false
		switch part := part.(type) {
		case *hclsyntax.LiteralValueExpr:
			v, ok = part.Val, isA(part.Val, cty.String)
		case *hclsyntax.ScopeTraversalExpr:
			if v, ok = f.variable(part); !ok {
				return cty.NilVal, false
			}
		}
		if !ok {
			f.fail(part.Range(), wordsExpression())
			return cty.NilVal, false
		}
		all.WriteString(v.AsString())
	}
	return cty.StringVal(all.String()), true
}

// variable returns env.NAME, home, runtime_dir, state_dir, user, or one of a variables block.
func (f *file) variable(e *hclsyntax.ScopeTraversalExpr) (cty.Value, bool) {
	at, root := e.Range(), e.Traversal.RootName()
	value, known := f.builtin()[root]
	if set, ok := f.vars[root]; ok {
		value, known = set, true
	} else if root == "user" {
		value = cmp.Or(f.opt.User, paths.UserName(f.opt.Env))
	}
	switch {
	case root == "env":
		return f.environment(e)
	case !known:
		hint := fmt.Sprintf("put text in quotes: %q", root)
		if n := nearest(root, slices.Concat([]string{"env"}, slices.Sorted(maps.Keys(f.builtin())), slices.Sorted(maps.Keys(f.vars)))); n != "" {
			hint = fmt.Sprintf("did you mean %q?", n)
		}
		f.fail(at, say("there is no variable %q", root).hint("%s", hint))
	case len(e.Traversal) != 1:
		f.fail(at, wordsExpression())
	case value == "" && root == "user":
		f.fail(at, say("user is not known on this machine").hint(`add variables { user = "…" }`))
	case value == "":
		f.fail(at, say("%s is not known on this machine", root).hint("set HOME, or write the whole path"))
	default:
		return cty.StringVal(value), true
	}
	return cty.NilVal, false
}

// builtin are the variables that need no block.
func (f *file) builtin() map[string]string {
	return map[string]string{"home": f.opt.Home, "runtime_dir": f.opt.RuntimeDir, "state_dir": f.opt.StateDir, "user": f.opt.User}
}

// setVariables reads the variables blocks of all files: one of the shared ones, with what the
// user's own one puts in its place.
func (f *file) setVariables() {
	set := map[string]string{}
	for i, b := range f.tree.Variables {
		if i > 0 {
			f.fail(b.DefRange(), say("there are two variables blocks").hint("join it with the one %s", layers.Where(f.tree.Variables[0].DefRange(), b.DefRange())))
		}
		if len(b.Labels)+len(b.Body.Blocks) > 0 {
			f.fail(b.DefRange(), say("variables has only arguments").hint(`write variables { user = "…" }`))
		}
		for name, a := range b.Body.Attributes {
			t, ok := f.textOf(a.Expr, wantText)
			before := f.tree.Overridden[a]
			switch _, fixed := f.builtin()[name]; {
			case !ok:
			case t.value == "":
				f.fail(t.at, say("%s is empty", name))
			case fixed && name != "user" || name == "env":
				f.fail(a.NameRange, say("%s is a variable of stepup's own", name).hint("give yours another name"))
			case f.tree.Locked[before]:
				f.fail(a.SrcRange, wordsLocked(name, before.SrcRange))
			default:
				set[name] = t.value
			}
		}
	}
	f.vars = set // only now: one is not made of another
}

func (f *file) environment(e *hclsyntax.ScopeTraversalExpr) (cty.Value, bool) {
	var name string
	if len(e.Traversal) == 2 {
		if step, ok := e.Traversal[1].(hcl.TraverseAttr); ok {
			name = step.Name
		}
	}
	if name == "" {
		f.fail(e.Range(), say("env needs the name of one environment variable").hint("write ${env.NAME}"))
		return cty.NilVal, false
	}
	value := f.opt.Env(name)
	if value == "" {
		// An empty text in its place would silently turn "${env.X}/sock" into "/sock".
		f.fail(e.Range(), say("environment variable %s is not set", name).
			hint("set it for the agent, which does not see what a shell sets later, or write the value here"))
		return cty.NilVal, false
	}
	return cty.StringVal(value), true
}

// isA reports whether v is a known, non-null value of type t.
func isA(v cty.Value, t cty.Type) bool {
	return v != cty.NilVal && v.Type() == t && v.IsKnown() && !v.IsNull()
}

// textOf returns the string of an expression, without control characters.
func (f *file) textOf(e hclsyntax.Expression, want string) (text, bool) {
	v, ok := f.typed(e, cty.String, want)
	if !ok {
		return text{}, false
	}
	t := text{value: v.AsString(), shown: f.textAt(e.Range()), at: e.Range()}
	if bad := strings.IndexFunc(t.value, unicode.IsControl); bad >= 0 {
		r, _ := utf8.DecodeRuneInString(t.value[bad:])
		problem := say("the text has a control character (%U)", r)
		if r == '\n' {
			problem = problem.hint("text is one line: a heredoc has a line break at its end")
		}
		f.fail(t.at, problem)
		return text{}, false
	}
	return t, true
}

// textAt is the text of the file at a range, in one line and without secrets.
func (f *file) textAt(r hcl.Range) string {
	src := f.tree.Text(r.Filename)
	if !r.CanSliceBytes(src) {
		return ""
	}
	return excerpt.Printable(excerpt.Shorten(excerpt.Mask(string(r.SliceBytes(src))), 80))
}

func kindOfValue(v cty.Value) string {
	switch {
	case v == cty.NilVal || v.IsNull():
		return "null"
	case v.Type() == cty.String:
		return "text"
	case v.Type() == cty.Number:
		return "a number"
	case v.Type() == cty.Bool:
		return "true or false"
	}
	return "something else"
}

// oneOf reports t when it is none of the words.
func (f *file) oneOf(name string, t text, words []string) bool {
	if slices.Contains(words, t.value) {
		return true
	}
	problem := say("%s cannot be %s", name, t.shown).hint("%s", meant(t.value, words, "use one of: "))
	switch {
	case name == "capabilities" && (t.value == "sudo" || t.value == "deny"):
		problem = problem.because("a rule names operations; Vault asks for sudo besides one of them, and deny always wins")
	case name == "capabilities" && t.value == "write":
		problem = problem.hint(`a write is "create" or "update"`)
	}
	f.fail(t.at, problem)
	return false
}
