//go:build unix

package prompttest

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// WriteProgram writes an executable file. No process may be started meanwhile: until it
// is another program, a child has our open file too, and a file that is open for writing
// cannot be run (ETXTBSY).
func WriteProgram(t testing.TB, path, text string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

// Needs skips the test where one of the programs is not installed.
func Needs(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("needs %s", p)
		}
	}
}

// StartX starts an X server with a screen of this size, such as "1024x768x24", and more
// arguments. It ends with the test.
func StartX(t testing.TB, size string, args ...string) (display string) {
	t.Helper()
	Needs(t, "Xvfb")
	number, tell, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer number.Close()
	args = append([]string{"-displayfd", "3", "-screen", "0", size, "-nolisten", "tcp", "-noreset"}, args...)
	server := exec.Command("Xvfb", args...)
	server.ExtraFiles = []*os.File{tell}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	_ = tell.Close()
	_ = number.SetReadDeadline(time.Now().Add(30 * time.Second))
	line, err := bufio.NewReader(number).ReadString('\n') // printed when it listens
	if err != nil {
		t.Fatalf("the X server does not start: %v", err)
	}
	return ":" + strings.TrimSpace(line)
}

// FIFO opens a new named pipe so that neither end has to wait for the other. The test
// closes it.
func FIFO(t testing.TB, path string) *os.File {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	_ = f.SetDeadline(time.Now().Add(time.Minute)) // a guard: better a failure than a hanging test
	return f
}

// WaitGone waits until a killed process is gone, or a zombie of the process that adopted
// it.
func WaitGone(t testing.TB, pid int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err == nil && strings.Contains(string(stat), ") Z ") {
			return
		}
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return
		}
	}
	t.Errorf("process %d is still there", pid)
}
