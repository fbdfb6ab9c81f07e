//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// A conversation is a page for people, examples/conversations/NAME.md, that shows
// what a person and stepup say to each other over one factor. It cannot go stale:
// testdata/conversation/NAME.txtar plays it on real terminals, and what was on
// them must be what the page shows. To add one:
//
//   - the page, with one ```hcl block (methods, rules, login_mfa, prompt: the vault,
//     the listener and where it asks are added) and a ```console NAME block for each
//     terminal that it shows;
//   - the script. It has the commands of testdata/script, among them `tty NAME
//     COMMAND...`, `screen`, `type` and `left`, and a Vault that is set up as the hcl
//     block wants it (conversation_vault_test.go; what that cannot know, such as
//     enforcements, goes into setups there, by the name of the conversation). `vault
//     kv get PATH`, `vault kv put PATH K=V` and `vault login` are programs that speak
//     through the agent. `thumb METHOD` approves a push, `! thumb METHOD` refuses it,
//     `code [METHOD]` sets $CODE, and $WRONG to another one, `pushes METHOD N` counts,
//     `approve NAME` is that person, who approves what a control group holds. At its
//     end `transcript NAME...` compares: the command after "$ ", what was on the
//     screen, and standard output of one that left;
//   - `go test ./cmd/stepup -run TestConversations -update`, which writes what the
//     terminals showed into the page. Read it, as the person would.
//
// What differs from run to run (process numbers, codes, seconds, ports, tokens) is
// replaced by examples of it; see plain.
func TestConversations(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t, "../../examples/conversations/*.md", ".md") {
		script, err := os.ReadFile(filepath.Join("testdata", "conversation", page+".txtar"))
		if err != nil {
			t.Errorf("examples/conversations/%s.md is played by no script: %v", page, err)
			continue
		}
		text, err := os.ReadFile(pageFile(page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
			if name, is := strings.CutPrefix(m[1], "console "); is && !regexp.MustCompile(`(?m)^transcript .*\b`+name+`\b`).Match(script) {
				t.Errorf("examples/conversations/%s.md shows terminal %s, which the script does not compare", page, name)
			}
		}
	}
	commands := scriptCommands()
	commands["transcript"], commands["pushes"] = transcript, pushes
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/conversation",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               newConversation,
		Cmds:                commands,
	})
}

func pages(t *testing.T, glob, suffix string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(glob)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", glob, len(files), err)
	}
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), suffix))
	}
	return names
}

func pageFile(name string) string {
	return filepath.Join("..", "..", "examples", "conversations", name+".md")
}

// fence finds the blocks of a page: their info string, and their text.
var fence = regexp.MustCompile("(?ms)^```([a-z]+(?: [a-z0-9]+)?)\n(.*?)^```$")

// blockOf is the text of the block with that info string.
func blockOf(page, info string) (string, bool) {
	for _, m := range fence.FindAllStringSubmatch(page, -1) {
		if m[1] == info {
			return m[2], true
		}
	}
	return "", false
}

// withBlock is the page with another text in that block.
func withBlock(page, info, text string) string {
	return fence.ReplaceAllStringFunc(page, func(block string) string {
		if !strings.HasPrefix(block, "```"+info+"\n") {
			return block
		}
		return "```" + info + "\n" + text + "```"
	})
}

// transcript NAME...: the terminals have shown what the page says, or will within
// the patience of a script.
func transcript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: transcript NAME...")
	}
	page, err := os.ReadFile(pageFile(ts.Name()))
	ts.Check(err)
	text := string(page)
	for _, name := range args {
		s := fixtureOf(ts).screens[name]
		want, ok := blockOf(text, "console "+name)
		if s == nil || !ok {
			ts.Fatalf("no terminal %s, or no such block in %s", name, pageFile(ts.Name()))
		}
		if *update {
			time.Sleep(time.Second) // for what is still on its way to the screen
			text = withBlock(text, "console "+name, plain(s.transcript()))
			continue
		}
		if !s.comesTo(want) {
			ts.Fatalf("%s and terminal %s differ (-page +terminal); -update writes the page:\n%s",
				pageFile(ts.Name()), name, cmp.Diff(want, plain(s.transcript())))
		}
	}
	if *update {
		ts.Check(os.WriteFile(pageFile(ts.Name()), []byte(text), 0o600))
	}
}

// comesTo waits until a terminal shows want.
func (s *screen) comesTo(want string) bool {
	guard := time.After(patience)
	for plain(s.transcript()) != want {
		select {
		case <-s.fresh:
		case <-guard:
			return false
		}
	}
	return true
}

// transcript is everything since the command was typed.
func (s *screen) transcript() string {
	var b strings.Builder
	fmt.Fprintf(&b, "$ %s\n", strings.Join(s.args, " "))
	s.mu.Lock()
	b.Write(s.seen)
	s.mu.Unlock()
	select {
	case <-s.exited:
		b.Write(s.out.Bytes())
	default:
	}
	return b.String()
}

// plain is a transcript without what differs from run to run. Codes and process
// numbers are told apart: the same one is the same one everywhere.
func plain(text string) string {
	text = strings.ReplaceAll(text, "\r", "")
	text = regexp.MustCompile(`(?m)[ \t]+$`).ReplaceAllString(text, "")
	// Programs of the tests: their folder is not the system's, unless the tests are root's.
	text = regexp.MustCompile(`'?/\S*/([^/\s']+)'? \((pid \d+), not installed by the system\)`).ReplaceAllString(text, "$1 ($2)")
	text = numbered(text, `pid (\d+)`, "18239", "18254", "18260", "18275")
	text = numbered(text, `[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`, "0b0e1c7a-96c8-4d7a-8c1c-7f4c1a1d3f52")
	// Names before codes: some look like one.
	text = numbered(text, `(?m)(?:stepup deny|^denied) ([a-z2-9]{6})\b`, "k7m2qx")
	text = numbered(text, `\b(\d{6}|\d{8})\b`, "624365", "447361", "908172", "135790")
	text = numbered(text, `Secret:\n  ((?:[A-Z2-7]{4} ){7}[A-Z2-7]{4})`, "JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP")
	text = regexp.MustCompile("(?m:^  \x1b\\[38;5;16;48;5;231m.*\x1b\\[0m\n)+").ReplaceAllString(text, "  (the QR code)\n")
	for pattern, with := range map[string]string{
		`(?mi)(started by): .*$`:        "$1: zsh, tmux",
		`\b\d+ s, ctrl-c`:               "55 s, ctrl-c",
		`try again in \d+ second(s)`:    "try again in 30 second$1",
		`127\.0\.0\.1:\d+`:              "127.0.0.1:8100",
		`\b[A-Z2-7]{24}\b`:              "0CTiMqkAv4ZnyYAJbzVCyJZe",
		`hvs\.[A-Za-z0-9]+`:             "hvs.CAESIJ…",
		`corp  http://127\.0\.0\.1:\d+`: "corp  https://vault.example.com:8200",
		`\bcaller [0-9a-f]+`:            "caller 1f8e40c2",
		`stepup \S+, (pid \d+), .*`:     "stepup v1.0.0, $1, up 3m20s",
		`(?m)^config     .*`:            "config     /home/alice/.config/stepup/stepup.hcl",
	} {
		text = regexp.MustCompile(pattern).ReplaceAllString(text, with)
	}
	return strings.TrimRight(text, "\n") + "\n"
}

// numbered replaces the first thing that a pattern (its group, if it has one)
// finds by the first example, the next different one by the next.
func numbered(text, pattern string, examples ...string) string {
	re, seen := regexp.MustCompile(pattern), map[string]string{}
	return re.ReplaceAllStringFunc(text, func(whole string) string {
		m := re.FindStringSubmatch(whole)
		found := m[len(m)-1]
		if seen[found] == "" {
			seen[found] = examples[min(len(seen), len(examples)-1)]
		}
		return strings.Replace(whole, found, seen[found], 1)
	})
}

func TestPlain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ in, out string }{
		"lines end alike":                 {"a  \r\nb\r\n\r\n", "a\nb\n"},
		"processes are told apart":        {"pid 7, pid 8, pid 7", "pid 18239, pid 18254, pid 18239\n"},
		"a program of the tests":          {"stepup: /tmp/x/vault (pid 7, not installed by the system) wants", "stepup: vault (pid 18239) wants\n"},
		"codes are told apart":            {"111111 222222 111111", "624365 447361 624365\n"},
		"an ID that begins like a code":   {"12345678-d8dc-56ea-8e13-e92d48e86674 111111", "0b0e1c7a-96c8-4d7a-8c1c-7f4c1a1d3f52 624365\n"},
		"a prompt that is named like one": {"$ stepup deny 234567\ndenied 234567", "$ stepup deny k7m2qx\ndenied k7m2qx\n"},
		"no code":                         {"1234567", "1234567\n"},
		"seconds, but not the words":      {"(6 digits, 53 s, ctrl-c to deny)", "(6 digits, 55 s, ctrl-c to deny)\n"},
		"who asked whom":                  {"Rule: x; started by: main.test, go", "Rule: x; started by: zsh, tmux\n"},
		"a secret":                        {"  Secret:\n  AAAA BBBB CCCC DDDD EEEE FFFF GGGG HHHH\n", "  Secret:\n  JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP\n"},
		"a QR code":                       {"a\n  \x1b[38;5;16;48;5;231m █▀▄ \x1b[0m\n  \x1b[38;5;16;48;5;231m█\x1b[0m\nb\n", "a\n  (the QR code)\nb\n"},
		"a token":                         {"hvs.ABCdef123 is", "hvs.CAESIJ… is\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := plain(tt.in); got != tt.out {
				t.Errorf("plain(%q) = %q, want %q", tt.in, got, tt.out)
			}
		})
	}
}
