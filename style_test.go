package stepup_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// The limits of CONTRIBUTING.md. What does not fit is two things.
const (
	maxFileLines     = 600
	maxFunctionLines = 60
	maxParameters    = 4
)

func checkFileSize(f *sourceFile) []string {
	if f.lines <= maxFileLines {
		return nil
	}
	return []string{fmt.Sprintf("%s: %d lines, the limit is %d", f.name, f.lines, maxFileLines)}
}

func TestFileSizes(t *testing.T) {
	enforce(t, checkFileSize, []sample{
		{"too long", "cache/x.go", "package cache\n" + strings.Repeat("\n", maxFileLines), "601 lines"},
		{"long", "cache/x.go", "package cache\n" + strings.Repeat("\n", maxFileLines-1), ""},
	})
}

// functions gives each function with a body.
func functions(f *sourceFile) []*ast.FuncDecl {
	var found []*ast.FuncDecl
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			found = append(found, fn)
		}
	}
	return found
}

func checkFunctions(f *sourceFile) []string {
	var bad []string
	for _, fn := range functions(f) {
		lines := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1
		if lines > maxFunctionLines {
			bad = append(bad, fmt.Sprintf("%s: %s has %d lines, the limit is %d", f.at(fn.Pos()), fn.Name.Name, lines, maxFunctionLines))
		}
		// The order of init functions cannot be chosen, and their errors have nowhere to go.
		if fn.Name.Name == "init" && fn.Recv == nil {
			bad = append(bad, fmt.Sprintf("%s: init function", f.at(fn.Pos())))
		}
	}
	return bad
}

func TestFunctions(t *testing.T) {
	body := func(lines int) string {
		return "package cache\nfunc f() {\n" + strings.Repeat("\n", lines-2) + "}\n"
	}
	enforce(t, checkFunctions, []sample{
		{"too long", "cache/x.go", body(maxFunctionLines + 1), "f has 61 lines"},
		{"long", "cache/x.go", body(maxFunctionLines), ""},
		{"init", "cache/x.go", "package cache\nfunc init() {}", "init function"},
		{"method called init", "cache/x.go", "package cache\ntype t int\nfunc (t) init() {}", ""},
	})
}

// checkParameters looks at every function type: declared, literal or in an interface.
func checkParameters(f *sourceFile) []string {
	var bad []string
	ast.Inspect(f.ast, func(n ast.Node) bool {
		fn, ok := n.(*ast.FuncType)
		if !ok {
			return true
		}
		var kinds []string
		for _, field := range fn.Params.List {
			kind := "other"
			if id, ok := field.Type.(*ast.Ident); ok {
				kind = id.Name
			}
			kinds = append(kinds, slices.Repeat([]string{kind}, max(1, len(field.Names)))...)
		}
		if len(kinds) > maxParameters {
			bad = append(bad, fmt.Sprintf("%s: %d parameters, the limit is %d: make a struct of them", f.at(fn.Pos()), len(kinds), maxParameters))
		}
		for i := 1; i < len(kinds); i++ {
			if kinds[i] == "bool" && kinds[i-1] == "bool" {
				bad = append(bad, fmt.Sprintf("%s: two adjacent bools: no caller can read f(true, false)", f.at(fn.Pos())))
			}
		}
		return true
	})
	return bad
}

func TestParameters(t *testing.T) {
	enforce(t, checkParameters, []sample{
		{"five", "cache/x.go", "package cache\nfunc f(a, b, c int, d, e string) {}", "5 parameters"},
		{"five without names", "cache/x.go", "package cache\ntype i interface{ f(int, int, int, int, int) }", "5 parameters"},
		{"bools", "cache/x.go", "package cache\nfunc f(a int, b, c bool) {}", "two adjacent bools"},
		{"bools apart", "cache/x.go", "package cache\nfunc f(a bool, b int, c bool) {}", ""},
	})
}

// constants are calls whose results cannot be changed, so that a package
// variable of one is as good as a constant.
func constants() map[string]string {
	return map[string]string{
		"errors.New":               "a sentinel that callers compare with",
		"fmt.Errorf":               "a sentinel that wraps another",
		"regexp.MustCompile":       "compiled once, safe to share",
		"strings.NewReplacer":      "compiled once, safe to share",
		"template.Must":            "parsed once, safe to share",
		"netip.MustParsePrefix":    "a value",
		"netip.MustParseAddr":      "a value",
		"netip.AddrFrom4":          "a value",
		"windows.NewLazySystemDLL": "found once by the system, safe to share",
	}
}

// checkVariables refuses state that every caller in the process shares.
func checkVariables(f *sourceFile) []string {
	var bad []string
	for _, d := range f.ast.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.VAR {
			continue
		}
		for _, s := range decl.Specs {
			spec, ok := s.(*ast.ValueSpec)
			if !ok || embedded(decl, spec) {
				continue
			}
			for i, name := range spec.Names {
				// var _ I = (*T)(nil) proves an implementation and keeps nothing.
				if name.Name == "_" || i < len(spec.Values) && constant(spec.Values[i]) {
					continue
				}
				bad = append(bad, fmt.Sprintf("%s: package variable %s: make it a constant, a function or a field", f.at(name.Pos()), name.Name))
			}
		}
	}
	return bad
}

// embedded reports whether the compiler fills the variable from a file. The
// directive stands above the declaration, or above the one in a group.
func embedded(decl *ast.GenDecl, spec *ast.ValueSpec) bool {
	for _, doc := range []*ast.CommentGroup{decl.Doc, spec.Doc} {
		if doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") }) {
			return true
		}
	}
	return false
}

// constant reports whether a value cannot be changed: the result of one of [constants], or
// a sentinel of another package under a name of our own.
func constant(e ast.Expr) bool {
	if sel, ok := e.(*ast.SelectorExpr); ok {
		return strings.HasPrefix(sel.Sel.Name, "Err")
	}
	call, ok := e.(*ast.CallExpr)
	return ok && constants()[callee(call)] != ""
}

// callee gives "pkg.Func" or "value.Method" for a call of that form, else "".
func callee(call *ast.CallExpr) string {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if on, ok := sel.X.(*ast.Ident); ok {
		return on.Name + "." + sel.Sel.Name
	}
	return "." + sel.Sel.Name
}

func TestPackageVariables(t *testing.T) {
	enforce(t, checkVariables, []sample{
		{"state", "cache/x.go", "package cache\nvar n int", "package variable n"},
		{"a table that anybody may change", "cache/x.go", "package cache\nvar m = map[string]int{}", "package variable m"},
		{"in a group", "cache/x.go", "package cache\nvar (\n e = errors.New(\"e\")\n n = 1\n)", "package variable n"},
		{"guard", "cache/x.go", "package cache\nvar _ I = (*T)(nil)", ""},
		{"sentinel", "cache/x.go", "package cache\nvar ErrX = errors.New(\"x\")", ""},
		{"sentinel of another package", "cache/x.go", "package cache\nvar ErrX = keyring.ErrX", ""},
		{"state of another package", "cache/x.go", "package cache\nvar x = keyring.X", "package variable x"},
		{"embedded", "cache/x.go", "package cache\n//go:embed x\nvar x string", ""},
		{"local", "cache/x.go", "package cache\nfunc f() { var n int; _ = n }", ""},
	})
}

// checkGlobals keeps the process's own streams, logger and end to main.
func checkGlobals(f *sourceFile) []string {
	if f.isMain() {
		return nil
	}
	var bad []string
	ast.Inspect(f.ast, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		name := callee(call)
		if id, ok := call.Fun.(*ast.Ident); ok {
			name = id.Name
		}
		if why := global(name); why != "" {
			bad = append(bad, fmt.Sprintf("%s: %s: %s", f.at(call.Pos()), name, why))
		}
		return true
	})
	return bad
}

func global(name string) string {
	switch name {
	case "fmt.Print", "fmt.Printf", "fmt.Println", "print", "println":
		return "only cmd writes to the process's own output"
	case "slog.Debug", "slog.Info", "slog.Warn", "slog.Error", "slog.Log", "slog.Default", "slog.SetDefault",
		"slog.DebugContext", "slog.InfoContext", "slog.WarnContext", "slog.ErrorContext",
		"log.Print", "log.Printf", "log.Println", "log.Default":
		return "a logger is a field"
	case "os.Exit", "log.Fatal", "log.Fatalf", "log.Fatalln":
		return "only main ends the process"
	}
	return ""
}

func TestGlobals(t *testing.T) {
	enforce(t, checkGlobals, []sample{
		{"print", "cache/x.go", "package cache\nfunc f() { fmt.Println() }", "fmt.Println"},
		{"builtin print", "cache/x.go", "package cache\nfunc f() { println() }", "println"},
		{"exit", "cache/x.go", "package cache\nfunc f() { os.Exit(1) }", "only main ends"},
		{"global logger", "cache/x.go", "package cache\nfunc f() { slog.Info(\"x\") }", "a logger is a field"},
		{"own logger", "cache/x.go", "package cache\nfunc f(l *slog.Logger) { l.Info(\"x\") }", ""},
		{"main", "cmd/stepup/x.go", "package main\nfunc f() { fmt.Println() }", ""},
	})
}
