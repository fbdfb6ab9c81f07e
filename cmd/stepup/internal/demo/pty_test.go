//go:build unix

package demo

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// TestMain lets the test binary be stepup, for its terminals.
func TestMain(m *testing.M) {
	if os.Args[0] != "stepup" {
		os.Exit(m.Run())
	}
	c := &cli.Console{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Getenv}
	root := &cobra.Command{Use: "stepup"}
	root.AddCommand(Command(c))
	os.Exit(cli.Run(context.Background(), root, os.Args[1:], c))
}

// A terminalFixture is a tour on a real terminal, seen and typed by the test.
type terminalFixture struct {
	t      *testing.T
	cmd    *exec.Cmd
	ptmx   *os.File
	chunks chan string // what came on the screen; closed at its end
	rest   string      // behind what was expected
	all    strings.Builder
	tmp    string
}

// newTerminalFixture starts `stepup demo` in a session of its own.
func newTerminalFixture(t *testing.T) *terminalFixture {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := &terminalFixture{t: t, tmp: t.TempDir(), chunks: make(chan string)}
	f.cmd = &exec.Cmd{Path: binary, Args: []string{"stepup", "demo"}} // see TestMain
	// Nothing of stepup's is configured, and the environment is no help.
	f.cmd.Env = []string{"TMPDIR=" + f.tmp, "HOME=" + f.tmp, "TERM=dumb", "GORACE=atexit_sleep_ms=0"}
	f.ptmx, err = pty.StartWithSize(f.cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(f.chunks)
		buf := make([]byte, 4096)
		for {
			n, err := f.ptmx.Read(buf)
			f.chunks <- string(buf[:n])
			if err != nil {
				return // EIO: the other end is closed
			}
		}
	}()
	t.Cleanup(func() {
		_ = f.cmd.Process.Kill() // unless it has ended
		_ = f.ptmx.Close()
		for range f.chunks {
		}
	})
	return f
}

// sees waits until the pattern is on the screen, behind what was seen before,
// and returns the first group of it.
func (f *terminalFixture) sees(pattern string) string {
	f.t.Helper()
	re, guard := regexp.MustCompile(pattern), time.After(time.Minute)
	for {
		if m := re.FindStringSubmatchIndex(f.rest); m != nil {
			found := ""
			if len(m) > 2 {
				found = f.rest[m[2]:m[3]]
			}
			f.rest = f.rest[m[1]:]
			return found
		}
		select {
		case text, more := <-f.chunks:
			f.rest += text
			f.all.WriteString(text)
			if !more {
				f.t.Fatalf("%s did not come; the screen was\n%s", pattern, &f.all)
			}
		case <-guard:
			f.t.Fatalf("%s does not come; the screen is\n%s", pattern, &f.all)
		}
	}
}

func (f *terminalFixture) types(keys string) {
	f.t.Helper()
	if _, err := f.ptmx.WriteString(keys); err != nil {
		f.t.Fatal(err)
	}
}

// code reads the next code off the phone and waits for the prompt.
func (f *terminalFixture) code(method string) string {
	f.t.Helper()
	code := f.sees(`phone +` + method + ` +(\d{3} \d{3})`)
	f.sees(`Passcode for ` + method + ` \(.*ctrl-c to deny\): `)
	return code
}

// begins starts the next step.
func (f *terminalFixture) begins(title string) {
	f.t.Helper()
	f.sees(title)
	f.sees(`enter to start: `)
	f.types(enter)
}

// leaves waits until the demo has ended, and that nothing is left of it.
func (f *terminalFixture) leaves(code int) {
	f.t.Helper()
	for text := range f.chunks {
		f.all.WriteString(text)
	}
	_ = f.cmd.Wait() // its code is what is looked at
	if got := f.cmd.ProcessState.ExitCode(); got != code {
		f.t.Errorf("exit code %d, want %d; the screen was\n%s", got, code, &f.all)
	}
	left, err := os.ReadDir(f.tmp)
	if err != nil || len(left) > 0 {
		f.t.Errorf("left behind: %v %v", left, err)
	}
	if strings.Contains(f.all.String(), "\x1b") {
		f.t.Errorf("a dumb terminal got escapes\n%q", &f.all)
	}
}

const (
	enter = "\r"
	ctrlC = "\x03"
)

func TestDemoAtATerminal(t *testing.T) {
	t.Parallel()
	f := newTerminalFixture(t)
	f.begins(`1/6  an ordinary read passes`)
	f.sees(`got 200 OK\r\n +data: \{"greeting":"hello"`)
	f.sees(`nobody was asked`)

	f.begins(`2/6  a guarded read asks you`)
	f.types(f.code(methodCorp) + enter) // with the blank, as people type it
	f.sees(`got 200 OK, Stepup-Outcome: approved\r\n +data: \{"password":"tulip-anchor-forty"`)
	f.sees(`it never saw the 403`)

	f.begins(`3/6  a wrong code`)
	f.types(otherCode(strings.ReplaceAll(f.code(methodPayroll), " ", "")) + enter)
	right := f.sees(`phone +` + methodPayroll + ` +(\d{3} \d{3})`)
	f.sees(`Attempt 2 of 3: wrong code, or one that was used`)
	f.sees(`ctrl-c to deny\): `)
	f.types(right + enter)
	f.sees(`got 200 OK, Stepup-Outcome: approved\r\n +data: \{"password":"velvet-otter-nine"`)
	f.sees(`The program saw none of it`)

	f.begins(`4/6  a login with MFA`)
	f.types(f.code(methodLogin) + enter)
	f.sees(`got 200 OK, Stepup-Outcome: approved\r\n +token: hvs\.`)
	f.sees(`the token works`)

	f.begins(`5/6  you say no`)
	f.code(methodSigning)
	f.types(ctrlC)
	f.sees(`got 403 Forbidden, Stepup-Outcome: denied`)
	f.sees(`error: stepup: the second factor was denied`)
	f.sees(`got 403 Forbidden, Stepup-Outcome: cooldown`)
	f.sees(`did\s+not\s+bother you`)

	f.begins(`6/6  a push to your phone`)
	f.sees(`Approve it on your phone \(corp_okta, okta\)`)
	f.sees(`approve\? enter taps yes: `)
	f.types(enter)
	f.sees(`read kv/data/prod/deploy: done`)
	f.sees(`got 200 OK, Stepup-Outcome: approved\r\n +data: \{"token":"maple-comet-six"`)

	f.plays()
	f.types(ctrlC)
	f.sees(`the demo is over`)
	f.leaves(cli.ExitDone)
}

// plays uses the agent that the tour leaves running, as another program would.
func (f *terminalFixture) plays() {
	f.t.Helper()
	address := f.sees(`export VAULT_ADDR=http://(\S+)`)
	token := f.sees(`export VAULT_TOKEN=(\S+)`)
	f.sees(`enter shows your codes, ctrl-c ends the demo\r\n`)
	f.types(enter)
	f.sees(`phone +` + methodLogin)
	f.sees(`enter shows your codes, ctrl-c ends the demo\r\n`)
	other := demoApp{url: "http://" + address, client: newAppClient("tcp", address)}
	defer other.client.CloseIdleConnections()
	type result struct {
		appAnswer
		error
	}
	for _, path := range []string{pathDB, pathDeploy} {
		done := make(chan result, 1)
		go func() {
			got, err := other.do(f.t.Context(), get(path), token)
			done <- result{got, err}
		}()
		if path == pathDB {
			f.types(f.code(methodCorp) + enter)
		} else {
			f.sees(`approve\? enter taps yes: `)
			f.types(enter)
		}
		if got := <-done; got.error != nil || got.status != 200 || got.outcome() != "approved" {
			f.t.Errorf("%s: %d %s %v", path, got.status, got.outcome(), got.error)
		}
		f.sees(`enter shows your codes, ctrl-c ends the demo\r\n`)
	}
}

// TestDemoAnotherWay: a person may do something else than a step is about, and
// leave at any time.
func TestDemoAnotherWay(t *testing.T) {
	t.Parallel()
	f := newTerminalFixture(t)
	f.begins(`1/6 `)
	f.begins(`2/6 `)
	f.code(methodCorp)
	f.types(ctrlC)
	f.sees(`got 403 Forbidden, Stepup-Outcome: denied`)
	f.sees(`You said no, so the program got Vault's 403; Enter goes on\.`)
	f.begins(`3/6 `)
	for _, again := range []string{"111111", "222222", "333333"} { // the same one would not be sent
		code := otherCode(strings.ReplaceAll(f.code(methodPayroll), " ", ""))
		f.types(code[:3] + again[:3] + enter)
	}
	f.sees(`got 403 Forbidden, Stepup-Outcome: rejected`)
	f.sees(`You used your three tries, so the program got Vault's 403; Enter goes\s+on\.`)

	// An empty answer shows the phone again.
	f.begins(`4/6 `)
	f.code(methodLogin)
	f.types(enter)
	code := f.sees(`phone +` + methodLogin + ` +(\d{3} \d{3})`)
	f.sees(`That was no passcode`)
	f.sees(`ctrl-c to deny\): `)
	f.types(code + enter)
	f.sees(`the token works`)
	f.sees(`5/6 `)
	f.sees(`enter to start: `)
	f.types(ctrlC)
	f.sees(`the demo is over`)
	f.leaves(cli.ExitDone)
}

// TestDemoTerminalGone: a window that is closed leaves nothing behind either, though a
// question was open.
func TestDemoTerminalGone(t *testing.T) {
	t.Parallel()
	f := newTerminalFixture(t)
	f.begins(`1/6 `)
	f.begins(`2/6 `)
	f.code(methodCorp)
	if err := f.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	f.sees(`No longer needed`)
	f.leaves(cli.ExitDone)
}
