package config

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// A text is a string of the file with its place.
type text struct {
	value string
	// shown is how messages repeat it: as it stands in the file, so that what an
	// environment variable holds never gets into a message.
	shown string
	at    hcl.Range
}

// Words for the type that an argument has.
const (
	wantText     = "text in quotes"
	wantList     = "a list of texts"
	wantNumber   = "a whole number"
	wantFlag     = "true or false, without quotes"
	wantDuration = `a duration in quotes, such as "55s"`
	wantSize     = `a number of bytes or a size in quotes, such as "1MiB"`
)

// evaluate gives the value of an expression that is no list. It is done here
// and not by the expression itself because only these few kinds are allowed.
func (d *decoder) evaluate(e hclsyntax.Expression, want string) (cty.Value, bool) {
	switch e := e.(type) {
	case *hclsyntax.LiteralValueExpr:
		return e.Val, true
	case *hclsyntax.TemplateExpr:
		return d.template(e)
	case *hclsyntax.TemplateWrapExpr:
		if t, ok := e.Wrapped.(*hclsyntax.ScopeTraversalExpr); ok {
			return d.variable(t)
		}
	case *hclsyntax.ScopeTraversalExpr:
		return d.variable(e)
	case *hclsyntax.UnaryOpExpr:
		if lit, ok := e.Val.(*hclsyntax.LiteralValueExpr); ok && e.Op == hclsyntax.OpNegate && isA(lit.Val, cty.Number) {
			return lit.Val.Negate(), true
		}
	case *hclsyntax.TupleConsExpr, *hclsyntax.ObjectConsExpr:
		d.fail(e.Range(), wordsType(want, kindOf(e)))
		return cty.NilVal, false
	}
	d.fail(e.Range(), wordsExpression())
	return cty.NilVal, false
}

func (d *decoder) template(e *hclsyntax.TemplateExpr) (cty.Value, bool) {
	var s strings.Builder
	for _, part := range e.Parts {
		var v cty.Value
		ok := false
		switch part := part.(type) {
		case *hclsyntax.LiteralValueExpr:
			v, ok = part.Val, isA(part.Val, cty.String)
		case *hclsyntax.ScopeTraversalExpr:
			if v, ok = d.variable(part); !ok {
				return cty.NilVal, false
			}
		}
		if !ok {
			d.fail(part.Range(), wordsExpression())
			return cty.NilVal, false
		}
		s.WriteString(v.AsString())
	}
	return cty.StringVal(s.String()), true
}

// variable gives env.NAME, home, runtime_dir or state_dir.
func (d *decoder) variable(e *hclsyntax.ScopeTraversalExpr) (cty.Value, bool) {
	at, root := e.Range(), e.Traversal.RootName()
	switch {
	case root == "env":
		return d.environment(e)
	case root != "home" && root != "runtime_dir" && root != "state_dir":
		problem := say("there is no variable %q", root)
		if n := nearest(root, []string{"env", "home", "runtime_dir", "state_dir"}); n != "" {
			problem = problem.hint("did you mean %q?", n)
		} else {
			problem = problem.hint("put text in quotes: %q", root)
		}
		d.fail(at, problem)
	case len(e.Traversal) != 1:
		d.fail(at, wordsExpression())
	default:
		value := map[string]string{"home": d.opt.Home, "runtime_dir": d.opt.RuntimeDir, "state_dir": d.opt.StateDir}[root]
		if value != "" {
			return cty.StringVal(value), true
		}
		d.fail(at, say("%s is not known on this machine", root).hint("set HOME, or write the whole path"))
	}
	return cty.NilVal, false
}

func (d *decoder) environment(e *hclsyntax.ScopeTraversalExpr) (cty.Value, bool) {
	var name string
	if len(e.Traversal) == 2 {
		if step, ok := e.Traversal[1].(hcl.TraverseAttr); ok {
			name = step.Name
		}
	}
	if name == "" {
		d.fail(e.Range(), say("env needs the name of one environment variable").hint("write ${env.NAME}"))
		return cty.NilVal, false
	}
	value := d.opt.Env(name)
	if value == "" {
		// An empty text in its place would silently turn "${env.X}/sock" into "/sock".
		d.fail(e.Range(), say("environment variable %s is not set", name).
			hint("set it for the agent, which does not see what a shell sets later, or write the value here"))
		return cty.NilVal, false
	}
	return cty.StringVal(value), true
}

// isA reports whether v is a known, non-null value of type t.
func isA(v cty.Value, t cty.Type) bool {
	return v != cty.NilVal && v.Type() == t && v.IsKnown() && !v.IsNull()
}

// textOf gives the string of an expression, without control characters.
func (d *decoder) textOf(e hclsyntax.Expression, want string) (text, bool) {
	v, ok := d.evaluate(e, want)
	if !ok {
		return text{}, false
	}
	if !isA(v, cty.String) {
		d.fail(e.Range(), wordsType(want, kindOfValue(v)))
		return text{}, false
	}
	t := text{value: v.AsString(), shown: d.source(e.Range()), at: e.Range()}
	if bad := strings.IndexFunc(t.value, unicode.IsControl); bad >= 0 {
		r, _ := utf8.DecodeRuneInString(t.value[bad:])
		problem := say("the text has a control character (%U)", r)
		if r == '\n' {
			problem = problem.hint("text is one line: a heredoc has a line break at its end")
		}
		d.fail(t.at, problem)
		return text{}, false
	}
	return t, true
}

// source is the text of the file at a range, in one line and without secrets.
func (d *decoder) source(r hcl.Range) string {
	if !r.CanSliceBytes(d.src) {
		return ""
	}
	return printable(shorten(mask(string(r.SliceBytes(d.src))), 80))
}

func kindOf(e hclsyntax.Expression) string {
	if _, ok := e.(*hclsyntax.TupleConsExpr); ok {
		return "a list"
	}
	return "an object"
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
