//go:build unix

package setup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// One question has one window: the program asks in the place of the dialogs.
func TestAskpassAmongPrompters(t *testing.T) {
	t.Parallel()
	log, screen := slog.New(slog.DiscardHandler), terminal.New(terminal.Config{})
	for name, tt := range map[string]struct {
		use  []string
		with Askpass
		want []string
	}{
		"none":                 {[]string{agent.UseDesktop, agent.UseTerminal}, Askpass{}, []string{"desktop", "notification", "terminal"}},
		"in place of dialogs":  {[]string{agent.UseDesktop, agent.UseTerminal}, Askpass{Program: "/a"}, []string{"askpass", "notification", "terminal"}},
		"though it is unsafe":  {[]string{agent.UseDesktop}, Askpass{Program: "/a", Problem: "p"}, []string{"askpass", "notification"}},
		"without a desktop":    {[]string{agent.UseAttached}, Askpass{Program: "/a"}, []string{"askpass"}},
		"beside a command":     {[]string{agent.UseCommand}, Askpass{Program: "/a"}, []string{"askpass", "command"}},
		"one that is not used": {[]string{agent.UseDesktop}, Askpass{Problem: "p"}, []string{"desktop", "notification"}},
	} {
		var got []string
		for _, n := range ForegroundPrompters(agent.Prompt{Use: tt.use, Command: []string{"/c"}}, tt.with, log, screen) {
			got = append(got, n.Name)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestFirstOf(t *testing.T) {
	t.Parallel()
	program := &prompt.ProgramError{Program: "ask", State: "exit status 2"}
	returns := func(answer string, err error) prompt.Prompter {
		return prompttest.Func(func(context.Context, prompt.Request) (string, error) { return answer, err })
	}
	for name, tt := range map[string]struct {
		first, second prompt.Prompter
		want          string
		err           error
	}{
		"the first":              {returns("1", nil), returns("2", nil), "1", nil},
		"a no is a no":           {returns("", prompt.ErrDenied), returns("2", nil), "", prompt.ErrDenied},
		"the second":             {returns("", program), returns("2", nil), "2", nil},
		"a no to the second":     {returns("", program), returns("", prompt.ErrDenied), "", prompt.ErrDenied},
		"neither":                {returns("", program), returns("", fmt.Errorf("%w: no screen", prompt.ErrUnavailable)), "", program},
		"closed, not asked anew": {returns("", prompt.ErrDismissed), returns("2", nil), "", prompt.ErrDismissed},
	} {
		got, err := firstOf{tt.first, tt.second}.Prompt(t.Context(), prompttest.Request(prompt.Passcode))
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestNewAskpass(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		value string
		used  bool
		notes int
	}{
		"unset": {"", false, 0}, "relative": {"./ask", false, 1}, "missing": {"/nowhere/ask", false, 1},
		"a folder": {dir, false, 1}, "not in PATH": {"no-such-program-at-all", false, 1}, "not executable": {plain, false, 1},
	} {
		a := NewAskpass(func(string) string { return tt.value })
		if (a.Program != "") != tt.used || len(a.Notes()) != tt.notes {
			t.Errorf("%s: %+v", name, a)
		}
	}
}
