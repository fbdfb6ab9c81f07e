package stepup_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/types"
	"path"
	"slices"
	"strings"
	"testing"
)

// senders are the packages that a secret goes out of: to Vault, to the keyring,
// to the agent over its own socket, to the person it belongs to, or to the command that
// the person gives it to.
func senders() []string {
	return []string{"agent/vault", "agent/relay", "agent/stepup", "agent/stepup/approval", "agent/stepup/factor", "agent/stepup/state", "agent/control", "cache", "cache/cachetest", "cache/keyring", "cmd/stepup/internal/exec", "cmd/stepup/internal/secrets", "prompt", "prompt/qrcode"}
}

// checkReveal finds the word that makes a secret readable where nothing is sent,
// and anywhere in the arguments of what keeps or shows them.
func checkReveal(f *sourceFile) []string {
	var bad []string
	ast.Inspect(f.ast, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if reveals(call) && !slices.Contains(senders(), f.dir) {
			bad = append(bad, fmt.Sprintf("%s: %s sends no secrets and may not reveal one", f.at(call.Pos()), f.dir))
		}
		where := sink(call)
		if where == "" {
			return true
		}
		for _, arg := range call.Args {
			ast.Inspect(arg, func(n ast.Node) bool {
				if inner, ok := n.(*ast.CallExpr); ok && reveals(inner) {
					bad = append(bad, fmt.Sprintf("%s: a secret is revealed into %s", f.at(inner.Pos()), where))
				}
				return true
			})
		}
		return true
	})
	return bad
}

func reveals(call *ast.CallExpr) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Reveal"
}

// sink says what keeps or shows the arguments of a call, "" for none that is known.
func sink(call *ast.CallExpr) string {
	name := callee(call)
	on, method, ok := strings.Cut(name, ".")
	if !ok {
		return ""
	}
	switch name {
	case "fmt.Errorf", "errors.New", "http.Error":
		return "an error"
	case "exec.Command", "exec.CommandContext":
		return "the arguments of a process, which every user can read"
	case "os.Setenv":
		return "the environment"
	case "url.Parse", "url.QueryEscape", "url.PathEscape":
		return "a URL, which every proxy logs"
	}
	switch method {
	case "Debug", "Info", "Warn", "Error", "Log", "LogAttrs", "DebugContext", "InfoContext", "WarnContext", "ErrorContext":
		return "a log"
	case "WithLabelValues":
		return "a metric"
	}
	if on == "slog" || on == "log" {
		return "a log"
	}
	return ""
}

func TestReveal(t *testing.T) {
	enforce(t, checkReveal, []sample{
		{"not a sender", "agent/audit/x.go", "package audit\nvar _ = s.Reveal()", "sends no secrets"},
		{"log", "cache/x.go", "package cache\nfunc f() { x.log.Warn(\"m\", \"token\", s.Reveal()) }", "into a log"},
		{"attribute", "cache/x.go", "package cache\nfunc f() { _ = slog.String(\"token\", s.Reveal()) }", "into a log"},
		{"error", "cache/x.go", "package cache\nfunc f() { _ = fmt.Errorf(\"%s\", s.Reveal()) }", "into an error"},
		{"nested", "cache/x.go", "package cache\nfunc f() { _ = errors.New(\"a\" + g(s.Reveal())) }", "into an error"},
		{"argument", "cache/x.go", "package cache\nfunc f() { _ = exec.Command(\"x\", s.Reveal()) }", "arguments of a process"},
		{"sent", "agent/vault/x.go", "package vault\nfunc f() { r.Header.Set(\"X-Vault-Token\", s.Reveal()) }", ""},
	})
}

// A tree type-checks the packages of this module against each other. What
// comes from elsewhere stays unknown: no dependency is compiled, and a type of
// our own is known all the same.
type tree struct {
	files   map[string][]*sourceFile
	checked map[string]*types.Package
	info    types.Info
}

func newTree(files []*sourceFile) *tree {
	tr := &tree{files: map[string][]*sourceFile{}, checked: map[string]*types.Package{}, info: types.Info{Types: map[ast.Expr]types.TypeAndValue{}}}
	for _, f := range files {
		tr.files[f.dir] = append(tr.files[f.dir], f)
	}
	return tr
}

var _ types.Importer = (*tree)(nil)

// Import implements types.Importer.
func (tr *tree) Import(imported string) (*types.Package, error) {
	dir, ours := strings.CutPrefix(imported, module+"/")
	if !ours {
		return nil, errors.New("not looked at")
	}
	if done := tr.checked[dir]; done != nil {
		return done, nil
	}
	var trees []*ast.File
	for _, f := range tr.files[dir] {
		trees = append(trees, f.ast)
	}
	if len(trees) == 0 {
		return nil, errors.New("no files for this system")
	}
	config := types.Config{Importer: tr, Error: func(error) {}} // what is unknown is full of errors
	done, _ := config.Check(imported, tr.files[dir][0].fset, trees, &tr.info)
	tr.checked[dir] = done
	return done, nil
}

// conversions finds string(secret) and []byte(secret), which read a secret
// without the word that searches find.
func (tr *tree) conversions() []string {
	var bad []string
	for dir, files := range tr.files {
		_, _ = tr.Import(path.Join(module, dir))
		for _, f := range files {
			for _, d := range f.ast.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == "Reveal" && dir == "cache/secret" {
					continue // the one way out
				}
				ast.Inspect(d, func(n ast.Node) bool {
					if call, ok := n.(*ast.CallExpr); ok && tr.converts(call) {
						bad = append(bad, fmt.Sprintf("%s: a secret.Secret is converted: say Reveal, so that it can be found", f.at(call.Pos())))
					}
					return true
				})
			}
		}
	}
	return bad
}

func (tr *tree) converts(call *ast.CallExpr) bool {
	if len(call.Args) != 1 || !tr.info.Types[call.Fun].IsType() {
		return false
	}
	return secret(tr.info.Types[call.Args[0]].Type) && !secret(tr.info.Types[call.Fun].Type)
}

func secret(t types.Type) bool {
	named, ok := types.Unalias(t).(*types.Named)
	return ok && named.Obj().Name() == "Secret" && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == module+"/cache/secret"
}

// builtFor leaves out the files of other systems, which declare the same names again.
func builtFor(t *testing.T, system string, files []*sourceFile) []*sourceFile {
	t.Helper()
	context := build.Default
	context.GOOS = system
	var kept []*sourceFile
	for _, f := range files {
		match, err := context.MatchFile(path.Dir(f.name), path.Base(f.name))
		if err != nil {
			t.Fatal(err)
		}
		if match {
			kept = append(kept, f)
		}
	}
	return kept
}

func TestSecretConversions(t *testing.T) {
	t.Parallel()
	for _, system := range []string{"linux", "darwin", "windows"} {
		t.Run(system, func(t *testing.T) {
			t.Parallel()
			for _, offence := range newTree(builtFor(t, system, sources(t))).conversions() {
				t.Error(offence)
			}
		})
	}
}

func TestSecretConversionsAreFound(t *testing.T) {
	t.Parallel()
	files := builtFor(t, "linux", sources(t))
	const text = `package extra
import ("github.com/vault-stepup/stepup/cache"; "github.com/vault-stepup/stepup/cache/secret")
type holder struct{ token cache.Token }
func text(h *holder) string { return string(h.token.Secret) }
func bytes(s secret.Secret) []byte { return []byte(s) }
func fine(s string) secret.Secret { return secret.Secret(s) }
`
	extra, err := parse(files[0].fset, "extra/x.go", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	found := newTree(append(files, extra)).conversions()
	for _, want := range []string{"x.go:4:", "x.go:5:"} {
		if !slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, want) }) {
			t.Errorf("nothing was found at %s in %q", want, found)
		}
	}
	if slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, "x.go:6:") }) {
		t.Errorf("making a secret is no offence: %q", found)
	}
}
