package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// Every command line of ours in the documents is one that the program takes: the
// command, its flags and the number of its arguments. What can be run is run as
// well, by e2e/docs_linux_test.go.
func TestDocsCommands(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files in docs, %v", len(files), err)
	}
	block := regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$")
	line := regexp.MustCompile(`(?m)^ *(?:\$ )?(?:bin/)?stepup [a-z].*$`) // where commands stand beside what they print
	spans := regexp.MustCompile("`(stepup [^`\n]+)`")
	tried := 0
	for _, file := range append(files, "../../README.md", "../../CONTRIBUTING.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllStringSubmatch(string(text), -1) {
			script := m[2]
			if m[1] != "sh" {
				script = strings.Join(line.FindAllString(script, -1), "\n")
			}
			for _, words := range ourCommands(script) {
				tried++
				if err := takesLine(words); err != nil {
					t.Errorf("%s: %q: %v", filepath.Base(file), words, err)
				}
			}
		}
		for _, m := range spans.FindAllStringSubmatch(string(text), -1) {
			for _, words := range ourCommands(m[1] + "\n") {
				tried++
				if err := knowsLine(words); err != nil {
					t.Errorf("%s: %q: %v", filepath.Base(file), words, err)
				}
			}
		}
	}
	if tried < 20 {
		t.Errorf("%d commands of ours in the documents, want more", tried)
	}
}

// ourCommands are the words after "stepup" of each command of a script, as far as
// a shell would hand them over.
func ourCommands(script string) (all [][]string) {
	script = strings.ReplaceAll(script, "\\\n", " ")
	script = regexp.MustCompile(`(?m)(^|\s)#.*$`).ReplaceAllString(script, "")
	for _, command := range regexp.MustCompile(`\n|&&|\|\|?|;|\$\(|\)|[0-9]?>>?|<`).Split(script, -1) {
		words := strings.Fields(command)
		for len(words) > 0 && (strings.Contains(words[0], "=") || words[0] == "exec" || words[0] == "$") {
			words = words[1:]
		}
		if len(words) > 1 && filepath.Base(words[0]) == "stepup" {
			all = append(all, words[1:])
		}
	}
	return all
}

func silentRoot() *cobra.Command {
	root := rootCommand(&cli.Console{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard, Env: os.Getenv})
	root.InitDefaultHelpCmd() // as cobra does when it runs one
	return root
}

// takesLine is for a whole command line.
func takesLine(words []string) error {
	root := silentRoot()
	cmd, args, err := root.Find(words)
	if err != nil {
		return err
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(args); err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// knowsLine is for one in running text, where arguments may be left out.
func knowsLine(words []string) error {
	root := silentRoot()
	cmd, args, err := root.Find(words)
	if err != nil {
		return err
	}
	if cmd == root {
		return root.ValidateArgs(words)
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(args); err != nil {
		return err
	}
	return nil
}
