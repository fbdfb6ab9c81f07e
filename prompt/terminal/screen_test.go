//go:build unix

package terminal_test

import (
	"os"
	"testing"

	"github.com/creack/pty"

	"github.com/vault-stepup/stepup/prompt/terminal"
)

func TestColumns(t *testing.T) {
	t.Parallel()
	ptmx, tty, err := pty.Open()
	if err != nil {
		t.Fatalf("opening a pseudo-terminal: %v", err)
	}
	defer ptmx.Close()
	defer tty.Close()
	if err := pty.Setsize(ptmx, &pty.Winsize{Rows: 24, Cols: 97}); err != nil {
		t.Fatal(err)
	}
	if !terminal.IsTerminal(tty) || terminal.Columns(tty) != 97 {
		t.Errorf("a terminal: %t, %d columns, want 97", terminal.IsTerminal(tty), terminal.Columns(tty))
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if terminal.IsTerminal(null) || terminal.Columns(null) != 0 {
		t.Errorf("no terminal: %t, %d columns", terminal.IsTerminal(null), terminal.Columns(null))
	}
}
