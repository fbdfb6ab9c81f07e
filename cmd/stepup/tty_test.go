//go:build unix

package main

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
)

// A screen is the person's end of a terminal that a command runs on.
type screen struct {
	args   []string // what a person would have typed
	cmd    *exec.Cmd
	ptmx   *os.File
	tty    *os.File      // the command's end, held open: what is not read is lost with the last process that has it
	out    bytes.Buffer  // standard output, which is not the terminal; read after exited
	closed chan struct{} // closed when nothing more comes on the screen
	exited chan struct{} // closed when the command has ended
	fresh  chan struct{} // gets an element when there is more on the screen

	mu   sync.Mutex
	seen []byte
	read int // up to here it was expected
}

// startTTY is the script command: tty NAME COMMAND [ARGUMENT...] starts the
// command on a terminal of its own; only standard output is not the terminal.
func startTTY(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: tty NAME COMMAND [ARGUMENT...]")
	}
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	s := &screen{args: args[1:], closed: make(chan struct{}), exited: make(chan struct{}), fresh: make(chan struct{}, 1)}
	s.cmd = exec.Command(path, args[2:]...)
	s.cmd.Dir = ts.MkAbs(".")
	s.ptmx, s.tty, err = pty.Open()
	ts.Check(err)
	// Wide, so that no line is wrapped: where depends on process numbers and on what runs the tests.
	ts.Check(pty.Setsize(s.ptmx, &pty.Winsize{Rows: 24, Cols: 250}))
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = s.tty, &s.out, s.tty
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	for _, name := range []string{"STEPUP_RUNTIME_DIR", "STEPUP_STATE_DIR", "STEPUP_CONFIG", "HOME", "GORACE", "PATH", "DEV_VAULT", "APP_TOKEN", "VAULT_TOKEN", "SHELL"} {
		s.cmd.Env = append(s.cmd.Env, name+"="+ts.Getenv(name))
	}
	// Without bold: a script reads what it says. One that wants to see more sets
	// TTY_TERM and LC_ALL.
	s.cmd.Env = append(s.cmd.Env, "TERM="+cmp.Or(ts.Getenv("TTY_TERM"), "dumb"), "LC_ALL="+ts.Getenv("LC_ALL"), "NO_COLOR=1", keepTTY+"=yes")
	ts.Check(s.cmd.Start())
	go s.watch()
	go func() {
		defer close(s.exited)
		_ = s.cmd.Wait() // its code is looked at by left
	}()
	fixtureOf(ts).screens[args[0]] = s
	ts.Defer(func() {
		_ = s.cmd.Process.Kill()
		<-s.exited
		_ = s.tty.Close()
		<-s.closed
		_ = s.ptmx.Close()
	})
}

func (s *screen) watch() {
	defer close(s.closed)
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
			return // EIO: the other end is closed
		}
	}
}

// find looks for text behind what was found before.
func (s *screen) find(text string) (rest string, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := bytes.Index(s.seen[s.read:], []byte(text))
	if i < 0 {
		return string(s.seen[s.read:]), false
	}
	s.read += i + len(text)
	return "", true
}

func screenOf(ts *testscript.TestScript, args []string, want int) *screen {
	if len(args) != want {
		ts.Fatalf("wrong number of arguments")
	}
	s := fixtureOf(ts).screens[args[0]]
	if s == nil {
		ts.Fatalf("no terminal %s", args[0])
	}
	return s
}

// expectScreen is the script command: screen NAME TEXT waits until the text is
// on the screen, behind what was expected before. With !, the text is not there now.
func expectScreen(ts *testscript.TestScript, neg bool, args []string) {
	s := screenOf(ts, args, 2)
	guard := time.After(patience)
	for {
		rest, found := s.find(args[1])
		switch {
		case found && neg:
			ts.Fatalf("%q is on the screen", args[1])
		case found || neg:
			return
		}
		select {
		case <-s.fresh:
		case <-guard:
			ts.Fatalf("%q does not come; the screen has %q", args[1], rest)
		}
	}
}

// typeTTY is the script command: type NAME TEXT types the text, in which \n is
// the enter key and ^C, ^D and ^Z are what they say.
func typeTTY(ts *testscript.TestScript, _ bool, args []string) {
	s := screenOf(ts, args, 2)
	_, err := s.ptmx.WriteString(strings.NewReplacer(`\n`, "\r", "^C", "\x03", "^D", "\x04", "^Z", "\x1a").Replace(args[1]))
	ts.Check(err)
}

// leftTTY is the script command: left NAME CODE waits until the command ends with
// that exit code; its standard output is then the script's.
func leftTTY(ts *testscript.TestScript, _ bool, args []string) {
	s := screenOf(ts, args, 2)
	select {
	case <-s.exited:
	case <-time.After(patience):
		ts.Fatalf("%s does not end", args[0])
	}
	if got := s.cmd.ProcessState.ExitCode(); strconv.Itoa(got) != args[1] {
		rest, _ := s.find("\x00")
		ts.Fatalf("exit code %d, want %s; the screen has %q", got, args[1], rest)
	}
	_, err := ts.Stdout().Write(s.out.Bytes())
	ts.Check(err)
}

// closeTTY is the script command: close NAME closes the window of the terminal.
func closeTTY(ts *testscript.TestScript, _ bool, args []string) {
	s := screenOf(ts, args, 1)
	ts.Check(s.ptmx.Close()) // takes effect when the read that is under way has ended
	_, err := s.tty.WriteString("\n")
	ts.Check(errors.Join(err, s.tty.Close()))
}
