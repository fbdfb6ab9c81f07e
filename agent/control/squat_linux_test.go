package control

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vault-stepup/stepup/agent/peer"
)

const squatSocket = "STEPUP_TEST_SQUAT_SOCKET"

// TestMain doubles as another user's program that listens under our name: it
// prints a line when it is ready, and one when a client has connected and sent
// something, and ends with its standard input.
func TestMain(m *testing.M) {
	socket := os.Getenv(squatSocket)
	if socket == "" {
		os.Exit(m.Run())
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		os.Exit(1)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if n, _ := c.Read(make([]byte, 1)); n > 0 {
				_, _ = os.Stdout.WriteString("got data\n")
			}
			_ = c.Close()
		}
	}()
	_, _ = os.Stdout.WriteString("ready\n")
	_, _ = os.Stdin.Read(make([]byte, 1))
}

// squat starts the other user on a socket that it has bound itself.
func squat(t *testing.T) (socket string, heard func() string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be a second user")
	}
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	// The test binary's own folder is closed to other users.
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, program, 0o755); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "control.sock")
	cmd := exec.Command(other)
	cmd.Env = []string{squatSocket + "=" + socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, len("ready\n"))
	if _, err := out.Read(ready); err != nil {
		t.Fatalf("the other user did not start: %v", err)
	}
	return socket, func() string {
		_ = in.Close()
		rest := make([]byte, 64)
		n, _ := out.Read(rest)
		_ = cmd.Wait()
		return string(rest[:n])
	}
}

func TestSquatterHearsNothing(t *testing.T) {
	t.Parallel()
	socket, heard := squat(t)
	c := NewClient(socket)
	err := c.Answer(t.Context(), "abc234", "123456")
	if err == nil || !strings.Contains(err.Error(), "belongs to another user (uid 65534)") || errors.Is(err, ErrNoAgent) {
		t.Errorf("a socket of another user: %v", err)
	}
	// Swapped between the look at the file and the connection: the file is ours,
	// the listener is not.
	if err := os.Chown(socket, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := c.Answer(t.Context(), "abc234", "123456"); !errors.Is(err, peer.ErrOtherUser) {
		t.Errorf("a listener of another user: %v, want %v", err, peer.ErrOtherUser)
	}
	if _, err := c.Events(t.Context(), true); !errors.Is(err, peer.ErrOtherUser) {
		t.Errorf("events of another user: %v, want %v", err, peer.ErrOtherUser)
	}
	if text := heard(); text != "" {
		t.Errorf("the other user %s", text)
	}
}
