//go:build unix

package terminal_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// childVariable tells this test binary that it runs in a session of its own,
// with both ends of its terminal as descriptors 3 and 4.
const childVariable = "STEPUP_TEST_TTY"

// inSession runs the calling test again in a session of its own, with a new
// pseudo-terminal as the controlling one if tty is set, and reports true there.
func inSession(t *testing.T, tty bool) bool {
	t.Helper()
	if os.Getenv(childVariable) != "" {
		return true
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v=true", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), childVariable+"=1", "TERM=xterm", "NO_COLOR=",
		"GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if tty {
		ptmx, tts, err := pty.Open()
		if err != nil {
			t.Fatalf("opening a pseudo-terminal: %v", err)
		}
		defer ptmx.Close()
		defer tts.Close()
		cmd.ExtraFiles = []*os.File{ptmx, tts}
		cmd.SysProcAttr.Setctty, cmd.SysProcAttr.Ctty = true, 4
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("in a session of its own: %v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("\n%s", out)
	}
	return false
}

// A fixture is the far end of the terminal: what a person sees and types.
type fixture struct {
	t     *testing.T
	ptmx  *os.File // the person's end
	tty   *os.File // the programs' end, as a shell has it
	mu    sync.Mutex
	seen  []byte
	read  int // up to here it was expected
	fresh chan struct{}
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, ptmx: os.NewFile(3, "ptmx"), tty: os.NewFile(4, "tty"), fresh: make(chan struct{}, 1)}
	go func() { // ends with the process: the terminal is open as long as it lives
		buf := make([]byte, 4096)
		for {
			n, err := f.ptmx.Read(buf)
			f.mu.Lock()
			f.seen = append(f.seen, buf[:n]...)
			f.mu.Unlock()
			select {
			case f.fresh <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return f
}

// expect waits until one of the texts is on the screen behind what was expected before, and
// returns all that came up to its end.
func (f *fixture) expect(texts ...string) string {
	f.t.Helper()
	guard := time.After(time.Minute)
	for {
		f.mu.Lock()
		for _, text := range texts {
			if i := bytes.Index(f.seen[f.read:], []byte(text)); i >= 0 {
				got := string(f.seen[f.read : f.read+i+len(text)])
				f.read += i + len(text)
				f.mu.Unlock()
				return got
			}
		}
		rest := string(f.seen[f.read:])
		f.mu.Unlock()
		select {
		case <-f.fresh:
		case <-guard:
			f.t.Fatalf("%q does not come; the screen has %q", texts, rest)
		}
	}
}

func (f *fixture) typing(text string) {
	if _, err := f.ptmx.WriteString(text); err != nil {
		f.t.Errorf("typing: %v", err)
	}
}

func (f *fixture) modes() *unix.Termios {
	m, err := unix.IoctlGetTermios(int(f.tty.Fd()), getTermios)
	if err != nil {
		f.t.Fatal(err)
	}
	return m
}

// typedAhead waits until the kernel has a complete line for the programs.
func (f *fixture) typedAhead() {
	fds := []unix.PollFd{{Fd: int32(f.tty.Fd()), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 60_000); n != 1 {
		f.t.Fatalf("typed text does not arrive: %v", err)
	}
}

type answered struct {
	answer string
	err    error
}

func (f *fixture) prompt(ctx context.Context, p prompt.Prompter, r prompt.Request) <-chan answered {
	out := make(chan answered, 1)
	go func() {
		answer, err := p.Prompt(ctx, r)
		out <- answered{answer, err}
	}()
	return out
}

func (f *fixture) want(got answered, answer string, err error) {
	f.t.Helper()
	if got.answer != answer || !errors.Is(got.err, err) {
		f.t.Errorf("Prompt = %q, %v; want %q, %v", got.answer, got.err, answer, err)
	}
}

const asks = "to deny): "

func plain() *terminal.Prompter {
	return terminal.New(terminal.Config{Getenv: func(string) string { return "" }})
}

func TestTerminalConforms(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	f := newFixture(t)
	prompttest.Run(t, func(*testing.T) prompttest.Subject {
		return prompttest.Subject{
			Prompter: terminal.New(terminal.Config{}),
			Shown:    func() { f.expect(asks, "on your phone") },
			Answer:   func(answer string) { f.typing(answer + "\n") },
			Deny:     func() { f.typing("\x03") },
			AnswerBoth: func(password, code string) {
				f.typing(password + "\n")
				f.expect(asks)
				f.typing(code + "\n")
			},
		}
	})
}

// An exchange is what a person types for one question, a line behind each question of
// it, and what comes of it.
type exchange struct {
	name    string
	request prompt.Request
	typed   []string
	answer  string
	echo    string // of the last line
	err     error  // context.Canceled: withdrawn when the next line is asked for
}

func TestTerminalTyping(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	passcode, password := prompttest.Request(prompt.Passcode), prompttest.Request(prompt.Password)
	choose, confirm := prompttest.Request(prompt.Choose), prompttest.Request(prompt.Confirm)
	both, lines := prompttest.CodeToo(password), func(typed ...string) []string { return typed }
	f := newFixture(t)
	before := f.modes()
	for _, c := range []exchange{
		{"a passcode is shown", passcode, lines("123 456\n"), "123456", "123 456\r\n", nil},
		{"a password is not", password, lines("hunter2\n"), "hunter2", "\r\n", nil},
		{"corrected", passcode, lines("12x\x7f3\n"), "123", "12x\b \b3\r\n", nil},
		{"ctrl-c", passcode, lines("12\x03"), "", "12^C\r\n  Denied\r\n", prompt.ErrDenied},
		{"ctrl-c in a password", password, lines("hun\x03"), "", "\r\n  Denied\r\n", prompt.ErrDenied},
		{"ctrl-d", passcode, lines("\x04"), "", "\r\n  Not answered here\r\n", prompt.ErrUnavailable},
		{"a choice", choose, lines("2\n"), "corp_duo", "2\r\n", nil},
		{"yes", confirm, lines("Y\n"), "yes", "Y\r\n", nil},
		{"enter is a no", confirm, lines("\n"), "", "\r\n  Denied\r\n", prompt.ErrDenied},
		// One question with two lines, of which the second is shown and may be empty.
		{"password and code", both, lines("hunter2\n", "123 456\n"), "hunter2\n123456", "123 456\r\n", nil},
		{"no code", both, lines("hunter2\n", "\n"), "hunter2", "\r\n", nil},
		{"ctrl-c in the code", both, lines("hunter2\n", "12\x03"), "", "12^C\r\n  Denied\r\n", prompt.ErrDenied},
		{"ctrl-d in the code", both, lines("hunter2\n", "\x04"), "", "\r\n  Not answered here\r\n", prompt.ErrUnavailable},
		{"answered elsewhere at the code", both, lines("hunter2\n"), "", "\r\n  Answered elsewhere\r\n", context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.t = t
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			out := f.prompt(ctx, plain(), c.request)
			for _, line := range c.typed {
				f.expect(asks)
				f.typing(line)
			}
			if errors.Is(c.err, context.Canceled) {
				f.expect(asks)
				cancel(prompt.ErrElsewhere)
			}
			f.want(<-out, c.answer, c.err)
			if got := f.expect(c.echo); got != c.echo {
				t.Errorf("the screen shows %q, want %q", got, c.echo)
			}
			if diff := cmp.Diff(before, f.modes()); diff != "" {
				t.Errorf("the terminal is left in other modes:\n%s", diff)
			}
		})
	}
}

func TestTerminalAsksAgain(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	f := newFixture(t)
	out := f.prompt(t.Context(), plain(), prompttest.Request(prompt.Choose))
	f.expect(asks)
	f.typing("7\n")
	f.expect("That is none of the choices: type it again, or ctrl-c to deny", asks)
	f.expect(asks)
	f.typing("1\n")
	f.want(<-out, "corp_totp", nil)

	out = f.prompt(t.Context(), plain(), prompttest.Request(prompt.Passcode))
	f.expect(asks)
	f.typing("123456 once\n") // the request offers no choice
	f.expect("The word behind the answer is no choice here: type it again, or ctrl-c to deny", asks)
	f.expect(asks)
	f.typing("123456\n")
	f.want(<-out, "123456", nil)

	out = f.prompt(t.Context(), plain(), prompttest.CodeToo(prompttest.Request(prompt.Password)))
	f.expect("Password for auth/stepup/login/alice (not shown, ")
	f.expect(asks)
	f.typing("\n")
	f.expect("That was no password: type it again, or ctrl-c to deny")
	f.expect(asks)
	f.typing("hunter2\n")
	if got := f.expect(asks); !strings.HasPrefix(got, "\r\n  Passcode for corp_totp (6 digits, empty to be asked later, ") {
		t.Errorf("the screen shows %q", got)
	}
	f.typing("\u0661\n")
	f.expect("That was no passcode: type it again, or nothing to be asked later")
	f.expect(asks)
	f.typing("123456 lock\n") // the request offers no choice
	f.expect("The word behind the answer is no choice here: type it again, or nothing to be asked later")
	f.expect(asks)
	f.typing("123456\n")
	f.want(<-out, "hunter2\n123456", nil)
}

func TestTerminalWithdrawn(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	f := newFixture(t)
	before := f.modes()
	for _, c := range []struct {
		kind  prompt.Kind
		typed string
	}{{prompt.Password, ""}, {prompt.Passcode, "4711"}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		out := f.prompt(ctx, plain(), prompttest.Request(c.kind))
		f.expect(asks)
		f.typing(c.typed)
		f.expect(c.typed) // its echo: the kernel has it
		cancel(prompt.ErrElsewhere)
		f.want(<-out, "", context.Canceled)
		f.expect("Answered elsewhere\r\n")
		if diff := cmp.Diff(before, f.modes()); diff != "" {
			t.Errorf("the terminal is left in other modes:\n%s", diff)
		}
	}
	// What was typed so far must not become the start of a shell's command.
	f.typing("\n")
	buf := make([]byte, 100)
	if n, err := f.tty.Read(buf); err != nil || string(buf[:n]) != "\n" {
		t.Errorf("a shell reads %q, %v", buf[:n], err)
	}
}

func TestTerminalDropsTypeAhead(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	f := newFixture(t)
	f.typing("y\n")
	f.typedAhead()
	out := f.prompt(t.Context(), plain(), prompttest.Request(prompt.Confirm))
	f.expect(asks)
	f.typing("n\n")
	f.want(<-out, "", prompt.ErrDenied)
}

func TestTerminalHostileText(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	f := newFixture(t)
	p := plain()
	out := f.prompt(t.Context(), p, prompttest.HostileRequest(prompt.Choose))
	got := f.expect(asks)
	if i := strings.IndexFunc(got, func(c rune) bool { return c != '\r' && c != '\n' && (c < ' ' || c > '~') }); i >= 0 {
		t.Errorf("%.40q reaches the screen", got[i:])
	}
	if len(got) > 3000 || strings.Count(got, "\n") > 10 {
		t.Errorf("%d bytes in %d lines reach the screen", len(got), strings.Count(got, "\n"))
	}
	f.typing("2\n")
	if a := <-out; a.err != nil || a.answer != prompttest.Hostile()+"2" {
		t.Errorf("the answer is not the choice as it was given: %.40q, %v", a.answer, a.err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	told := f.prompt(ctx, p, prompttest.HostileRequest(prompt.Push))
	got = f.expect("Approve it on your phone")
	cancel(prompt.Decided{Message: "yes\x1b[2J"})
	f.want(<-told, "", context.Canceled)
	got += f.expect("yes?(2J\r\n")
	if strings.Contains(got, "\x1b") {
		t.Errorf("an escape reaches the screen: %.80q", got)
	}
}

// A question that is open says that another one waits, and what was typed stays.
func TestTerminalSaysThatOthersWait(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	f := newFixture(t)
	updates := make(chan int, 1)
	out := f.prompt(prompt.WithUpdates(t.Context(), updates), plain(), prompttest.Request(prompt.Passcode))
	if got := f.expect(asks); strings.Contains(got, "waiting") {
		t.Errorf("nothing waits yet: %q", got)
	}
	f.typing("123")
	f.expect("123")
	updates <- 1
	f.expect("\r\n  1 more question is waiting\r\n  Passcode for corp_totp (6 digits, ")
	f.expect(asks)
	updates <- 0 // no word of that
	updates <- 2
	f.expect("\r\n  2 more questions are waiting\r\n  Passcode for corp_totp (6 digits, ")
	f.expect(asks)
	f.typing("456\n")
	f.want(<-out, "123456", nil)
}

func TestTerminalPushBesideAQuestion(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	f := newFixture(t)
	p := terminal.New(terminal.Config{}) // bold, as a person has it
	out := f.prompt(t.Context(), p, prompttest.Request(prompt.Passcode))
	if got := f.expect(asks); !strings.Contains(got, "\x1b[1mstepup: terraform") {
		t.Errorf("the heading does not stand out: %q", got)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	told := f.prompt(ctx, p, prompttest.Request(prompt.Push))
	f.expect("Approve it on your phone")
	f.expect("Passcode for corp_totp") // the open question comes again
	cancel(prompt.Decided{Message: "approved on the phone"})
	f.want(<-told, "", context.Canceled)
	f.expect("read kv/data/prod/db: approved on the phone")
	f.expect(asks)
	f.typing("123456\n")
	f.want(<-out, "123456", nil)
}

func TestTerminalInTheBackground(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	f := newFixture(t)
	job := exec.Command("/bin/sh", "-c", "read wait")
	job.SysProcAttr = &syscall.SysProcAttr{Foreground: true, Ctty: 4}
	hold, err := job.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := job.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := plain().Prompt(t.Context(), prompttest.Request(prompt.Passcode)); !errors.Is(err, prompt.ErrUnavailable) {
		t.Errorf("Prompt in the background = %v, want ErrUnavailable", err)
	}
	_ = hold.Close()
	if err := job.Wait(); err == nil {
		t.Log("the job ended by itself")
	}
	signal.Ignore(syscall.SIGTTOU) // to take the terminal back as a shell does
	if err := unix.IoctlSetPointerInt(4, unix.TIOCSPGRP, unix.Getpgrp()); err != nil {
		t.Fatal(err)
	}
	out := f.prompt(t.Context(), plain(), prompttest.Request(prompt.Passcode))
	f.expect(asks)
	f.typing("123456\n")
	f.want(<-out, "123456", nil)
}

func TestTerminalWithoutTTY(t *testing.T) {
	if !inSession(t, false) {
		return
	}
	if term.IsTerminal(0) {
		t.Fatal("standard input is a terminal")
	}
	for _, kind := range []prompt.Kind{prompt.Passcode, prompt.Push} {
		if _, err := plain().Prompt(t.Context(), prompttest.Request(kind)); !errors.Is(err, prompt.ErrUnavailable) {
			t.Errorf("Prompt(%s) without a terminal = %v, want ErrUnavailable", kind, err)
		}
	}
}

// A shell may have left bracketed paste on: the marks around what is pasted are no part of it.
func TestPastedAnswer(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	f := newFixture(t)
	for kind, want := range map[prompt.Kind]string{prompt.Passcode: "123456", prompt.Confirm: "yes"} {
		out := f.prompt(t.Context(), plain(), prompttest.Request(kind))
		f.expect(asks)
		f.typing("\x1b[200~" + want + "\x1b[201~\n")
		f.want(<-out, want, nil)
	}
}

// A window that is made narrower gets the open question anew, and it can still be answered.
func TestTerminalOfAnotherSize(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	f := newFixture(t)
	resize := func(columns uint16) {
		if err := pty.Setsize(f.ptmx, &pty.Winsize{Rows: 24, Cols: columns}); err != nil {
			t.Fatal(err)
		}
	}
	resize(100)
	out := f.prompt(t.Context(), plain(), prompttest.Request(prompt.Passcode))
	f.expect("Vault: corp; rule: prod-kv; started by: make, zsh\r\n")
	f.expect(asks)
	resize(90) // looks the same
	resize(40)
	f.expect("\r\n  Vault: corp; rule: prod-kv; started\r\n    by: make, zsh\r\n")
	f.expect("ctrl-c to\r\n    deny): ", "ctrl-c to deny): ")
	f.typing("123456\n")
	f.want(<-out, "123456", nil)
}
