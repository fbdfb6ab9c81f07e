//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/packaging"
)

// TestServiceScript records what is asked of a systemctl that is a stand-in
// (testdata/systemctl); [TestUserSystemd] has the real one.
func TestServiceScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/service", UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			if err := setUp(env); err != nil {
				return err
			}
			env.Setenv("XDG_RUNTIME_DIR", env.WorkDir)
			env.Setenv("SUDO_UID", "")
			return fakeSystemctl(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "mode": mode},
	})
}

// fakeSystemctl puts the stand-in before whatever this machine has.
func fakeSystemctl(env *testscript.Env) error {
	bin := filepath.Join(env.WorkDir, "bin")
	if err := errors.Join(os.Mkdir(bin, 0o700), os.Mkdir(filepath.Join(env.WorkDir, "fake"), 0o700)); err != nil {
		return err
	}
	env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("FAKE", filepath.Join(env.WorkDir, "fake"))
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "home", ".config"))
	env.Setenv("UNITS", filepath.Join(env.WorkDir, "home", ".config", "systemd", "user"))
	// Not written by us: a process that another test starts at this moment would have
	// it open for writing for a while, and the system runs no such file.
	return exec.Command("install", "-m", "700", "testdata/systemctl", filepath.Join(bin, "systemctl")).Run()
}

// A recorder stands for launchctl: it keeps what it is asked and answers what it
// was told, with an error where that begins with "!".
type recorder struct {
	calls   []string
	answers map[string][]string // by the first arguments; the last stays
}

func (r *recorder) run(_ context.Context, name string, args ...string) (string, error) {
	call := name + " " + strings.Join(args, " ")
	r.calls = append(r.calls, call)
	for prefix, all := range r.answers {
		if !strings.HasPrefix(call, prefix) {
			continue
		}
		if len(all) > 1 {
			r.answers[prefix] = all[1:]
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

func newLaunchd(t *testing.T, answers map[string][]string) (launchd, *recorder, *strings.Builder) {
	t.Helper()
	out := &strings.Builder{}
	env := map[string]string{"HOME": t.TempDir(), "PATH": "/opt/homebrew/bin:/usr/bin"}
	a := &app{&cli.Console{Out: out, Err: io.Discard, Env: func(name string) string { return env[name] }}}
	r := &recorder{answers: answers}
	l := a.launchd(r.run)
	l.domain, l.pause = "gui/501", time.Millisecond
	return l, r, out
}

func launchdPlan(program string) servicePlan {
	return servicePlan{agent: packaging.Agent{Program: program, Listen: []packaging.Address{{Network: "tcp", Name: "127.0.0.1:8100"}}}}
}

func TestLaunchd(t *testing.T) {
	t.Parallel()
	const target = "gui/501/" + packaging.Label
	l, r, out := newLaunchd(t, map[string][]string{
		"launchctl print " + target: {"!Could not find service", launchdRuns},
		"launchctl bootstrap":       {"!Bootstrap failed: 5: Input/output error", "!Bootstrap failed: 37: Operation already in progress", ""},
	})
	path := filepath.Join(l.dir(), packaging.Plist)
	step := func(what string, err error, calls []string, says ...string) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if diff := cmp.Diff(calls, r.calls); diff != "" {
			t.Errorf("%s: calls:\n%s", what, diff)
		}
		for _, text := range says {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%s: %q does not say %q", what, out, text)
			}
		}
		r.calls = nil
		out.Reset()
	}
	look := []string{"launchctl print gui/501", "launchctl print " + target}
	load := "launchctl bootstrap gui/501 " + path
	step("first", l.install(t.Context(), launchdPlan("/opt/homebrew/bin/stepup"), false),
		slices.Concat(look, []string{"launchctl enable " + target, load, load, load}, look), "wrote "+path, "started, pid 4711")
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), "<string>/opt/homebrew/bin:/usr/bin</string>") ||
		!strings.Contains(string(text), "/Library/Logs/stepup.log</string>") || strings.Contains(string(text), "8100") {
		t.Errorf("%v\n%s", err, text)
	}
	step("again", l.install(t.Context(), launchdPlan("/opt/homebrew/bin/stepup"), false), look, "unchanged "+path, "runs already, pid 4711")
	step("moved", l.install(t.Context(), launchdPlan("/usr/local/bin/stepup"), false),
		slices.Concat(look, []string{"launchctl bootout " + target, "launchctl enable " + target, load}, look),
		"updated "+path, "- <string>/opt/homebrew/bin/stepup</string>", "+ <string>/usr/local/bin/stepup</string>", "restarted, pid 4711")

	if err := os.WriteFile(path, append(text, "<!-- mine -->\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.install(t.Context(), launchdPlan("/x"), false); err == nil || !strings.Contains(err.Error(), "edited") {
		t.Errorf("an edited file: %v", err)
	}
	if err := l.uninstall(t.Context(), false); err == nil || !strings.Contains(err.Error(), "edited") {
		t.Errorf("an edited file: %v", err)
	}
	r.calls = nil
	step("uninstall", l.uninstall(t.Context(), true), slices.Concat(look, []string{"launchctl bootout " + target}), "kept what was there", "removed "+path)
	r.answers["launchctl print "+target] = []string{"!Could not find service"}
	step("nothing there", l.uninstall(t.Context(), false), look, textServiceNone)
}

func TestLaunchdWithoutScreen(t *testing.T) {
	t.Parallel()
	l, _, _ := newLaunchd(t, map[string][]string{"launchctl print gui/501": {"!Domain does not support specified action"}})
	if err := l.install(t.Context(), launchdPlan("/x"), false); !errors.Is(err, errServiceNoScreen) {
		t.Errorf("install = %v", err)
	}
}

func TestLaunchdState(t *testing.T) {
	t.Parallel()
	failed := strings.NewReplacer("state = running", "state = not running", "pid = 4711\n", "", "(never exited)", "2").Replace(launchdRuns)
	for name, tt := range map[string]struct {
		print string
		want  serviceState
	}{
		"runs":   {launchdRuns, serviceState{manager: "launchd", running: true, pid: 4711, doing: "running", program: "/opt/homebrew/bin/stepup", units: []string{packaging.Label}}},
		"failed": {failed, serviceState{manager: "launchd", failed: true, doing: "not running, last exit code 2", program: "/opt/homebrew/bin/stepup", units: []string{packaging.Label}}},
		"gone":   {"!Could not find service", serviceState{manager: "launchd", doing: "not loaded"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, _, _ := newLaunchd(t, map[string][]string{"launchctl print gui/501/": {tt.print}})
			got, err := l.state(t.Context())
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(serviceState{}, serviceFile{})); err != nil || diff != "" {
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
		"no systemctl":   {nil, exec.ErrNotFound, false, errServiceNoSystemd, "tmux"},
		"not booted":     {map[string]string{"XDG_RUNTIME_DIR": "/r"}, errors.New("refused"), false, errServiceNoSystemd, "stepup agent"},
		"WSL":            {map[string]string{"WSL_DISTRO_NAME": "Debian"}, exec.ErrNotFound, false, errServiceWSL, "/etc/wsl.conf"},
		"WSL, installed": {map[string]string{"WSL_DISTRO_NAME": "Debian", "XDG_RUNTIME_DIR": "/r"}, errors.New("refused"), false, errServiceWSL, "systemd=true"},
		"su":             {nil, errors.New("no bus"), true, errServiceNoSession, "su and sudo"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &app{&cli.Console{Env: func(name string) string { return tt.env[name] }}}
			s := a.systemd(func(context.Context, string, ...string) (string, error) { return "", tt.err })
			s.booted = func() bool { return tt.booted }
			_, err := s.state(t.Context())
			var h *cli.Error
			if !errors.Is(err, tt.want) || !errors.As(err, &h) || !strings.Contains(h.Hint, tt.hint) {
				t.Errorf("%v, want %v with %q", err, tt.want, tt.hint)
			}
		})
	}
	broken := errors.New("Failed to connect to bus")
	a := &app{&cli.Console{Env: func(string) string { return "/r" }}}
	s := a.systemd(func(context.Context, string, ...string) (string, error) { return "", broken })
	s.booted = func() bool { return true }
	if _, err := s.environment(t.Context()); !errors.Is(err, broken) {
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

// Root's own service is no mistake; one that somebody gets by sudo is.
func TestNotBySudo(t *testing.T) {
	t.Parallel()
	for uid, refused := range map[string]bool{"": false, "0": false, "1000": os.Geteuid() == 0} {
		a := &app{&cli.Console{Env: func(string) string { return uid }}}
		if err := a.notBySudo(); (err != nil) != refused {
			t.Errorf("SUDO_UID=%q: %v", uid, err)
		}
	}
}

func TestCommandErrors(t *testing.T) {
	t.Parallel()
	a := &app{}
	if out, err := a.command(t.Context(), "sh", "-c", "echo out; echo complaint >&2; exit 3"); out != "out\n" || err == nil || err.Error() != "sh: complaint" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := a.command(t.Context(), "stepup-no-such-program"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if out, err := a.command(t.Context(), "sh", "-c", "exit 3"); out != "" || err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%q, %v", out, err)
	}
	if got := fmt.Sprint(foundIn("/nowhere:relative", "sh"), foundIn(os.Getenv("PATH"), "sh")); got != "false true" {
		t.Errorf("foundIn: %s", got)
	}
}
