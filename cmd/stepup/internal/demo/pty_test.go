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

// A visitor is a person who takes the tour on a real terminal.
type visitor struct {
	t      *testing.T
	cmd    *exec.Cmd
	ptmx   *os.File
	chunks chan string // what came on the screen; closed at its end
	rest   string      // behind what was expected
	all    strings.Builder
	tmp    string
}

// visit starts `stepup demo` in a session of its own.
func visit(t *testing.T) *visitor {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	v := &visitor{t: t, tmp: t.TempDir(), chunks: make(chan string)}
	v.cmd = &exec.Cmd{Path: binary, Args: []string{"stepup", "demo"}} // see TestMain
	// Nothing of stepup's is configured, and the environment is no help.
	v.cmd.Env = []string{"TMPDIR=" + v.tmp, "HOME=" + v.tmp, "TERM=dumb", "GORACE=atexit_sleep_ms=0"}
	v.ptmx, err = pty.StartWithSize(v.cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(v.chunks)
		buf := make([]byte, 4096)
		for {
			n, err := v.ptmx.Read(buf)
			v.chunks <- string(buf[:n])
			if err != nil {
				return // EIO: the other end is closed
			}
		}
	}()
	t.Cleanup(func() {
		_ = v.cmd.Process.Kill() // unless it has ended
		_ = v.ptmx.Close()
		for range v.chunks {
		}
	})
	return v
}

// sees waits until the pattern is on the screen, behind what was seen before,
// and returns the first group of it.
func (v *visitor) sees(pattern string) string {
	v.t.Helper()
	re, guard := regexp.MustCompile(pattern), time.After(time.Minute)
	for {
		if m := re.FindStringSubmatchIndex(v.rest); m != nil {
			found := ""
			if len(m) > 2 {
				found = v.rest[m[2]:m[3]]
			}
			v.rest = v.rest[m[1]:]
			return found
		}
		select {
		case text, more := <-v.chunks:
			v.rest += text
			v.all.WriteString(text)
			if !more {
				v.t.Fatalf("%s did not come; the screen was\n%s", pattern, &v.all)
			}
		case <-guard:
			v.t.Fatalf("%s does not come; the screen is\n%s", pattern, &v.all)
		}
	}
}

func (v *visitor) types(keys string) {
	v.t.Helper()
	if _, err := v.ptmx.WriteString(keys); err != nil {
		v.t.Fatal(err)
	}
}

// code reads the next code off the phone and waits for the prompt.
func (v *visitor) code(method string) string {
	v.t.Helper()
	code := v.sees(`phone +` + method + ` +(\d{3} \d{3})`)
	v.sees(`passcode for ` + method + ` \(.*ctrl-c to deny\): `)
	return code
}

// begins starts the next step.
func (v *visitor) begins(title string) {
	v.t.Helper()
	v.sees(title)
	v.sees(`enter to start: `)
	v.types(enter)
}

// leaves waits until the demo has ended, and that nothing is left of it.
func (v *visitor) leaves(code int) {
	v.t.Helper()
	for text := range v.chunks {
		v.all.WriteString(text)
	}
	_ = v.cmd.Wait() // its code is what is looked at
	if got := v.cmd.ProcessState.ExitCode(); got != code {
		v.t.Errorf("exit code %d, want %d; the screen was\n%s", got, code, &v.all)
	}
	left, err := os.ReadDir(v.tmp)
	if err != nil || len(left) > 0 {
		v.t.Errorf("left behind: %v %v", left, err)
	}
	if strings.Contains(v.all.String(), "\x1b") {
		v.t.Errorf("a dumb terminal got escapes\n%q", &v.all)
	}
}

const (
	enter = "\r"
	ctrlC = "\x03"
)

func TestDemoAtATerminal(t *testing.T) {
	t.Parallel()
	v := visit(t)
	v.begins(`1/6  an ordinary read passes`)
	v.sees(`got 200 OK\r\n +data: \{"greeting":"hello"`)
	v.sees(`nobody was asked`)

	v.begins(`2/6  a guarded read asks you`)
	v.types(v.code(methodCorp) + enter) // with the blank, as people type it
	v.sees(`got 200 OK, Stepup-Outcome: approved\r\n +data: \{"password":"tulip-anchor-forty"`)
	v.sees(`it never saw the 403`)

	v.begins(`3/6  a wrong code`)
	v.types(otherCode(strings.ReplaceAll(v.code(methodPayroll), " ", "")) + enter)
	right := v.sees(`phone +` + methodPayroll + ` +(\d{3} \d{3})`)
	v.sees(`wrong code, or one that was used`)
	v.sees(`attempt 2 of 3`)
	v.sees(`ctrl-c to deny\): `)
	v.types(right + enter)
	v.sees(`got 200 OK, Stepup-Outcome: approved\r\n +data: \{"password":"velvet-otter-nine"`)
	v.sees(`the app saw none of it`)

	v.begins(`4/6  a login with MFA`)
	v.types(v.code(methodLogin) + enter)
	v.sees(`got 200 OK, Stepup-Outcome: approved\r\n +token: hvs\.`)
	v.sees(`the token works`)

	v.begins(`5/6  you say no`)
	v.code(methodSigning)
	v.types(ctrlC)
	v.sees(`got 403 Forbidden, Stepup-Outcome: denied`)
	v.sees(`error: stepup: the second factor was denied`)
	v.sees(`got 403 Forbidden, Stepup-Outcome: cooldown`)
	v.sees(`did\s+not\s+bother you`)

	v.begins(`6/6  a push to your phone`)
	v.sees(`approve it on your phone \(corp_okta, okta\)`)
	v.sees(`approve\? enter taps yes: `)
	v.types(enter)
	v.sees(`read kv/data/prod/deploy: done`)
	v.sees(`got 200 OK, Stepup-Outcome: approved\r\n +data: \{"token":"maple-comet-six"`)

	v.plays()
	v.types(ctrlC)
	v.sees(`the demo is over`)
	v.leaves(cli.ExitDone)
}

// plays uses the agent that the tour leaves running, as another program would.
func (v *visitor) plays() {
	v.t.Helper()
	address := v.sees(`export VAULT_ADDR=http://(\S+)`)
	token := v.sees(`export VAULT_TOKEN=(\S+)`)
	v.sees(`enter shows your codes, ctrl-c ends the demo\r\n`)
	v.types(enter)
	v.sees(`phone +` + methodLogin)
	v.sees(`enter shows your codes, ctrl-c ends the demo\r\n`)
	other := demoApp{url: "http://" + address, client: newAppClient("tcp", address)}
	defer other.client.CloseIdleConnections()
	type result struct {
		appAnswer
		error
	}
	for _, path := range []string{pathDB, pathDeploy} {
		done := make(chan result, 1)
		go func() {
			got, err := other.do(v.t.Context(), get(path), token)
			done <- result{got, err}
		}()
		if path == pathDB {
			v.types(v.code(methodCorp) + enter)
		} else {
			v.sees(`approve\? enter taps yes: `)
			v.types(enter)
		}
		if got := <-done; got.error != nil || got.status != 200 || got.outcome() != "approved" {
			v.t.Errorf("%s: %d %s %v", path, got.status, got.outcome(), got.error)
		}
		v.sees(`enter shows your codes, ctrl-c ends the demo\r\n`)
	}
}

// TestDemoAnotherWay: a person may do something else than a step is about, and
// leave at any time.
func TestDemoAnotherWay(t *testing.T) {
	t.Parallel()
	v := visit(t)
	v.begins(`1/6 `)
	v.begins(`2/6 `)
	v.code(methodCorp)
	v.types(ctrlC)
	v.sees(`got 403 Forbidden, Stepup-Outcome: denied`)
	v.sees(`that went another way than the step describes, which is fine:`)
	v.sees(`3/6 `)
	v.sees(`enter to start: `)
	v.types(ctrlC)
	v.sees(`the demo is over`)
	v.leaves(cli.ExitDone)
}

// TestDemoTerminalGone: a window that is closed leaves nothing behind either, though a
// question was open.
func TestDemoTerminalGone(t *testing.T) {
	t.Parallel()
	v := visit(t)
	v.begins(`1/6 `)
	v.begins(`2/6 `)
	v.code(methodCorp)
	if err := v.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	v.sees(`no longer needed`)
	v.leaves(cli.ExitDone)
}
