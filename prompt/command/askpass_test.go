//go:build unix

package command_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/command"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// askpass writes a program for /bin/sh in a folder of its own; $DIR is that folder.
func askpass(t *testing.T, body string) (program, folder string) {
	t.Helper()
	folder = t.TempDir()
	program = filepath.Join(folder, "askpass")
	prompttest.WriteProgram(t, program, "#!/bin/sh\nDIR="+folder+"\n"+body)
	return program, folder
}

// unnumbered keeps a push that has no number from a prompter that is not for it.
type unnumbered struct {
	prompter prompt.Prompter
	shown    chan struct{}
}

func (u unnumbered) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	if r.Kind != prompt.Push {
		return u.prompter.Prompt(ctx, r)
	}
	if _, err := u.prompter.Prompt(ctx, r); !errors.Is(err, prompt.ErrUnavailable) {
		return "", err
	}
	u.shown <- struct{}{}
	<-ctx.Done()
	return "", ctx.Err()
}

func TestAskpassConforms(t *testing.T) {
	t.Parallel()
	prompttest.Run(t, func(t *testing.T) prompttest.Subject {
		program, folder := askpass(t, `
printf '%s\n' shown > "$DIR/shown"
IFS= read -r reply < "$DIR/reply"
case $reply in
deny) exit 1 ;;
esac
printf '%s\n' "${reply#answer }"
`)
		shown, reply := prompttest.FIFO(t, filepath.Join(folder, "shown")), prompttest.FIFO(t, filepath.Join(folder, "reply"))
		u := unnumbered{command.NewAskpass(command.AskpassConfig{Program: program}), make(chan struct{}, 1)}
		seen := make(chan struct{})
		go func() {
			lines := bufio.NewReader(shown)
			for {
				if _, err := lines.ReadString('\n'); err != nil {
					return
				}
				seen <- struct{}{}
			}
		}()
		write := func(line string) {
			if _, err := reply.WriteString(line + "\n"); err != nil {
				t.Errorf("writing the reply: %v", err)
			}
		}
		return prompttest.Subject{
			Prompter: u,
			Shown: func() {
				select {
				case <-seen:
				case <-u.shown:
				}
			},
			Answer: func(s string) { write("answer " + s) },
			Deny:   func() { write("deny") },
		}
	})
}

// What is on a command line, every user of the machine can read.
func TestAskpassQuestion(t *testing.T) {
	t.Parallel()
	with := func(kind prompt.Kind, change func(*prompt.Request)) prompt.Request {
		r := prompttest.Request(kind)
		change(&r)
		return r
	}
	none := func(*prompt.Request) {}
	const head = "stepup: terraform (pid 4711) wants to read kv/data/prod/db\nVault: corp; rule: prod-kv; started by: make, zsh\n"
	for _, tt := range []struct {
		name, mode, want string
		in               prompt.Request
	}{
		{"passcode", "", head + "\nPasscode for corp_totp (6 digits):", with(prompt.Passcode, none)},
		{"second attempt", "", head + "Attempt 2 of 3: please try again\n\nPasscode for corp_totp (6 digits):", with(prompt.Passcode, func(r *prompt.Request) {
			r.Attempt, r.Message = 2, "`ykman` is asked for a code of corp_totp: touch your key? It says: hunter2"
		})},
		{"password", "", head + "\nPassword for alice:", with(prompt.Password, func(r *prompt.Request) { r.Method = "alice" })},
		{"choose", "", head + "\n1) corp_totp\n2) corp_duo\nChoose how to confirm it:", with(prompt.Choose, none)},
		{"confirm", "confirm", head + "\nAllow it?", with(prompt.Confirm, none)},
		{"number", "none", head + "\nTap 42 in Okta Verify (corp_totp, totp)", with(prompt.Push, func(r *prompt.Request) { r.Number = "42" })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			program, folder := askpass(t, `printf %s "$#:$1" > "$DIR/question"; printf %s "$SSH_ASKPASS_PROMPT" > "$DIR/mode"; cat > "$DIR/input"; echo 1`)
			a := command.NewAskpass(command.AskpassConfig{Program: program, Environ: func() []string {
				return []string{"PATH=" + os.Getenv("PATH"), "SSH_ASKPASS_PROMPT=old", "VAULT_TOKEN=hvs.x"}
			}})
			if _, err := a.Prompt(t.Context(), tt.in); err != nil && !errors.Is(err, prompt.ErrDenied) {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, name := range []string{"question", "mode", "input"} {
				text, err := os.ReadFile(filepath.Join(folder, name))
				if err != nil {
					t.Fatal(err)
				}
				got[name] = string(text)
			}
			if d := cmp.Diff(map[string]string{"question": "1:" + tt.want, "mode": tt.mode, "input": ""}, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// A stranger's text is neither an option nor an escape sequence, and ends no line.
func TestAskpassHostile(t *testing.T) {
	t.Parallel()
	for _, kind := range prompttest.Kinds()[:4] {
		program, folder := askpass(t, `printf %s "$1" > "$DIR/question"; echo 1`)
		r := prompttest.HostileRequest(kind)
		if _, err := command.NewAskpass(command.AskpassConfig{Program: program}).Prompt(t.Context(), r); err != nil && !errors.Is(err, prompt.ErrDenied) {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(folder, "question"))
		if err != nil || !strings.HasPrefix(string(text), "stepup: ") || len(text) > 16<<10 {
			t.Errorf("%s: %v, %d bytes, %.80q", kind, err, len(text), text)
		}
		if i := strings.IndexFunc(string(text), func(r rune) bool { return r < ' ' && r != '\n' || r > '~' || r == '<' || r == '$' || r == '`' }); i >= 0 {
			t.Errorf("%s: %q", kind, text[i:min(len(text), i+20)])
		}
		if strings.Contains(string(text), "\nstepup: approved") {
			t.Errorf("%s: a line of a stranger: %q", kind, text)
		}
	}
}

func TestAskpassEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body string
		kind       prompt.Kind
		want       string
		err        error
		runs       int
		logged     string
	}{
		{"answer", "printf '123456\\n'", prompt.Passcode, "123456", nil, 1, ""},
		{"answer of a Windows program", "printf '123456\\r\\n'", prompt.Passcode, "123456", nil, 1, ""},
		{"only the first line", "printf '123456\\nmore\\n'", prompt.Passcode, "123456", nil, 1, ""},
		{"a password with blanks", "printf ' a b \\n'", prompt.Password, " a b ", nil, 1, ""},
		{"cancelled", "echo secret; exit 1", prompt.Passcode, "", prompt.ErrDenied, 1, ""},
		{"cannot ask", "echo secret; exit 2", prompt.Passcode, "", prompt.ErrUnavailable, 1, "exit status 2"},
		{"an error of GTK", "echo secret; exit 255", prompt.Passcode, "", prompt.ErrUnavailable, 1, "exit status 255"},
		{"killed by somebody", "echo secret; kill -9 $$", prompt.Passcode, "", prompt.ErrUnavailable, 1, "signal: killed"},
		{"nothing typed", "exit 0", prompt.Passcode, "", prompt.ErrDismissed, 3, ""},
		{"does not fit at first", `[ -s "$DIR/again" ] && echo 123456; echo x > "$DIR/again"`, prompt.Passcode, "123456", nil, 2, ""},
		{"a number of a choice", "echo 2", prompt.Choose, "corp_duo", nil, 1, ""},
		{"no choice", "echo 3", prompt.Choose, "", prompt.ErrDismissed, 3, ""},
		{"confirmed", "exit 0", prompt.Confirm, "yes", nil, 1, ""},
		{"confirmed in words", "echo YES", prompt.Confirm, "yes", nil, 1, ""},
		{"refused in words", "echo later", prompt.Confirm, "", prompt.ErrDenied, 1, ""},
		{"refused", "exit 1", prompt.Confirm, "", prompt.ErrDenied, 1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			program, folder := askpass(t, "echo run >> \"$DIR/runs\"\n"+tt.body)
			a := command.NewAskpass(command.AskpassConfig{Program: program, Log: slog.New(slog.NewTextHandler(&log, nil))})
			got, err := a.Prompt(t.Context(), prompttest.Request(tt.kind))
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("Prompt = %q, %v; want %q, %v", got, err, tt.want, tt.err)
			}
			runs, _ := os.ReadFile(filepath.Join(folder, "runs"))
			if n := strings.Count(string(runs), "run"); n != tt.runs {
				t.Errorf("it ran %d times, want %d", n, tt.runs)
			}
			if !strings.Contains(log.String(), tt.logged) || (tt.logged == "") != (log.Len() == 0) || strings.Contains(log.String(), "secret") {
				t.Errorf("logged %q, want %q in it", log.String(), tt.logged)
			}
			if named, ok := errors.AsType[*prompt.ProgramError](err); ok != errors.Is(err, prompt.ErrUnavailable) || ok && named.Program != "askpass" {
				t.Errorf("the error does not name the program: %v", err)
			}
		})
	}
}

func TestAskpassIsNotForEverything(t *testing.T) {
	t.Parallel()
	a := command.NewAskpass(command.AskpassConfig{Program: "/does/not/exist"})
	for name, r := range map[string]prompt.Request{"a new secret": prompttest.EnrolmentRequest(), "a push": prompttest.Request(prompt.Push)} {
		if _, err := a.Prompt(t.Context(), r); !errors.Is(err, prompt.ErrUnavailable) || !strings.Contains(err.Error(), "is not for this") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.Prompt(t.Context(), prompttest.Request(prompt.Passcode)); !errors.Is(err, prompt.ErrUnavailable) || !strings.Contains(err.Error(), "cannot be started") {
		t.Errorf("missing: %v", err)
	}
}

// The screen is that of the requester; without one, the program has to do without.
func TestAskpassSession(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		want string
	}{"found": {nil, ":7"}, "none": {prompt.ErrUnavailable, ""}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program, _ := askpass(t, `echo "1$DISPLAY"`)
			a := command.NewAskpass(command.AskpassConfig{
				Program: program, Environ: func() []string { return []string{"PATH=" + os.Getenv("PATH")} },
				Session: func(_ context.Context, q prompt.Requester) (prompt.Session, error) {
					if q.PID != 4711 {
						t.Errorf("the session of pid %d", q.PID)
					}
					return prompt.Session{Display: ":7"}, tt.err
				},
			})
			if got, err := a.Prompt(t.Context(), prompttest.Request(prompt.Passcode)); err != nil || got != "1"+tt.want {
				t.Errorf("DISPLAY = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestAskpassDeadline(t *testing.T) {
	t.Parallel()
	program, _ := askpass(t, "sleep 600")
	r := prompttest.Request(prompt.Passcode)
	r.Deadline = time.Now().Add(200 * time.Millisecond)
	_, err := command.NewAskpass(command.AskpassConfig{Program: program}).Prompt(t.Context(), r)
	if !errors.Is(err, prompt.ErrUnavailable) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("Prompt = %v", err)
	}
}

// The program goes with its children, which ignore the polite signal.
func TestAskpassIsKilledWithItsChildren(t *testing.T) {
	t.Parallel()
	program, folder := askpass(t, `
trap '' TERM
(trap '' TERM; while :; do sleep 1; done) &
echo $! > "$DIR/pid"; echo ready > "$DIR/ready"
while :; do sleep 1; done
`)
	ready := prompttest.FIFO(t, filepath.Join(folder, "ready"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := command.NewAskpass(command.AskpassConfig{Program: program}).Prompt(ctx, prompttest.Request(prompt.Passcode))
		done <- err
	}()
	if _, err := bufio.NewReader(ready).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Prompt = %v", err)
	}
	raw, err := os.ReadFile(filepath.Join(folder, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	prompttest.WaitGone(t, pid)
}
