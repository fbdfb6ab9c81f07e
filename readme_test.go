package stepup_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/config"
)

func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// groups gives what the first group of a pattern matched, each once, in order.
func groups(pattern, text string) []string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// What a new user copies must load without a word.
func TestReadmeConfigurations(t *testing.T) {
	t.Parallel()
	loaded := 0
	for _, page := range pages(t) {
		for _, block := range groups("(?ms)^```hcl\n(.*?)^```$", readText(t, page)) {
			loaded++
			_, diagnostics := config.Parse(page, []byte(block), config.Options{
				Env:  func(name string) string { return map[string]string{"USER": "alice"}[name] },
				Home: "/home/alice", RuntimeDir: "/run/user/1000/stepup", StateDir: "/home/alice/.local/state/stepup",
			})
			if len(diagnostics.All()) > 0 {
				var b bytes.Buffer
				_ = diagnostics.Write(&b, 0, false) // a Buffer does not fail
				t.Errorf("%s\nin\n%s", &b, block)
			}
		}
	}
	if loaded < 2 {
		t.Fatalf("%d HCL blocks, want at least 2", loaded)
	}
}

// README.md links every conversation.
func TestReadmeConversations(t *testing.T) {
	t.Parallel()
	linked := groups(`\]\((examples/conversations/[^)]+)\)`, readText(t, "README.md"))
	pages, err := filepath.Glob("examples/conversations/*.md")
	for i := range pages {
		pages[i] = filepath.ToSlash(pages[i])
	}
	if err != nil || len(pages) == 0 || !slices.Equal(linked, pages) {
		t.Errorf("README.md links %q, there are %q (%v)", linked, pages, err)
	}
}

// Every command is in the documents.
func TestCommandsAreDocumented(t *testing.T) {
	t.Parallel()
	const page = "docs/users.md"
	text := readText(t, page)
	for _, f := range sources(t) {
		if !strings.HasPrefix(f.dir, "cmd/stepup") {
			continue
		}
		for _, name := range groups(`Use:\s*"([a-z-]+)`, readText(t, f.name)) {
			if name != "stepup" && !regexp.MustCompile(`stepup ([a-z-]+ )?`+name+`\b`).MatchString(text) {
				t.Errorf("%s has the command %q, which %s does not mention", f.name, name, page)
			}
		}
	}
}

// The import table that people read is the one that is enforced.
func TestImportTable(t *testing.T) {
	t.Parallel()
	rows := map[string][]string{}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\|.*\\| `[a-z]+\\.go` \\| (.*) \\|$")
	for _, m := range row.FindAllStringSubmatch(readText(t, "ARCHITECTURE.md"), -1) {
		rows[m[1]] = groups("`([^`]+)`", m[2])
	}
	for dir, allowed := range layers() {
		if _, err := os.Stat(dir); dir == "." || err != nil {
			continue // the root is only tests; a package may be planned
		}
		want := slices.Sorted(slices.Values(allowed))
		if got, ok := rows[dir]; !ok || !slices.Equal(got, want) {
			t.Errorf("ARCHITECTURE.md: %s imports %q (has a row: %v), the import table of the test says %q", dir, got, ok, want)
		}
	}
}
