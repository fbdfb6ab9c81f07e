//go:build linux

package dialog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
	"github.com/vault-stepup/stepup/prompt/session"
)

// A fixture is a desktop whose programs are scripts. Each has a folder of its own as
// $F.
type fixture struct {
	folder  string
	session []string
	log     bytes.Buffer
	now     time.Time
}

func newFixture(t *testing.T, scripts map[string]string) *fixture {
	t.Helper()
	f := &fixture{folder: t.TempDir(), session: []string{"DISPLAY=:7"}, now: time.Now()}
	for name, body := range scripts {
		text := "#!/bin/sh\nF='" + f.folder + "'\n" + body + "\n"
		prompttest.WriteProgram(t, filepath.Join(f.folder, name), text)
	}
	return f
}

func (f *fixture) desktop(environ ...string) *Prompter {
	return New(Config{
		Session: session.Finder{
			Proc:            f.folder,
			UserEnvironment: func(context.Context) (string, error) { return "", errors.New("none here") },
			Environ:         func() []string { return f.session },
			Reachable:       func(context.Context, string, string) bool { return true },
		}.Find,
		LookPath: func(name string) (string, error) {
			path := filepath.Join(f.folder, name)
			if _, err := os.Stat(path); err != nil {
				return "", exec.ErrNotFound
			}
			return path, nil
		},
		Environ: func() []string { return append(environ, "PATH="+os.Getenv("PATH")) },
		Log:     slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:     func() time.Time { return f.now },
	})
}

func (f *fixture) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDesktopFallsBack(t *testing.T) {
	t.Parallel()
	const broken = `echo secret; echo secret >&2; exit 1`
	for _, c := range []struct {
		name    string
		kind    prompt.Kind
		scripts map[string]string
		answer  string
		err     error
	}{
		{"no program", prompt.Passcode, nil, "", prompt.ErrUnavailable},
		{"no display for it", prompt.Passcode, map[string]string{"zenity": broken}, "", prompt.ErrUnavailable},
		{"window torn down", prompt.Confirm, map[string]string{"zenity": "exit 0"}, "", prompt.ErrUnavailable},
		{"the next one", prompt.Passcode, map[string]string{"zenity": broken, "kdialog": "echo 123456"}, "123456", nil},
		{"not after a dismissal", prompt.Passcode, map[string]string{"zenity": "exit 22", "kdialog": "echo 123456"}, "", prompt.ErrDismissed},
		{"not after a denial", prompt.Passcode, map[string]string{"zenity": "echo Deny; exit 22", "kdialog": "echo 1"}, "", prompt.ErrDenied},
		{"a zenity without the option for the icon", prompt.Passcode, map[string]string{
			"zenity": `case "$*" in *window-icon*) exit 255 ;; esac; echo 123456; exit 20`,
		}, "123456", nil},
		{"button of zenity 4", prompt.Passcode, map[string]string{"zenity": "echo Deny; exit 23"}, "", prompt.ErrDenied},
		{"double click", prompt.Choose, map[string]string{"zenity": "echo '2|2'; exit 20"}, "corp_duo", nil},
		{"password of some length", prompt.Password, map[string]string{"zenity": "head -c 4096 /dev/zero | tr '\\0' x; exit 20"}, strings.Repeat("x", 4096), nil},
		{"answers that never fit", prompt.Passcode, map[string]string{"zenity": "echo >> $F/asked; exit 20"}, "", prompt.ErrDismissed},
		{"a script under the name of the program", prompt.Password, map[string]string{"pinentry": "echo nonsense", "zenity": "echo pw; exit 20"}, "pw", nil},
		{"pinentry without a window", prompt.Password, map[string]string{
			"pinentry-qt": "echo OK; read l; echo D qt:curses; echo OK; read l; echo \"$l\" > $F/more", "zenity": "echo pw; exit 20",
		}, "pw", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, c.scripts)
			answer, err := f.desktop().Prompt(t.Context(), prompttest.Request(c.kind))
			if answer != c.answer || !errors.Is(err, c.err) {
				t.Errorf("Prompt = %.80q, %v; want %.80q, %v", answer, err, c.answer, c.err)
			}
			if strings.Contains(f.log.String()+fmt.Sprint(err), "secret") {
				t.Errorf("a program's output is in the log or the error: %s, %v", f.log.String(), err)
			}
			if asked, err := os.ReadFile(filepath.Join(f.folder, "asked")); err == nil && len(asked) != 10 {
				t.Errorf("asked %d times", len(asked))
			}
			if more, err := os.ReadFile(filepath.Join(f.folder, "more")); err == nil && strings.TrimSpace(string(more)) != "" {
				t.Errorf("a pinentry without a window is told %q", more)
			}
		})
	}
}

func TestDesktopCannotAsk(t *testing.T) {
	t.Parallel()
	f := newFixture(t, map[string]string{"zenity": "echo 1 > $F/ran"})
	if _, err := f.desktop().Prompt(t.Context(), prompttest.Request(prompt.Push)); !errors.Is(err, prompt.ErrUnavailable) {
		t.Errorf("a push: %v, want ErrUnavailable", err)
	}
	strange := prompttest.Request(prompt.Push)
	strange.Number = "42<b>"
	if _, err := f.desktop().Prompt(t.Context(), strange); !errors.Is(err, prompt.ErrUnavailable) {
		t.Errorf("a push with something else than a number: %v, want ErrUnavailable", err)
	}
	f.session = nil
	if _, err := f.desktop().Prompt(t.Context(), prompttest.Request(prompt.Passcode)); !errors.Is(err, prompt.ErrUnavailable) {
		t.Errorf("without a session: %v, want ErrUnavailable", err)
	}
	if _, err := os.Stat(filepath.Join(f.folder, "ran")); err == nil {
		t.Error("a dialog program was started")
	}
}

// TestDesktopArguments holds the exact arguments against what they should be.
func TestDesktopArguments(t *testing.T) {
	t.Parallel()
	const dump = `for a; do echo "<$a>"; done > $F/args; env | sort > $F/env; exit 99`
	check := func(t *testing.T, f *fixture, r prompt.Request, name string) {
		r.Deadline = f.now.Add(55 * time.Second)
		if _, err := f.desktop().Prompt(t.Context(), r); !errors.Is(err, prompt.ErrUnavailable) {
			t.Fatalf("Prompt = %v", err)
		}
		golden(t, name, f.read(t, "args"))
	}
	for _, program := range []string{"zenity", "kdialog"} {
		for _, kind := range prompttest.Kinds() {
			t.Run(program+" "+string(kind), func(t *testing.T) {
				t.Parallel()
				check(t, newFixture(t, map[string]string{program: dump}), fullRequest(kind), program+"-"+string(kind)+".txt")
			})
		}
	}
}

func TestDesktopEnvironment(t *testing.T) {
	t.Parallel()
	f := newFixture(t, map[string]string{"zenity": `env | sort > $F/env; exit 22`})
	f.session = []string{"DISPLAY=:7", "XDG_CURRENT_DESKTOP=GNOME", "GTK_MODULES=evil", "PATH=/evil"}
	d := f.desktop("HOME=/home/a", "DISPLAY=:1", "XAUTHORITY=/x", "VAULT_TOKEN=hvs.secret", "WINDOWID=7", "ZENITY_OK=1", "DIALOG_ESC=0",
		"PINENTRY_USER_DATA=USE_CURSES", "LANG=C", "DBUS_SESSION_BUS_ADDRESS=unix:path=/other")
	if _, err := d.Prompt(t.Context(), prompttest.Request(prompt.Passcode)); !errors.Is(err, prompt.ErrDismissed) {
		t.Fatalf("Prompt = %v", err)
	}
	var got []string
	for line := range strings.Lines(f.read(t, "env")) {
		// Those that a shell sets by itself.
		if name, _, _ := strings.Cut(line, "="); !slices.Contains([]string{"PWD", "OLDPWD", "SHLVL", "_", "PATH"}, name) {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{
		"DBUS_SESSION_BUS_ADDRESS=disabled:", "DISPLAY=:7", "GSK_RENDERER=cairo", "HOME=/home/a", "LANG=C", "LC_ALL=C.UTF-8", "XDG_CURRENT_DESKTOP=GNOME",
		"ZENITY_CANCEL=21", "ZENITY_ESC=22", "ZENITY_EXTRA=23", "ZENITY_OK=20",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

// TestDesktopHostileArguments: whatever strangers send, every argument is the one that
// was meant, in ASCII, and no option more.
func TestDesktopHostileArguments(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"zenity", "kdialog"} {
		for _, kind := range prompttest.Kinds() {
			t.Run(program+" "+string(kind), func(t *testing.T) {
				t.Parallel()
				f := newFixture(t, map[string]string{program: `printf '%s\0' "$@" > $F/args; exit 99`})
				for name, r := range map[string]prompt.Request{"args": prompttest.HostileRequest(kind), "plain": prompttest.Request(kind)} {
					r.Number = "42" // a push without one is not for a window
					if _, err := f.desktop().Prompt(t.Context(), r); !errors.Is(err, prompt.ErrUnavailable) {
						t.Fatalf("Prompt = %v", err)
					}
					if err := os.Rename(filepath.Join(f.folder, "args"), filepath.Join(f.folder, name+"-seen")); err != nil {
						t.Fatal(err)
					}
				}
				hostile, plain := strings.Split(f.read(t, "args-seen"), "\x00"), strings.Split(f.read(t, "plain-seen"), "\x00")
				if len(hostile) != len(plain) {
					t.Fatalf("%d arguments, %d for a plain request", len(hostile), len(plain))
				}
				for i := range hostile {
					checkHarmless(t, hostile[i], plain[i])
				}
			})
		}
	}
}

func checkHarmless(t *testing.T, hostile, plain string) {
	t.Helper()
	option, _, _ := strings.Cut(plain, "=")
	if strings.HasPrefix(plain, "-") && !strings.HasPrefix(hostile, option) || !strings.HasPrefix(plain, "-") && strings.HasPrefix(hostile, "-") {
		t.Errorf("%.80q came of %.80q", hostile, plain)
	}
	bare := strings.NewReplacer("<h1>42</h1>", "", `<span size="49152" weight="bold">42</span>`, "", "<b>", "", "</b>", "", `<qt><div align="left">`, "", "</div></qt>", "", "<br>", "", "&amp;", "", "&lt;", "", "&gt;", "", "&nbsp;", " ").Replace(hostile)
	if i := strings.IndexFunc(bare, func(c rune) bool { return c != '\n' && (c < ' ' || c > '~') }); i >= 0 || strings.ContainsAny(bare, "<>&$`\\\"") {
		t.Errorf("%.80q is among the arguments", hostile)
	}
	if strings.Count(hostile, "<b>") > strings.Count(plain, "<b>") || strings.Count(hostile, "</b>") > strings.Count(plain, "</b>") {
		t.Errorf("a stranger's tag in %.200q", hostile)
	}
	if len(hostile) > 4000 {
		t.Errorf("an argument of %d bytes", len(hostile))
	}
}

// TestDesktopIsKilledWithItsChildren: no dialog stays when the question is
// withdrawn, though its program does not want to go.
func TestDesktopIsKilledWithItsChildren(t *testing.T) {
	t.Parallel()
	const stubborn = `trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo $! > $F/pid; echo > $F/shown; while :; do sleep 1; done`
	for program, kind := range map[string]prompt.Kind{"zenity": prompt.Passcode, "pinentry-qt": prompt.Password} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, map[string]string{program: stubborn})
			shown := prompttest.FIFO(t, filepath.Join(f.folder, "shown"))
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := f.desktop().Prompt(ctx, prompttest.Request(kind))
				done <- err
			}()
			if _, err := shown.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			cancel(prompt.ErrElsewhere)
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("Prompt = %v, want context.Canceled", err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(f.read(t, "pid")))
			if err != nil {
				t.Fatal(err)
			}
			prompttest.WaitGone(t, pid)
		})
	}
}

// TestZenityMajor: whatever the program says about itself, the question is asked.
func TestZenityMajor(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script string
		want   int
	}{
		"zenity 3":        {"echo 3.44.0", 3},
		"zenity 4":        {"echo 4.1.90", 4},
		"says nothing":    {"exit 0", 0},
		"fails":           {"echo 4.1.90; exit 20", 0},
		"says much":       {"head -c 100000 /dev/zero | tr '\\0' 4", 0},
		"is another tool": {"echo yad 12.3", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, map[string]string{"zenity": test.script})
			if got := zenityMajor(t.Context(), job{path: f.folder + "/zenity", environ: os.Environ()}); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}
