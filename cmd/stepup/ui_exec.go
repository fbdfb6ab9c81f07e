package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// The words of stepup exec.
const ()

func vaultHint(names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	for i, name := range names {
		names[i] = cli.Printable(name)
	}
	return "name one with --vault: " + strings.Join(names, ", ")
}

// announce writes a line to the terminal itself: standard output and standard
// error are the command's.
func announce(format string, args ...any) {
	_ = terminal.Announce(fmt.Sprintf(format, args...) + "\n") // nobody there to read it
}

// unseen tells of a question that could not be put where it is asked.
func unseen(r prompt.Request) {
	announce("\n%s\n  answer it with: stepup answer %s", prompt.Brief(r), r.ID)
}
