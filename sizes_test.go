package stepup_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strings"
	"testing"
)

// The limits of a package. What does not fit is two packages.
const (
	maxPackageLines = 2500
	maxPackageFiles = 20
	maxMethodFiles  = 3 // that the methods of one type are in
)

// unfinished are packages that are still larger than a package may be, or whose types
// are still cut into pieces. The list only gets shorter: a package that keeps the limits
// must leave it. agent/devvault is a Vault of its own and stays.
func unfinished() []string {
	return []string{"agent/devvault"}
}

// byPackage groups files by their folders.
func byPackage(files []*sourceFile) map[string][]*sourceFile {
	packages := map[string][]*sourceFile{}
	for _, f := range files {
		packages[f.dir] = append(packages[f.dir], f)
	}
	return packages
}

// checkPackage returns a line for each limit that a package breaks.
func checkPackage(files []*sourceFile) []string {
	dir, lines := files[0].dir, 0
	for _, f := range files {
		lines += f.lines
	}
	var bad []string
	if lines > maxPackageLines {
		bad = append(bad, fmt.Sprintf("%s: %d lines, the limit of a package is %d", dir, lines, maxPackageLines))
	}
	if len(files) > maxPackageFiles {
		bad = append(bad, fmt.Sprintf("%s: %d files, the limit of a package is %d", dir, len(files), maxPackageFiles))
	}
	for name, in := range methodFiles(files) {
		if len(in) > maxMethodFiles {
			bad = append(bad, fmt.Sprintf("%s: the methods of %s are in %d files, the limit is %d: %q", dir, name, len(in), maxMethodFiles, in))
		}
	}
	structs := structTypes(files)
	for name := range structs {
		if depth := embedding(structs, name); depth > 1 {
			bad = append(bad, fmt.Sprintf("%s: %s embeds over %d levels: give the inner value a field", dir, name, depth))
		}
	}
	return append(bad, keptContexts(files)...)
}

// methodFiles lists the files with methods of each type.
func methodFiles(files []*sourceFile) map[string][]string {
	in := map[string][]string{}
	for _, f := range files {
		for _, fn := range functions(f) {
			if fn.Recv == nil {
				continue
			}
			if name := receiver(fn.Recv.List[0].Type); !slices.Contains(in[name], f.name) {
				in[name] = append(in[name], f.name)
			}
		}
	}
	return in
}

func structTypes(files []*sourceFile) map[string]*ast.StructType {
	found := map[string]*ast.StructType{}
	for _, f := range files {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if s, ok := spec.Type.(*ast.StructType); ok {
					found[spec.Name.Name] = s
				}
			}
			return true
		})
	}
	return found
}

// embedding is how many structs of its package a struct embeds in one another.
func embedding(structs map[string]*ast.StructType, name string) int {
	depth, s := 0, structs[name]
	if s == nil {
		return 0
	}
	for _, field := range s.Fields.List {
		if inner := receiver(field.Type); len(field.Names) == 0 && structs[inner] != nil && inner != name {
			depth = max(depth, 1+embedding(structs, inner))
		}
	}
	return depth
}

// keptContexts finds contexts in structs: they outlive the call that they belong to. A
// reason for one stands behind nolint:containedctx.
func keptContexts(files []*sourceFile) []string {
	var bad []string
	for _, f := range files {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			s, ok := n.(*ast.StructType)
			if !ok {
				return true
			}
			for _, field := range s.Fields.List {
				sel, ok := field.Type.(*ast.SelectorExpr)
				if !ok || sel.Sel.Name != "Context" || field.Comment != nil && strings.Contains(field.Comment.List[0].Text, "nolint:containedctx") {
					continue
				}
				bad = append(bad, fmt.Sprintf("%s: a context in a struct", f.at(field.Pos())))
			}
			return true
		})
	}
	return bad
}

func TestPackages(t *testing.T) {
	t.Parallel()
	packages := byPackage(sources(t))
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		bad := checkPackage(packages[dir])
		if slices.Contains(unfinished(), dir) {
			if len(bad) == 0 {
				t.Errorf("%s keeps the limits: take it off the list of unfinished packages", dir)
			}
			continue
		}
		for _, offence := range bad {
			t.Error(offence)
		}
	}
	all := func(f *sourceFile) []string { return checkPackage([]*sourceFile{f}) }
	prove(t, all, []sample{
		{"too long", "cache/x.go", "package cache\n" + strings.Repeat("\n", maxPackageLines), "2501 lines"},
		{"long", "cache/x.go", "package cache\n" + strings.Repeat("\n", maxPackageLines-1), ""},
		{"a context", "cache/x.go", "package cache\ntype t struct{ ctx context.Context }", "a context in a struct"},
		{"a context with a reason", "cache/x.go", "package cache\ntype t struct {\n\tctx context.Context //nolint:containedctx // of the one call\n}", ""},
		{"two levels", "cache/x.go", "package cache\ntype a struct{}\ntype b struct{ a }\ntype c struct{ *b }", "c embeds over 2 levels"},
		{"one level", "cache/x.go", "package cache\ntype a struct{ n int }\ntype b struct{ a }", ""},
	})
}

func TestPackageFiles(t *testing.T) {
	t.Parallel()
	var files []*sourceFile
	for i := range maxPackageFiles + 1 {
		text := fmt.Sprintf("package cache\nfunc (t) f%d() {}", i)
		parsed, err := parse(token.NewFileSet(), fmt.Sprintf("cache/x%d.go", i), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, parsed)
	}
	got := strings.Join(checkPackage(files), "\n")
	for _, want := range []string{"21 files", "the methods of t are in 21 files"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want something with %q", got, want)
		}
	}
	if got := checkPackage(files[:maxMethodFiles]); len(got) > 0 {
		t.Errorf("complains of good code: %q", got)
	}
}
