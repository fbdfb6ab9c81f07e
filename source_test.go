package stepup_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/vault-stepup/stepup"

// A sourceFile is one Go file of this module. Files of every operating system
// are read, so that a rule is not broken in code that this system does not compile.
type sourceFile struct {
	name  string // path with slashes, from the root
	dir   string // "." for the root
	ast   *ast.File
	fset  *token.FileSet
	lines int
}

// at names a place as editors and terminals understand it.
func (f *sourceFile) at(p token.Pos) string {
	return f.fset.Position(p).String()
}

func (f *sourceFile) isMain() bool { return f.ast.Name.Name == "main" }

// parse makes a sourceFile of text, for the files and for the tests of the checks.
func parse(fset *token.FileSet, name string, text []byte) (*sourceFile, error) {
	tree, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &sourceFile{name: name, dir: path.Dir(name), ast: tree, fset: fset, lines: bytes.Count(text, []byte("\n"))}, nil
}

// sources reads every Go file of this module that is part of a build. Tests are
// left out: they may look behind the walls that the program may not.
func sources(t *testing.T) []*sourceFile {
	t.Helper()
	var files []*sourceFile
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && notOurs(name) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f, err := parse(fset, filepath.ToSlash(name), text)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no Go files: the test does not run in the root of the module")
	}
	return files
}

// notOurs leaves out what the go command leaves out, and modules of their own.
func notOurs(dir string) bool {
	base := filepath.Base(dir)
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "bin" {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// A check gives one line for each place where a file breaks a rule.
type check func(*sourceFile) []string

// enforce holds all files to a check, and shows by samples that it can fail.
func enforce(t *testing.T, c check, samples []sample) {
	t.Helper()
	t.Parallel()
	for _, f := range sources(t) {
		for _, offence := range c(f) {
			t.Error(offence)
		}
	}
	prove(t, c, samples)
}

// A sample is a piece of source and what a check must say of it; offence "" is nothing.
type sample struct {
	name, file, text, offence string
}

// prove shows that a check can fail, and that it does not when it should not.
func prove(t *testing.T, c check, samples []sample) {
	t.Helper()
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			f, err := parse(token.NewFileSet(), s.file, []byte(s.text))
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(c(f), "\n")
			if s.offence == "" && got != "" {
				t.Errorf("complains of good code: %s", got)
			}
			if !strings.Contains(got, s.offence) {
				t.Errorf("got %q, want something with %q", got, s.offence)
			}
		})
	}
}
