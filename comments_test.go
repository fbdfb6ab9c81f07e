package stepup_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"testing"
)

// checkComments wants a doc comment on whatever other packages may call or name.
func checkComments(f *sourceFile) []string {
	var bad []string
	complain := func(p token.Pos, name string) {
		bad = append(bad, fmt.Sprintf("%s: exported %s has no doc comment", f.at(p), name))
	}
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Doc == nil && visible(d) && !idiom(d) {
				complain(d.Pos(), d.Name.Name)
			}
		case *ast.GenDecl:
			for _, name := range undocumented(d) {
				complain(name.Pos(), name.Name)
			}
		}
	}
	return bad
}

// visible reports whether a function can be reached from another package.
func visible(d *ast.FuncDecl) bool {
	return d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d.Recv.List[0].Type)))
}

// receiver gives the type's name of T, *T and T[P].
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	}
	return ""
}

// idiom are methods whose contract is that of the standard interface with the same name.
func idiom(d *ast.FuncDecl) bool {
	return d.Recv != nil && slices.Contains([]string{"Error", "Unwrap", "Is", "String", "Len", "Less", "Swap", "ServeHTTP", "Read", "Write", "Close"}, d.Name.Name)
}

// undocumented gives the exported names of a declaration that neither the
// declaration, nor the line above, nor the rest of the line says anything of.
func undocumented(d *ast.GenDecl) []*ast.Ident {
	if d.Doc != nil {
		return nil
	}
	var found []*ast.Ident
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			if s.Doc == nil && s.Name.IsExported() {
				found = append(found, s.Name)
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if s.Doc == nil && s.Comment == nil && name.IsExported() {
					found = append(found, name)
				}
			}
		}
	}
	return found
}

func TestDocComments(t *testing.T) {
	enforce(t, checkComments, []sample{
		{"function", "cache/x.go", "package cache\nfunc F() {}", "exported F"},
		{"method", "cache/x.go", "package cache\nfunc (T) F() {}", "exported F"},
		{"generic method", "cache/x.go", "package cache\nfunc (*T[K, V]) F() {}", "exported F"},
		{"type", "cache/x.go", "package cache\ntype T int", "exported T"},
		{"constant", "cache/x.go", "package cache\nconst C = 1", "exported C"},
		{"method of a hidden type", "cache/x.go", "package cache\nfunc (t) F() {}", ""},
		{"standard interface", "cache/x.go", "package cache\nfunc (T) Error() string { return \"\" }", ""},
		{"documented group", "cache/x.go", "package cache\n// Kinds.\nconst (\n A = 1\n B = 2\n)", ""},
		{"documented", "cache/x.go", "package cache\n// F does.\nfunc F() {}", ""},
	})
}
