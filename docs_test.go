package stepup_test

import (
	"go/ast"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pages are the documents with commands in them.
func pages(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files in docs, %v", len(files), err)
	}
	for i := range files {
		files[i] = filepath.ToSlash(files[i])
	}
	return append([]string{"README.md", "CONTRIBUTING.md"}, files...)
}

// A fence is a block of a page with the line above it.
type fence struct {
	above, kind, text string
	line              int
}

func fences(page string) (all []fence) {
	var above string
	var inside *fence
	number := 0
	for line := range strings.Lines(page) {
		number++
		text := strings.TrimSuffix(line, "\n")
		switch mark, opens := strings.CutPrefix(strings.TrimLeft(text, " "), "```"); {
		case opens && inside == nil:
			inside = &fence{above: above, kind: mark, line: number}
		case opens:
			all = append(all, *inside)
			inside = nil
		case inside != nil:
			inside.text += line
		}
		above = text
	}
	return all
}

// Each block of commands says that a test runs it (e2e/docs_linux_test.go), or why none can.
func TestDocsCommandsAreRun(t *testing.T) {
	t.Parallel()
	mark := regexp.MustCompile(`^<!-- (run: [a-z][a-z0-9-]*(, (fails|enterprise|until [^>]+))*|not run: \S.{10,}) -->$`)
	invisible := regexp.MustCompile(`(?m)^<!-- (?:run|not run|output|file|setup)`)
	ran := 0
	for _, page := range pages(t) {
		text := readText(t, page)
		for _, f := range fences(text) {
			marked := mark.MatchString(f.above)
			if marked && strings.HasPrefix(f.above, "<!-- run") {
				ran++
			}
			if marked != (f.kind == "sh") {
				t.Errorf("%s:%d: a block of kind %q below %q: each sh block, and no other, has one of\n"+
					"<!-- run: NAME -->, <!-- run: NAME, until COMMAND -->, <!-- run: NAME, fails -->, <!-- not run: REASON -->", page, f.line, f.kind, f.above)
			}
		}
		// A mark that stands before no block would have no effect.
		marks := len(invisible.FindAllString(text, -1))
		obeyed := 0
		for _, f := range fences(text) {
			if invisible.MatchString(f.above) {
				obeyed++
			}
		}
		obeyed += len(regexp.MustCompile(`(?m)^<!-- setup: [a-z][a-z0-9-]*$`).FindAllString(text, -1))
		if marks != obeyed {
			t.Errorf("%s has %d marks, and %d of them stand right above a block", page, marks, obeyed)
		}
	}
	if ran == 0 {
		t.Error("no block is run")
	}
}

// A make target that is not there is the first thing that a new user would see.
func TestDocsMakeTargets(t *testing.T) {
	t.Parallel()
	targets := groups(`(?m)^([a-z0-9-]+):.*## `, readText(t, "Makefile"))
	for _, page := range pages(t) {
		text := readText(t, page)
		for _, f := range fences(text) {
			for _, name := range groups(`(?m)(?:^ *(?:\$ )?|&& *|[;|] *)make ([a-z0-9-]+)`, f.text) {
				if !slices.Contains(targets, name) {
					t.Errorf("%s:%d: make %s is no target", page, f.line, name)
				}
			}
		}
		for _, name := range groups("`make ([a-z0-9-]+)`", text) {
			if !slices.Contains(targets, name) {
				t.Errorf("%s: make %s is no target", page, name)
			}
		}
	}
}

// A link to a page that is not there, or to a heading of it, leads nowhere.
func TestDocsLinks(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		for _, link := range groups(`\]\(([^)\s]+)\)`, readText(t, page)) {
			target, heading, _ := strings.Cut(link, "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := page
			if target != "" {
				file = filepath.ToSlash(filepath.Join(filepath.Dir(page), target))
			}
			if found, err := filepath.Glob(file); err != nil || len(found) != 1 {
				t.Errorf("%s links %s, which is not there", page, link)
				continue
			}
			if heading != "" && !slices.Contains(anchors(readText(t, file)), heading) {
				t.Errorf("%s links %s: no such heading in %q", page, link, anchors(readText(t, file)))
			}
		}
	}
}

// anchors are the headings of a page as links name them.
func anchors(page string) (all []string) {
	for _, heading := range groups(`(?m)^#+ (.*)$`, page) {
		name := strings.ToLower(strings.ReplaceAll(heading, " ", "-"))
		all = append(all, regexp.MustCompile(`[^\p{L}\p{N}_-]`).ReplaceAllString(name, ""))
	}
	return all
}

// What the page of symptoms quotes is what the program says: each line of a block
// without a kind is a text of ours, with … for what differs from time to time.
func TestDocsMessages(t *testing.T) {
	t.Parallel()
	const page = "docs/troubleshooting.md"
	words := wordsOfOurs(t)
	quoted := 0
	for _, f := range fences(readText(t, page)) {
		if f.kind != "" {
			continue
		}
		for line := range strings.Lines(f.text) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			quoted++
			if !slices.ContainsFunc(words, func(word string) bool { return says(word, strings.Split(line, "…")) }) {
				t.Errorf("%s:%d: no text of the program's is like %q", page, f.line, line)
			}
		}
	}
	if quoted < 10 {
		t.Errorf("%s quotes %d messages, want at least 10", page, quoted)
	}
}

// says reports whether a text has the pieces in this order.
func says(text string, pieces []string) bool {
	for _, piece := range pieces {
		_, rest, found := strings.Cut(text, piece)
		if !found {
			return false
		}
		text = rest
	}
	return true
}

// wordsOfOurs are the string literals of the program. A text stands where it is used, or
// in a file of words where it is shared.
func wordsOfOurs(t *testing.T) (all []string) {
	t.Helper()
	for _, f := range sources(t) {
		if f.dir == "agent/devvault" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, text)
			}
			return true
		})
	}
	return all
}

// The ten words of users.md are used in its sense on every page: what stepup asks is a
// question. Commands, settings and fields have "prompt" in their names, and are quoted.
func TestDocsTenWords(t *testing.T) {
	t.Parallel()
	var words []string
	_, box, _ := strings.Cut(readText(t, "docs/users.md"), "| word | means |\n|---|---|\n")
	for line := range strings.Lines(box) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			break
		}
		words = append(words, strings.TrimSpace(cells[1]))
	}
	slices.Sort(words)
	if want := "caller, factor, grant, method, own token, program, question, rule, step-up, step-up token"; strings.Join(words, ", ") != want {
		t.Errorf("the box has %q, want %s", words, want)
	}
	quoted := regexp.MustCompile("(?ms)^ *```.*?^ *```$|<!--.*?-->|`[^`\n]*`|\\]\\([^)]*\\)|prompt command|^#+ prompt$|\"Prompt [^\"]*\"")
	other := regexp.MustCompile(`(?i)\bprompt(s|ed|ing)?\b`)
	for _, page := range []string{"README.md", "docs/users.md", "docs/operators.md", "docs/configuration.md", "docs/troubleshooting.md", "docs/clients.md", "docs/control-api.md"} {
		prose := quoted.ReplaceAllStringFunc(readText(t, page), func(s string) string { return strings.Repeat("\n", strings.Count(s, "\n")) })
		number := 0
		for line := range strings.Lines(prose) {
			if number++; other.MatchString(line) {
				t.Errorf("%s:%d: a question of stepup is a question: %s", page, number, line)
			}
		}
	}
}
