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

// A screen is the far end of the terminal: what a person sees and types.
type screen struct {
	t     *testing.T
	ptmx  *os.File // the person's end
	tty   *os.File // the programs' end, as a shell has it
	mu    sync.Mutex
	seen  []byte
	read  int // up to here it was expected
	fresh chan struct{}
}

func newScreen(t *testing.T) *screen {
	s := &screen{t: t, ptmx: os.NewFile(3, "ptmx"), tty: os.NewFile(4, "tty"), fresh: make(chan struct{}, 1)}
	go func() { // ends with the process: the terminal is open as long as it lives
		buf := make([]byte, 4096)
		for {
			n, err := s.ptmx.Read(buf)
			s.mu.Lock()
			s.seen = append(s.seen, buf[:n]...)
			s.mu.Unlock()
			select {
			case s.fresh <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return s
}

// expect waits until one of the texts is on the screen behind what was expected before, and
// returns all that came up to its end.
func (s *screen) expect(texts ...string) string {
	s.t.Helper()
	guard := time.After(time.Minute)
	for {
		s.mu.Lock()
		for _, text := range texts {
			if i := bytes.Index(s.seen[s.read:], []byte(text)); i >= 0 {
				got := string(s.seen[s.read : s.read+i+len(text)])
				s.read += i + len(text)
				s.mu.Unlock()
				return got
			}
		}
		rest := string(s.seen[s.read:])
		s.mu.Unlock()
		select {
		case <-s.fresh:
		case <-guard:
			s.t.Fatalf("%q does not come; the screen has %q", texts, rest)
		}
	}
}

func (s *screen) typing(text string) {
	if _, err := s.ptmx.WriteString(text); err != nil {
		s.t.Errorf("typing: %v", err)
	}
}

func (s *screen) modes() *unix.Termios {
	m, err := unix.IoctlGetTermios(int(s.tty.Fd()), getTermios)
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// typedAhead waits until the kernel has a complete line for the programs.
func (s *screen) typedAhead() {
	fds := []unix.PollFd{{Fd: int32(s.tty.Fd()), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 60_000); n != 1 {
		s.t.Fatalf("typed text does not arrive: %v", err)
	}
}

type answered struct {
	answer string
	err    error
}

func (s *screen) prompt(ctx context.Context, p prompt.Prompter, r prompt.Request) <-chan answered {
	out := make(chan answered, 1)
	go func() {
		answer, err := p.Prompt(ctx, r)
		out <- answered{answer, err}
	}()
	return out
}

func (s *screen) want(got answered, answer string, err error) {
	s.t.Helper()
	if got.answer != answer || !errors.Is(got.err, err) {
		s.t.Errorf("Prompt = %q, %v; want %q, %v", got.answer, got.err, answer, err)
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
	s := newScreen(t)
	prompttest.Run(t, func(*testing.T) prompttest.Subject {
		return prompttest.Subject{
			Prompter: terminal.New(terminal.Config{}),
			Shown:    func() { s.expect(asks, "on your phone") },
			Answer:   func(answer string) { s.typing(answer + "\n") },
			Deny:     func() { s.typing("\x03") },
			AnswerBoth: func(password, code string) {
				s.typing(password + "\n")
				s.expect(asks)
				s.typing(code + "\n")
			},
		}
	})
}

func TestTerminalTyping(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	s := newScreen(t)
	before := s.modes()
	p := plain()
	for _, c := range []struct {
		name, typed, answer, echo string
		kind                      prompt.Kind
		err                       error
	}{
		{"a passcode is shown", "123 456\n", "123456", "123 456\r\n", prompt.Passcode, nil},
		{"a password is not", "hunter2\n", "hunter2", "\r\n", prompt.Password, nil},
		{"corrected", "12x\x7f3\n", "123", "12x\b \b3\r\n", prompt.Passcode, nil},
		{"ctrl-c", "12\x03", "", "12^C\r\n  denied\r\n", prompt.Passcode, prompt.ErrDenied},
		{"ctrl-c in a password", "hun\x03", "", "\r\n  denied\r\n", prompt.Password, prompt.ErrDenied},
		{"ctrl-d", "\x04", "", "\r\n  not answered here\r\n", prompt.Passcode, prompt.ErrUnavailable},
		{"a choice", "2\n", "corp_duo", "2\r\n", prompt.Choose, nil},
		{"yes", "Y\n", "yes", "Y\r\n", prompt.Confirm, nil},
		{"enter is a no", "\n", "", "\r\n  denied\r\n", prompt.Confirm, prompt.ErrDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.t = t
			out := s.prompt(t.Context(), p, prompttest.Request(c.kind))
			s.expect(asks)
			s.typing(c.typed)
			s.want(<-out, c.answer, c.err)
			if got := s.expect(c.echo); got != c.echo {
				t.Errorf("the screen shows %q, want %q", got, c.echo)
			}
			if diff := cmp.Diff(before, s.modes()); diff != "" {
				t.Errorf("the terminal is left in other modes:\n%s", diff)
			}
		})
	}
	t.Run("an answer that does not fit", func(t *testing.T) {
		s.t = t
		out := s.prompt(t.Context(), p, prompttest.Request(prompt.Choose))
		s.expect(asks)
		s.typing("7\n")
		s.expect("please type a number from 1 to 2", asks)
		s.expect(asks)
		s.typing("1\n")
		s.want(<-out, "corp_totp", nil)
	})
}

func TestTerminalWithdrawn(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	s := newScreen(t)
	before := s.modes()
	for _, c := range []struct {
		kind  prompt.Kind
		typed string
	}{{prompt.Password, ""}, {prompt.Passcode, "4711"}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		out := s.prompt(ctx, plain(), prompttest.Request(c.kind))
		s.expect(asks)
		s.typing(c.typed)
		s.expect(c.typed) // its echo: the kernel has it
		cancel(prompt.ErrElsewhere)
		s.want(<-out, "", context.Canceled)
		s.expect("answered elsewhere\r\n")
		if diff := cmp.Diff(before, s.modes()); diff != "" {
			t.Errorf("the terminal is left in other modes:\n%s", diff)
		}
	}
	// What was typed so far must not become the start of a shell's command.
	s.typing("\n")
	buf := make([]byte, 100)
	if n, err := s.tty.Read(buf); err != nil || string(buf[:n]) != "\n" {
		t.Errorf("a shell reads %q, %v", buf[:n], err)
	}
}

func TestTerminalDropsTypeAhead(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	s := newScreen(t)
	s.typing("y\n")
	s.typedAhead()
	out := s.prompt(t.Context(), plain(), prompttest.Request(prompt.Confirm))
	s.expect(asks)
	s.typing("n\n")
	s.want(<-out, "", prompt.ErrDenied)
}

func TestTerminalHostileText(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	s := newScreen(t)
	p := plain()
	out := s.prompt(t.Context(), p, prompttest.HostileRequest(prompt.Choose))
	got := s.expect(asks)
	if i := strings.IndexFunc(got, func(c rune) bool { return c != '\r' && c != '\n' && (c < ' ' || c > '~') }); i >= 0 {
		t.Errorf("%.40q reaches the screen", got[i:])
	}
	if len(got) > 3000 || strings.Count(got, "\n") > 10 {
		t.Errorf("%d bytes in %d lines reach the screen", len(got), strings.Count(got, "\n"))
	}
	s.typing("2\n")
	if a := <-out; a.err != nil || a.answer != prompttest.Hostile()+"2" {
		t.Errorf("the answer is not the choice as it was given: %.40q, %v", a.answer, a.err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	told := s.prompt(ctx, p, prompttest.HostileRequest(prompt.Push))
	got = s.expect("approve it on your phone")
	cancel(prompt.Decided{Message: "yes\x1b[2J"})
	s.want(<-told, "", context.Canceled)
	got += s.expect("yes?(2J\r\n")
	if strings.Contains(got, "\x1b") {
		t.Errorf("an escape reaches the screen: %.80q", got)
	}
}

func TestTerminalPushBesideAQuestion(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	s := newScreen(t)
	p := terminal.New(terminal.Config{}) // bold, as a person has it
	out := s.prompt(t.Context(), p, prompttest.Request(prompt.Passcode))
	if got := s.expect(asks); !strings.Contains(got, "\x1b[1mstepup: terraform") {
		t.Errorf("the heading does not stand out: %q", got)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	told := s.prompt(ctx, p, prompttest.Request(prompt.Push))
	s.expect("approve it on your phone")
	s.expect("passcode for corp_totp") // the open question comes again
	cancel(prompt.Decided{Message: "approved on the phone"})
	s.want(<-told, "", context.Canceled)
	s.expect("read kv/data/prod/db: approved on the phone")
	s.expect(asks)
	s.typing("123456\n")
	s.want(<-out, "123456", nil)
}

func TestTerminalInTheBackground(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	s := newScreen(t)
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
	out := s.prompt(t.Context(), plain(), prompttest.Request(prompt.Passcode))
	s.expect(asks)
	s.typing("123456\n")
	s.want(<-out, "123456", nil)
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
