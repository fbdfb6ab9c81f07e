//go:build unix

package supervisor

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/packaging"
)

// A fixture is a launchd whose launchctl keeps what it is asked and answers what it was
// told, with an error where that begins with "!".
type fixture struct {
	launchd
	out     strings.Builder // of the console
	calls   []string
	answers map[string][]string // by the first arguments; the last stays
}

func newFixture(t *testing.T, answers map[string][]string) *fixture {
	t.Helper()
	f := &fixture{answers: answers}
	env := map[string]string{"HOME": t.TempDir(), "PATH": "/opt/homebrew/bin:/usr/bin"}
	f.launchd = newLaunchd(&cli.Console{Out: &f.out, Err: io.Discard, Env: func(name string) string { return env[name] }}, f.launchctl)
	f.domain, f.pause = "gui/501", time.Millisecond
	return f
}

func (f *fixture) launchctl(_ context.Context, name string, args ...string) (string, error) {
	call := name + " " + strings.Join(args, " ")
	f.calls = append(f.calls, call)
	for prefix, all := range f.answers {
		if !strings.HasPrefix(call, prefix) {
			continue
		}
		if len(all) > 1 {
			f.answers[prefix] = all[1:]
		}
		if complaint, bad := strings.CutPrefix(all[0], "!"); bad {
			return "", errors.New(complaint)
		}
		return all[0], nil
	}
	return "", nil
}

const launchdRuns = `gui/501/com.github.vault-stepup.stepup = {
	active count = 1
	path = /Users/alice/Library/LaunchAgents/com.github.vault-stepup.stepup.plist
	state = running

	program = /opt/homebrew/bin/stepup
	arguments = {
		/opt/homebrew/bin/stepup
		agent
	}
	inherited environment = {
		state = none
	}
	pid = 4711
	last exit code = (never exited)
}
`

func agentAt(program string) packaging.Agent {
	return packaging.Agent{Program: program, Listen: []packaging.Address{{Network: "tcp", Name: "127.0.0.1:8100"}}}
}

func TestLaunchd(t *testing.T) {
	t.Parallel()
	const target = "gui/501/" + packaging.Label
	f := newFixture(t, map[string][]string{
		"launchctl print " + target: {"!Could not find service", launchdRuns},
		"launchctl bootstrap":       {"!Bootstrap failed: 5: Input/output error", "!Bootstrap failed: 37: Operation already in progress", ""},
	})
	path := filepath.Join(f.dir(), packaging.Plist)
	step := func(what string, err error, calls []string, says ...string) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if diff := cmp.Diff(calls, f.calls); diff != "" {
			t.Errorf("%s: calls:\n%s", what, diff)
		}
		for _, text := range says {
			if !strings.Contains(f.out.String(), text) {
				t.Errorf("%s: %q does not say %q", what, f.out.String(), text)
			}
		}
		f.calls = nil
		f.out.Reset()
	}
	look := []string{"launchctl print gui/501", "launchctl print " + target}
	load := "launchctl bootstrap gui/501 " + path
	step("first", f.Install(t.Context(), agentAt("/opt/homebrew/bin/stepup"), false),
		slices.Concat(look, []string{"launchctl enable " + target, load, load, load}, look), "wrote "+path, "started, pid 4711")
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), "<string>/opt/homebrew/bin:/usr/bin</string>") ||
		!strings.Contains(string(text), "/Library/Logs/stepup.log</string>") || strings.Contains(string(text), "8100") {
		t.Errorf("%v\n%s", err, text)
	}
	step("again", f.Install(t.Context(), agentAt("/opt/homebrew/bin/stepup"), false), look, "unchanged "+path, "runs already, pid 4711")
	step("moved", f.Install(t.Context(), agentAt("/usr/local/bin/stepup"), false),
		slices.Concat(look, []string{"launchctl bootout " + target, "launchctl enable " + target, load}, look),
		"updated "+path, "- <string>/opt/homebrew/bin/stepup</string>", "+ <string>/usr/local/bin/stepup</string>", "restarted, pid 4711")

	if err := os.WriteFile(path, append(text, "<!-- mine -->\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Install(t.Context(), agentAt("/x"), false); err == nil || !strings.Contains(err.Error(), "edited") {
		t.Errorf("an edited file: %v", err)
	}
	if err := f.Uninstall(t.Context(), false); err == nil || !strings.Contains(err.Error(), "edited") {
		t.Errorf("an edited file: %v", err)
	}
	f.calls = nil
	step("uninstall", f.Uninstall(t.Context(), true), slices.Concat(look, []string{"launchctl bootout " + target}), "kept what was there", "removed "+path)
	f.answers["launchctl print "+target] = []string{"!Could not find service"}
	step("nothing there", f.Uninstall(t.Context(), false), look, NotInstalled)
}

func TestLaunchdWithoutScreen(t *testing.T) {
	t.Parallel()
	f := newFixture(t, map[string][]string{"launchctl print gui/501": {"!Domain does not support specified action"}})
	if err := f.Install(t.Context(), agentAt("/x"), false); !errors.Is(err, errNoScreenSession) {
		t.Errorf("install = %v", err)
	}
}

func TestLaunchdState(t *testing.T) {
	t.Parallel()
	failed := strings.NewReplacer("state = running", "state = not running", "pid = 4711\n", "", "(never exited)", "2").Replace(launchdRuns)
	for name, tt := range map[string]struct {
		print string
		want  State
	}{
		"runs":   {launchdRuns, State{Manager: "launchd", Running: true, PID: 4711, Doing: "running", Program: "/opt/homebrew/bin/stepup", Units: []string{packaging.Label}}},
		"failed": {failed, State{Manager: "launchd", Failed: true, Doing: "not running, last exit code 2", Program: "/opt/homebrew/bin/stepup", Units: []string{packaging.Label}}},
		"gone":   {"!Could not find service", State{Manager: "launchd", Doing: "not loaded"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, map[string][]string{"launchctl print gui/501/": {tt.print}})
			got, err := f.State(t.Context())
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(State{}, File{})); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		env    map[string]string
		err    error
		booted bool
		want   error
		hint   string
	}{
		"no systemctl":   {nil, exec.ErrNotFound, false, errNoSystemd, "tmux"},
		"not booted":     {map[string]string{"XDG_RUNTIME_DIR": "/r"}, errors.New("refused"), false, errNoSystemd, "stepup agent"},
		"WSL":            {map[string]string{"WSL_DISTRO_NAME": "Debian"}, exec.ErrNotFound, false, errWSL, "/etc/wsl.conf"},
		"WSL, installed": {map[string]string{"WSL_DISTRO_NAME": "Debian", "XDG_RUNTIME_DIR": "/r"}, errors.New("refused"), false, errWSL, "systemd=true"},
		"su":             {nil, errors.New("no bus"), true, ErrNoSession, "su and sudo"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &cli.Console{Env: func(name string) string { return tt.env[name] }}
			s := newSystemd(a, func(context.Context, string, ...string) (string, error) { return "", tt.err })
			s.booted = func() bool { return tt.booted }
			_, err := s.State(t.Context())
			var h *cli.Error
			if !errors.Is(err, tt.want) || !errors.As(err, &h) || !strings.Contains(h.Hint, tt.hint) {
				t.Errorf("%v, want %v with %q", err, tt.want, tt.hint)
			}
		})
	}
	broken := errors.New("Failed to connect to bus")
	a := &cli.Console{Env: func(string) string { return "/r" }}
	s := newSystemd(a, func(context.Context, string, ...string) (string, error) { return "", broken })
	s.booted = func() bool { return true }
	if _, err := s.Environment(t.Context()); !errors.Is(err, broken) {
		t.Errorf("environment = %v", err)
	}
}

func TestShellValue(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", "/a b": "/a b", `$'/a\'b c'`: "/a'b c", `$'/a\\b'`: `/a\b`, "$'": "", "$HOME": "$HOME"} {
		if got := shellValue(in); got != want {
			t.Errorf("shellValue(%q) = %q, want %q", in, got, want)
		}
	}
}

// Whatever systemctl and launchctl print, their lines come back or are left out.
func FuzzManagerOutput(f *testing.F) {
	f.Add("A=b\nListen=127.0.0.1:1 (Stream)\nListen=/x (Stream)\n")
	f.Add(launchdRuns)
	f.Fuzz(func(t *testing.T, text string) {
		for name, values := range parseShow(text) {
			for _, value := range values {
				if !strings.Contains(text, name+"="+value) {
					t.Fatalf("%s=%s is not in the text", name, value)
				}
			}
		}
		for name, value := range parsePrint(text) {
			if !strings.Contains(text, name+" = "+value) {
				t.Fatalf("%s = %s is not in the text", name, value)
			}
		}
	})
}

func TestCommandErrors(t *testing.T) {
	t.Parallel()
	if out, err := runProgram(t.Context(), "sh", "-c", "echo out; echo complaint >&2; exit 3"); out != "out\n" || err == nil || err.Error() != "sh: complaint" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := runProgram(t.Context(), "stepup-no-such-program"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if out, err := runProgram(t.Context(), "sh", "-c", "exit 3"); out != "" || err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%q, %v", out, err)
	}
}
